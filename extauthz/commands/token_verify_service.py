"""`extauthz token verify --settings`: tokens by the settings of a service, with the keys of its issuers now.

Apart from `token_verify.py`, which every start runs for its self-check, because this needs an HTTP client.
"""

import time
from pathlib import Path

import orjson

from extauthz.commands.status import answer_lines
from extauthz.commands.token_introspection import introspecting_tenants, judged
from extauthz.commands.token_issuers import Service, fetched, ring_of, with_service
from extauthz.commands.token_verify import AS_WRITTEN, VALID, invalid, thawed
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected, read_token


def run(settings: Path) -> int:
    """Answer the lines of stdin by the settings of a service, with the keys of its issuers now."""

    def judge(service: Service) -> int:
        ring = ring_of(service.sources, fetched(service, service.sources))
        return answer_lines(lambda line: _verdict_line(line, ring, service, now=time.time()))

    return with_service(settings, None, judge)


def _verdict_line(line: bytes, ring: KeyRing, service: Service, *, now: float) -> bytes:
    """Judge one line as a request with this token; `claims` is None for a token that is not accepted.

    An opaque token is introspected where one tenant does so; of several none is known to own the target.
    """
    tenants = introspecting_tenants(service)
    tenant = tenants[0] if len(tenants) == 1 else None
    judgement = judged(line.decode("ascii", "replace"), service, ring, tenant=tenant, now=now)
    found = judgement.verdict
    if isinstance(found, Rejected):
        return orjson.dumps(invalid(found))
    if judgement.asked is not None:
        return orjson.dumps({"valid": True, "reason": VALID, "claims": thawed(found.claims)})
    policy = service.policy
    token = read_token(line.lstrip(b" "), max_bytes=policy.max_bytes, algorithms=ring.algorithms)
    assert not isinstance(token, Rejected)  # it was accepted
    claims = AS_WRITTEN.decode(token.payload.decode("utf-8"))
    return orjson.dumps({"valid": True, "reason": VALID, "claims": claims})

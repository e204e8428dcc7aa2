"""What one check costs: each stage, the whole check with its log line, and the gRPC server around it.

One run, one pinned core. The peer of the whole check is decoding the message alone; the peer of the server
is the same server doing nothing.
"""

import random
import tempfile
import threading
import time
import uuid
from concurrent.futures import Future
from pathlib import Path

import grpc

from extauthz.check import wire
from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.service import CheckService
from extauthz.compile.directory import DEFAULT_TENANT, Directory, TenancyMode
from extauthz.compile.documents import Reading, parse_policy_set
from extauthz.compile.model import RoleModel
from extauthz.compile.snapshot import Snapshot, build
from extauthz.decide.identity import identify, no_service_keys
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.jwks import KeySet, parse_jwks
from extauthz.decide.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.verified_tokens import VerifiedTokens
from extauthz.decisionlog.log import DecisionLog
from extauthz.domain.decision import Outcome
from extauthz.domain.policy import PolicySet
from extauthz.domain.principal import Principal
from extauthz.domain.request import Malformed, RequestFacts
from extauthz.telemetry.counts import Counts
from tests.benchmarks.measuring import keep, median_us, pin
from tests.tokens import SigningKey, claims, jwks

ISSUER = "https://idp.example"
POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {"id": f"rule-{role}", "sub": role, "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
        for role in ("finance", "audit", "board", "support", "sales")
    ],
    "attribute_policies": [
        {
            "id": "office-hours",
            "name": "not from outside, not by contractors",
            "resource": "invoice:read",
            "effect": "deny",
            "priority": 10,
            "rule_data": {
                "type": "AND",
                "conditions": [
                    {"type": "CONDITION", "attribute": "user.kind", "operator": "eq", "value": "user"},
                    {
                        "type": "OR",
                        "conditions": [
                            {
                                "type": "CONDITION",
                                "attribute": "user.department",
                                "operator": "in",
                                "value": ["contractors", "interns"],
                            },
                            {
                                "type": "CONDITION",
                                "attribute": "resource.number",
                                "operator": "startsWith",
                                "value": "X",
                            },
                        ],
                    },
                ],
            },
        }
    ],
}


class Keys:
    """A ring that never changes."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def current(self) -> KeyRing:
        return self._ring

    def ensure(self, issuer: str, kid: str | None) -> "Future[None]":
        raise AssertionError("the benchmark's keys are all there")


class Policies:
    """Policies that never change."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def current(self) -> Directory:
        return self._directory


def request_bytes(token: str) -> bytes:
    """Return a CheckRequest as Envoy sends it: 15 headers, peer, context."""
    headers = {
        ":authority": "shop.example",
        ":method": "GET",
        ":path": "/invoices/4711?verbose=1",
        ":scheme": "https",
        "accept": "application/json",
        "accept-encoding": "gzip, br",
        "authorization": f"Bearer {token}",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-forwarded-for": "10.0.0.7",
        "x-forwarded-proto": "https",
        "x-envoy-internal": "true",
        "x-request-id": "6f1c2a8e-3f7b-4a8f-9a64-0d1f6c6a7c11",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cookie": "session=0123456789abcdef0123456789abcdef",
        "accept-language": "en-GB,en;q=0.9",
    }
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.path, http.host = b"GET", b"/invoices/4711?verbose=1", b"shop.example"
    for name, value in headers.items():
        http.headers[name] = value.encode() if isinstance(http.headers[name], bytes) else value
    request.attributes.source.address.socket_address.address = "10.0.0.7"
    return request.SerializeToString()


def directory() -> Directory:
    """Compile the policies."""
    policies = parse_policy_set(POLICIES, Reading())
    assert isinstance(policies, PolicySet)
    snapshot = build(DEFAULT_TENANT, 1, policies, RoleModel())
    assert isinstance(snapshot, Snapshot)
    return Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot}, confirmed_at=time.time() + 10**9)


def ring(key: SigningKey) -> KeyRing:
    """Register the issuer with its key."""
    config = IssuerConfig(ISSUER, DEFAULT_TENANT, None, "realm_access.roles", "dom", "adm", frozenset())
    keys = parse_jwks(jwks(key))
    assert isinstance(keys, KeySet)
    return KeyRing.of([IssuerKeys(config, keys, fetched_at=time.time())])


def stages(raw: bytes, where: Directory, keys: KeyRing) -> dict[str, float]:
    """Measure each stage by itself, with the token already verified once."""
    tokens, policy = VerifiedTokens(), CheckPolicy()
    now = time.time()
    facts = wire.read(raw, condition_headers=frozenset())
    assert isinstance(facts, RequestFacts)

    def who(request: RequestFacts, at: float) -> Principal:
        found = identify(
            authorization=request.headers.get("authorization"),
            authorization_repeated=False,
            service_key=None,
            service_key_repeated=False,
            ring=keys,
            service_keys=no_service_keys,
            cache=tokens,
            now=at,
            policy=policy.token,
        )
        assert isinstance(found, Principal), found
        return found

    def judged(request: RequestFacts | Malformed) -> Outcome:
        outcome = judge(
            request,
            directory=where,
            identify=who,
            policy=policy,
            decision_id="01890a5d-ac96-774b-bcce-b302099a8057",
            now=now,
        )
        assert isinstance(outcome, Outcome)
        return outcome

    outcome = judged(facts)
    assert outcome.decision.allowed, outcome
    return {
        "decode_alone_us": median_us(lambda: CheckRequest.FromString(raw)),
        "wire_read_us": median_us(lambda: wire.read(raw, condition_headers=frozenset())),
        "identify_cached_us": median_us(lambda: who(facts, now)),
        "judge_us": median_us(lambda: judged(facts)),
        "wire_write_us": median_us(lambda: wire.write(outcome)),
    }


def whole(service: CheckService, log: DecisionLog, raw: bytes) -> float:
    """Measure the whole check, the writing of its log line included: the writer's thread is on our core."""

    def batch() -> None:
        for _ in range(500):
            service.answer(raw, 0.2)
        assert log.flush(30)

    return round(median_us(batch, rounds=15, calls=1) / 500, 3)


def served(address: str, raw: bytes, *, requests: int = 4000, clients: int = 4) -> float:
    """Return the server's CPU per request in microseconds, as seen by its own process clock share."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check", request_serializer=None, response_deserializer=None
        )
        call(raw, timeout=10)

        def load() -> None:
            for _ in range(requests // clients):
                call(raw, timeout=10)

        threads = [threading.Thread(target=load) for _ in range(clients)]
        before = time.process_time_ns()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return round((time.process_time_ns() - before) / requests / 1000, 2)


def main() -> None:
    pin(0)
    key = SigningKey.rs256("bench")
    token = key.sign(
        claims(
            iss=ISSUER,
            exp=int(time.time()) + 36000,
            iat=int(time.time()),
            nbf=int(time.time()),
            realm_access={"roles": ["finance"]},
            department="finance",
        )
    )
    raw = request_bytes(token)
    where, keys = directory(), ring(key)
    numbers: dict[str, object] = {"request_bytes": len(raw), **stages(raw, where, keys)}
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(str(Path(folder) / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
        log.start()
        service = CheckService(
            policies=Policies(where),
            keys=Keys(keys),
            policy=CheckPolicy(),
            log=log,
            counts=Counts("bench"),
            random_bytes=random.Random(0).randbytes,
        )
        numbers["check_with_log_line_us"] = check = whole(service, log, raw)
        decode = numbers["decode_alone_us"]
        assert isinstance(decode, float)
        numbers["check_to_decode_ratio"] = round(check / decode, 2)
        answer = service.answer(raw, 0.2)
        empty = GrpcioServer(lambda _raw, _left: answer, ["127.0.0.1:0"])
        full = GrpcioServer(service.answer, ["127.0.0.1:0"])
        addresses = [f"127.0.0.1:{server.start()}" for server in (empty, full)]
        rounds = [[served(address, raw) for address in addresses] for _ in range(5)]
        nothing, checking = (sorted(column)[2] for column in zip(*rounds, strict=True))
        numbers["server_and_client_doing_nothing_us"] = nothing
        numbers["server_and_client_checking_us"] = checking
        numbers["server_ratio"] = round(checking / nothing, 3)
        for server in (empty, full):
            server.drain(1.0)
        log.close(5)
    keep("check", numbers)


if __name__ == "__main__":
    main()

"""The requests of the benchmarks as Envoy sends them, each with its right answer.

21 headers and a token of a usual identity provider make 2.4 kB. Path, request id and trace differ from
request to request, as a client's do, so that nothing is answered from a cache that a real client would miss.
"""

import random
import time
import uuid
import warnings
from dataclasses import dataclass
from typing import Final

from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

from tests.benchmarks.load import Answer
from tests.builders import check_request, read_answer
from tests.tokens import AUDIENCE, SigningKey

HOST: Final = "shop.example"
RULE: Final = "rule-finance"
SUBJECT: Final = "alice"
ALLOWED: Final = b"\n\x00"
"""How an allow begins: an empty `google.rpc.Status` in field 1."""

_LIFETIME_S: Final = 36_000

POLICIES: Final = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {
            "id": f"rule-{role}",
            "sub": role,
            "dom": "*",
            "obj": "invoice:read",
            "act": "read",
            "effect": "allow",
        }
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
"""What ours decides by; the Go server has the same role rules and no attribute policies."""


@dataclass(frozen=True)
class Caller:
    """An identity provider's key, which signs tokens for the servers that are measured."""

    key: SigningKey
    issuer: str

    def token(self, role: str = "finance", *, number: int = 0) -> str:
        """Return a token of Keycloak's form; another number makes another token."""
        now = int(time.time())
        identity = str(uuid.UUID(int=number))
        return self.key.sign(
            {
                "exp": now + _LIFETIME_S,
                "iat": now,
                "jti": f"onrtac:{identity}",
                "iss": self.issuer,
                "aud": AUDIENCE,
                "sub": SUBJECT,
                "typ": "Bearer",
                "azp": "shop-web",
                "sid": identity,
                "acr": "1",
                "allowed-origins": ["https://shop.example"],
                "realm_access": {"roles": [role, "offline_access", "uma_authorization"]},
                "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
                "scope": "openid email profile",
                "email_verified": True,
                "name": "Alice Example",
                "preferred_username": "alice",
                "email": "alice@shop.example",
                "department": "finance",
            }
        )


def headers(token: str, number: int) -> dict[str, str]:
    """Return the request's headers without the three that HTTP/2 writes with a colon."""
    entropy = random.Random(number)
    return {
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, deflate, br, zstd",
        "accept-language": "en-GB,en;q=0.9",
        "authorization": f"Bearer {token}",
        "cache-control": "no-cache",
        "cookie": "session=0123456789abcdef0123456789abcdef",
        "origin": "https://shop.example",
        "referer": "https://shop.example/invoices",
        "sec-ch-ua-platform": '"Linux"',
        "sec-fetch-dest": "empty",
        "sec-fetch-mode": "cors",
        "sec-fetch-site": "same-origin",
        "traceparent": f"00-{entropy.randbytes(16).hex()}-{entropy.randbytes(8).hex()}-01",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-envoy-internal": "true",
        "x-forwarded-for": "10.0.0.7",
        "x-forwarded-proto": "https",
        "x-request-id": str(uuid.UUID(bytes=entropy.randbytes(16), version=4)),
    }


def path(number: int) -> str:
    """Return the path of a request."""
    return f"/invoices/{number + 4711}?verbose=1"


def message(token: str, number: int, *, raw: bool = False) -> bytes:
    """Return a CheckRequest; `raw` as the shipped Envoy configuration asks (`encode_raw_headers`)."""
    where = path(number)
    found = headers(token, number)
    if not raw:
        return check_request(where, host=HOST, headers=found)
    named = {":authority": HOST, ":method": "GET", ":path": where, **found}
    return check_request(
        where, host=HOST, raw_headers=[(name, value.encode()) for name, value in named.items()]
    )


def assert_allowed(answer: Answer, *, rule: str | None, subject: bool) -> None:
    """Require an allow; `subject`: that names the subject; `rule`: whose dynamic metadata names this rule."""
    assert answer.status == "0", f"grpc-status {answer.status}"
    assert answer.message.startswith(ALLOWED), f"the check is denied: {answer.message!r}"
    if rule is not None:
        found = read_answer(answer.message)
        assert found.allowed, found
        assert found.headers["x-auth-subject"] == SUBJECT, found
        assert (found.metadata["reason"], found.metadata["matched_rule_id"]) == ("rule_matched", rule), found
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        response = CheckResponse.parse(answer.message)
    assert response.ok_response is not None, "the answer is empty"
    set_headers = {each.header.key: each.header.value for each in response.ok_response.headers if each.header}
    assert not subject or set_headers["x-auth-subject"] == SUBJECT, set_headers


def assert_denied(answer: Answer, status: int) -> None:
    """Require a denial with this HTTP status."""
    assert answer.status == "0", f"grpc-status {answer.status}"
    response = CheckResponse.parse(answer.message)
    assert response.status is not None
    assert response.status.code == 7, "the check is allowed"
    assert response.denied_response is not None
    assert response.denied_response.status is not None
    assert int(response.denied_response.status.code) == status, response

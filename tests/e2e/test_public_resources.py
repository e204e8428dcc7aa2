"""Public resources behind real Envoy: everyone gets them, and a deny wins."""

from typing import Any

import pytest

from extauthz.demo.calls import send
from tests.e2e.checked_envoy import TRANSPORTS, checked_envoy
from tests.e2e.test_envoy_config import Parts, parts

__all__ = ["parts"]

DENY: dict[str, Any] = {"dom": "*", "obj": "page", "act": "*", "effect": "deny"}
POLICIES = {
    "resources": [
        {
            "name": "page",
            "serviceName": "web",
            "public": True,
            "routes": [
                {"methods": ["GET"], "path": "/page"},
                {"methods": ["GET"], "path": "/members", "authentication": "required"},
            ],
        }
    ],
    "role_rules": [{"id": "not-bob", "sub": "bob", "sub_kind": "user", **DENY}],
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_public_resource_by_anonymous_by_a_user_and_a_deny_that_wins(parts: Parts, transport: str) -> None:
    port = checked_envoy(parts, transport, POLICIES)
    alice, bob = parts.token("alice"), parts.token("bob")

    def kind(path: str, token: str | None = None) -> object:
        found = send(port, path, token=token)
        return found.received["x-auth-kind"] if found.received is not None else (found.status, found.reason)

    assert kind("/page") == "anonymous"
    assert kind("/page", alice) == "user"
    assert kind("/page", bob) == (403, "rule_matched")
    assert kind("/page", "a.b.c") == (401, "token_malformed")
    assert kind("/members") == (401, "token_missing")
    assert kind("/members", alice) == "user"

"""Routes with `authentication: none`: the application owns `Authorization`, and each caller is anonymous."""

import base64
from typing import Any

import pytest

from extauthz.demo.calls import send
from tests.e2e.checked_envoy import TRANSPORTS, checked_envoy
from tests.e2e.test_envoy_config import Parts, parts

__all__ = ["parts"]

BASIC = "Basic " + base64.b64encode(b"admin:secret").decode()
ANYONE: dict[str, Any] = {"dom": "*", "act": "access", "effect": "allow", "sub": "anonymous"}
POLICIES = {
    "resources": [
        {
            "name": "registry",
            "serviceName": "registry",
            "routes": [
                {"methods": ["*"], "path": "/v2/**", "authentication": "none"},
                {"methods": ["GET"], "path": "/open", "authentication": "optional"},
                {"methods": ["GET"], "path": "/closed"},
            ],
        },
        {
            "name": "sealed",
            "serviceName": "registry",
            "routes": [{"methods": ["GET"], "path": "/v2/sealed", "authentication": "none"}],
        },
    ],
    "role_rules": [
        {"id": "anyone", "obj": "registry", **ANYONE},
        {"id": "finance", "obj": "sealed", **ANYONE, "sub": "finance"},
    ],
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_application_gets_its_own_authorization_untouched(parts: Parts, transport: str) -> None:
    port = checked_envoy(parts, transport, POLICIES)
    alice = parts.token("alice")

    for credential in (BASIC, "Negotiate YII=", "Bearer opaque", f"Bearer {alice}", "Digest a=b, c=d", ""):
        spoofed = {"x-auth-subject": "root", "x-auth-roles": "finance", "x-service-api-key": "sak_live_x"}
        found = send(port, "/v2/images", headers={"authorization": credential, **spoofed})
        assert found.status == 200, credential
        assert found.received is not None
        assert found.received.get("authorization", "") == credential
        ours = {name: value for name, value in found.received.items() if name.startswith("x-auth-")}
        assert ours == {
            "x-auth-kind": "anonymous",
            "x-auth-tenant": "default",
            "x-auth-roles": "anonymous",
            "x-auth-decision-id": found.decision_id,
        }
        assert "x-service-api-key" not in found.received
    assert send(port, "/v2/images").status == 200


@pytest.mark.parametrize("transport", ["native"])
def test_no_other_route_and_no_rule_is_opened_by_it(parts: Parts, transport: str) -> None:
    port = checked_envoy(parts, transport, POLICIES)
    alice = parts.token("alice")

    for path in ("/open", "/closed"):
        assert send(port, path, headers={"authorization": BASIC}).status == 401
    # Alice has the role; on this route she is anonymous like everyone.
    denied = send(port, "/v2/sealed", token=alice)
    assert (denied.status, denied.reason) == (403, "no_matching_rule")
    assert send(port, "/v2/%2e%2e/closed", headers={"authorization": BASIC}).status in {400, 401}

"""What the workload gets behind real Envoy: headers from claims, and `Authorization` or not."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from extauthz.demo.calls import send
from tests.e2e.gate import ask_over_http
from tests.e2e.test_credential_places import bootstrap, check_of, start
from tests.e2e.test_envoy_config import READY_S, Parts, parts
from tests.tokens import SigningKey, claims, jwks

__all__ = ["parts"]

KEY = SigningKey.es256("forwarding")
ISSUER = "https://people.example"
# What `envoy-config` prints with these options.
PRINTED: dict[str, list[str]] = {"native": [], "grpcio": [], "printed http": ["--transport", "http"]}
CLAIM_HEADERS = "x-user-email,x-user-groups,x-user-level,x-unused"


def resource(name: str, **more: object) -> dict[str, object]:
    routes = [{"methods": ["GET"], "path": f"/{name}", "authentication": "optional"}]
    return {"name": f"{name}:read", "serviceName": "shop", "routes": routes, **more}


POLICIES = {
    "resources": [
        resource("plain"),
        resource(
            "mapped",
            headers={"x-user-email": "user.mail", "x-user-level": "user.level"},
            authorization="remove",
        ),
    ],
    "role_rules": [
        {
            "id": f"{name}-{sub}",
            "sub": sub,
            "dom": "*",
            "obj": f"{name}:read",
            "act": "read",
            "effect": "allow",
        }
        for name in ("plain", "mapped")
        for sub in ("*", "anonymous")
    ],
}
PROVIDER = {
    "issuer": ISSUER,
    "audiences": ["shop"],
    "jwks": json.loads(jwks(KEY)),
    "headers": {"x-user-email": "user.email", "x-user-groups": "user.groups"},
}


def token(**changes: object) -> str:
    now = int(time.time())
    return KEY.sign(claims(iss=ISSUER, aud="shop", iat=now - 5, exp=now + 600, **changes))


def settings(parts: Parts, **more: str) -> dict[str, str]:
    policies, providers = parts.folder / "policies", parts.folder / "providers.yaml"
    policies.mkdir()
    (policies / "all.yaml").write_text(yaml.safe_dump(POLICIES))
    providers.write_text(json.dumps({"providers": [PROVIDER]}))
    return parts.settings(
        POLICY_SOURCE=f"files:{policies}",
        IDENTITY_PROVIDERS=str(providers),
        CLAIM_HEADERS=CLAIM_HEADERS,
        **more,
    )


def door(parts: Parts, variant: str) -> int:
    """Start a sidecar, and an Envoy with what `envoy-config` prints or with as little care as possible."""
    grpc_port, http_port = parts.ports.take()[0], parts.ports.take()[0]
    server = {"GRPC_SERVER": "grpcio"} if variant == "grpcio" else {}
    environ = settings(parts, GRPC_PORT=str(grpc_port), HTTP_AUTHZ_PORT=str(http_port), **server)
    parts.sidecar(environ)
    if variant in PRINTED:
        return parts.envoy(environ, *PRINTED[variant])
    (listener,) = parts.ports.take()
    document, manager = bootstrap(parts, listener, grpc_port)
    manager["common_http_protocol_options"].pop("headers_with_underscores_action")
    manager["http_filters"] = [each for each in manager["http_filters"] if "mutation" not in each["name"]]
    if variant == "http":
        (cluster,) = [each for each in document["static_resources"]["clusters"] if each["name"] == "extauthz"]
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
            "socket_address"
        ]["port_value"] = http_port
        check = check_of(manager)
        ask_over_http(check, cluster, http_port, timeout="0.5s")
        patterns: list[dict[str, str]] = [{"prefix": "x-user-"}, {"exact": "x-unused"}, {"prefix": "x_u"}]
        check["allowed_headers"]["patterns"] += patterns
        check["http_service"]["authorization_response"]["allowed_upstream_headers"]["patterns"] += patterns
    start(parts, document, "envoy")
    parts.children[-1].wait_ready(lambda: send(listener, "/plain").status == 200, timeout_s=READY_S)
    return listener


def received(port: int, path: str, **more: Any) -> Mapping[str, str]:
    answered = send(port, path, **more)
    assert answered.status == 200
    assert answered.received is not None
    return answered.received


def claim_headers(received: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in received.items()
        if name.replace("_", "-") in {*CLAIM_HEADERS.split(","), "x-auth-assertion"}
    }


# Other spellings that some upstream reads as the same name; Envoy takes each of these characters in a name.
RESPELT = {
    "x.user.email": "root@example.org",
    "x~user!groups": "wheel",
    "x-user.level": "9",
    "x.auth.subject": "root",
    "x-auth!assertion": "a.b.c",
    "X-Auth.Roles": "admin",
}
FORGED = {
    "x-user-email": "root@example.org",
    "X-User-Groups": "wheel",
    "x-user-level": "9",
    "x-unused": "1",
    "x-auth-assertion": "a.b.c",
}


@pytest.mark.parametrize("variant", [*PRINTED, "http", "lenient"])
def test_claims_reach_the_workload_and_forged_headers_do_not(parts: Parts, variant: str) -> None:
    port = door(parts, variant)
    forged = FORGED if variant in PRINTED else {**FORGED, "x_user_email": "root", "X_Unused": "1"}
    full = token(
        email="ann@example.org",
        mail="Änn\r\n<x>@example.org",
        groups=["a,b", "c d", "é", 7],
        level=3,
    )

    plain = received(port, "/plain", token=full, headers=forged)
    assert claim_headers(plain) == {
        "x-user-email": "ann@example.org",
        "x-user-groups": "a%2Cb,c%20d,%C3%A9,7",
    }
    assert plain["authorization"] == f"Bearer {full}"
    assert plain["x-auth-subject"] == "alice"

    mapped = received(port, "/mapped", token=full, headers=forged)
    assert claim_headers(mapped) == {
        "x-user-email": "%C3%84nn%0D%0A<x>@example.org",
        "x-user-groups": "a%2Cb,c%20d,%C3%A9,7",
        "x-user-level": "3",
    }
    assert "authorization" not in mapped

    # Absent, empty, null, structured and too long values: the header is removed.
    for changes in (
        {},
        {"email": "", "groups": []},
        {"email": None, "groups": [["x"]]},
        {"email": {"work": "a"}, "groups": [None]},
        {"email": "a" * 2049, "groups": ["é" * 400]},
    ):
        assert claim_headers(received(port, "/plain", token=token(**changes), headers=forged)) == {}

    # Without a token there are no claims.
    anonymous = received(port, "/mapped", headers=forged)
    assert claim_headers(anonymous) == {}
    assert anonymous["x-auth-kind"] == "anonymous"
    assert claim_headers(received(port, "/plain", headers=forged)) == {}


@pytest.mark.parametrize("variant", PRINTED)
def test_other_spellings_of_headers_do_not_reach_the_workload(parts: Parts, variant: str) -> None:
    port = door(parts, variant)
    for sent in ({}, {"token": token(email="ann@example.org")}):
        found = received(port, "/plain", headers=RESPELT, **sent)
        assert {name.lower() for name in RESPELT}.isdisjoint(name.lower() for name in found)

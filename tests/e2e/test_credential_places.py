"""Credentials that real Envoy forwards: the payload of jwt_authn, a verified peer, a cookie."""

import http.client
import json
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.demo import envoy, identity_provider
from extauthz.demo.calls import CallResult, send
from extauthz.demo.processes import LOOPBACK
from tests.certificates import Authority, Certificate
from tests.e2e.test_envoy_config import READY_S, Parts, parts, validated
from tests.tls_clients import trusting

__all__ = ["parts"]

SPIFFE = "spiffe://cluster.local/ns/shop/sa/cart"
PROVIDER = "idp"
HTTP = "type.googleapis.com/envoy.extensions.filters.http"


def sidecar(parts: Parts, **more: str) -> int:
    (port,) = parts.ports.take()
    parts.sidecar(parts.settings(GRPC_PORT=str(port), **more))
    return port


def bootstrap(parts: Parts, listener: int, authz: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the shipped bootstrap and, out of it, the connection manager's configuration."""
    text = envoy.bootstrap(listener=listener, extauthz=[authz], upstream=parts.upstream_port)
    document = yaml.safe_load(text)
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    return document, chain["filters"][0]["typed_config"]


def start(parts: Parts, document: Mapping[str, Any], name: str) -> None:
    file = parts.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    validated(file)
    parts.spawn(name, envoy.command(file))


def notices(listener: int) -> Callable[[], bool]:
    return lambda: send(listener, "/demo/notices").status == 200


def check_of(manager: Mapping[str, Any]) -> dict[str, Any]:
    (check,) = [part for part in manager["http_filters"] if part["name"].endswith("ext_authz")]
    found: dict[str, Any] = check["typed_config"]
    return found


def jwt_authn(parts: Parts) -> dict[str, Any]:
    issuer = f"http://{LOOPBACK}:{parts.provider_port}"
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration") as answer:
        jwks_uri = json.load(answer)["jwks_uri"]
    with urllib.request.urlopen(jwks_uri) as answer:
        keys = answer.read().decode()
    provider = {
        "issuer": issuer,
        "audiences": [identity_provider.AUDIENCE],
        "local_jwks": {"inline_string": keys},
        "payload_in_metadata": PROVIDER,
    }
    rule = {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
        {"provider_name": "p"}, {"allow_missing": {}},
    ]}}}  # fmt: skip
    config = {
        "@type": f"{HTTP}.jwt_authn.v3.JwtAuthentication",
        "providers": {"p": provider},
        "rules": [rule],
    }
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": config}


def test_claims_verified_by_jwt_authn_count_only_where_configured(parts: Parts) -> None:
    ports = {}
    for trusted in (True, False):
        more = {"TRUST_JWT_AUTHN_METADATA": PROVIDER} if trusted else {}
        authz, (listener,) = sidecar(parts, **more), parts.ports.take()
        document, manager = bootstrap(parts, listener, authz)
        before = [part["name"].endswith("ext_authz") for part in manager["http_filters"]].index(True)
        manager["http_filters"].insert(before, jwt_authn(parts))
        check_of(manager)["metadata_context_namespaces"] = ["envoy.filters.http.jwt_authn"]
        start(parts, document, f"envoy-{trusted}")
        parts.children[-1].wait_ready(notices(listener), timeout_s=READY_S)
        ports[trusted] = listener
    alice, bob = parts.token("alice"), parts.token("bob")

    allowed = send(ports[True], "/demo/invoices/17", token=alice)
    assert allowed.status == 200
    assert allowed.received is not None
    assert allowed.received["x-auth-subject"] == "alice"
    # jwt_authn does not forward what it has verified: there is one credential, and it is the payload.
    assert "authorization" not in allowed.received
    assert send(ports[True], "/demo/invoices/17", token=bob).status == 403
    assert send(ports[True], "/demo/invoices/17").status == 401
    assert send(ports[True], "/demo/invoices/17", token=alice[:-4] + "AAAA").status == 401
    assert send(ports[False], "/demo/invoices/17", token=alice).status == 401


def test_a_token_in_the_named_cookie_or_header(parts: Parts) -> None:
    authz = sidecar(parts, TOKEN_COOKIE="session", TOKEN_HEADER="x-token")
    (listener,) = parts.ports.take()
    document, _ = bootstrap(parts, listener, authz)
    start(parts, document, "envoy")
    parts.children[-1].wait_ready(notices(listener), timeout_s=READY_S)
    alice = parts.token("alice")

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(listener, "/demo/invoices/17", headers=named).status

    assert status(cookie=f"theme=dark; session={alice}") == 200
    assert status(x_token=alice) == 200
    assert status(cookie=f"other={alice}") == 401
    assert status(cookie=f"session={alice}", x_token=alice) == 401
    # With TOKEN_HEADER the header Authorization is the application's own.
    for own in (f"Bearer {alice}", "Basic eDp5", "Bearer opaque"):
        found = send(listener, "/demo/invoices/17", headers={"authorization": own, "x-token": alice})
        assert found.status == 200
        assert found.received is not None
        assert (found.received["authorization"], found.received["x-token"]) == (own, alice)
    assert status(authorization=f"Bearer {alice}") == 401


@pytest.mark.parametrize("name", ["x-my-token", "x-forwarded-access-token", "proxy-authorization"])
def test_a_token_header_of_any_name_with_basic_in_authorization(parts: Parts, name: str) -> None:
    authz, (listener,) = sidecar(parts, TOKEN_HEADER=name), parts.ports.take()
    document, _ = bootstrap(parts, listener, authz)
    start(parts, document, "envoy")
    parts.children[-1].wait_ready(notices(listener), timeout_s=READY_S)
    alice, bob = parts.token("alice"), parts.token("bob")

    def asked(token: str) -> CallResult:
        return send(listener, "/demo/invoices/17", headers={name: token, "authorization": "Basic eDp5"})

    allowed = asked(alice)
    assert allowed.status == 200
    assert allowed.received is not None
    assert (allowed.received["x-auth-subject"], allowed.received["authorization"]) == ("alice", "Basic eDp5")
    assert [asked(token).status for token in (bob, "a.b.c", "")] == [403, 401, 401]


@pytest.mark.parametrize("required_type", [None, "at+jwt"])
def test_a_forwarded_token_and_its_verified_metadata_are_one_credential(
    parts: Parts, required_type: str | None
) -> None:
    providers = parts.folder / "providers.yaml"
    provider: dict[str, object] = {
        "issuer": f"http://{LOOPBACK}:{parts.provider_port}",
        "audiences": [identity_provider.AUDIENCE],
        "roles": [{"claim": "realm_access.roles", "shape": "list"}],
    }
    if required_type is not None:
        provider["required_type"] = required_type
    providers.write_text(yaml.safe_dump({"providers": [provider]}))
    settings = {"IDENTITY_PROVIDERS": str(providers), "AUTH_SERVER_URL": "", "OIDC_AUDIENCE": ""}
    authz = sidecar(parts, TRUST_JWT_AUTHN_METADATA=PROVIDER, TOKEN_HEADER="x-other", **settings)
    (listener,) = parts.ports.take()
    document, manager = bootstrap(parts, listener, authz)
    before = [part["name"].endswith("ext_authz") for part in manager["http_filters"]].index(True)
    verifying = jwt_authn(parts)
    # Two headers, so that the proxy may have verified another token than the one that is judged here.
    verifying["typed_config"]["providers"]["p"] |= {
        "forward": True, "from_headers": [{"name": "x-verified"}],
    }  # fmt: skip
    manager["http_filters"].insert(before, verifying)
    check_of(manager)["metadata_context_namespaces"] = ["envoy.filters.http.jwt_authn"]
    start(parts, document, "envoy")
    parts.children[-1].wait_ready(notices(listener), timeout_s=READY_S)
    alice, bob = parts.token("alice"), parts.token("bob")

    def reason(**headers: str) -> str | int | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        found = send(listener, "/demo/invoices/17", headers=named)
        return found.reason or found.status

    alone = "token_malformed" if required_type else 200
    assert reason(x_verified=alice, x_other=alice) == alone
    assert reason(x_verified=alice) == alone
    assert reason(x_other=alice) == alone
    if required_type is None:
        assert reason(x_verified=bob, x_other=alice) == "credentials_conflict"
        assert reason(x_verified=alice, x_other=bob) == "credentials_conflict"
        assert reason(x_verified=bob, x_other=bob) == "no_matching_rule"


def test_a_peer_that_envoy_verified_is_a_workload_where_that_is_enabled(parts: Parts) -> None:
    policies = parts.folder / "policies"
    policies.mkdir()
    rule = {"dom": "*", "obj": "cart:read", "act": "read", "effect": "allow", "id": "workloads", "sub": "*"}
    resource = {"name": "cart:read", "serviceName": "shop", "routes": [{"methods": ["GET"], "path": "/cart"}]}
    kind = {"type": "CONDITION", "attribute": "user.kind", "operator": "neq", "value": "workload"}
    guard = {"id": "g", "name": "g", "resource": "*", "effect": "deny", "priority": 9, "rule_data": kind}
    document = {"resources": [resource], "role_rules": [rule], "attribute_policies": [guard]}
    (policies / "all.yaml").write_text(yaml.safe_dump(document))
    authority = Authority("mesh")
    ours, cart = authority.issue("envoy"), authority.issue("cart", uris=(SPIFFE,))
    ports = {}
    for enabled in (True, False):
        more = {"POLICY_SOURCE": f"files:{policies}", "MTLS_PRINCIPALS": str(enabled).lower()}
        authz, (listener,) = sidecar(parts, **more), parts.ports.take()
        configured, _ = bootstrap(parts, listener, authz)
        require_certificates(configured, ours, authority)
        start(parts, configured, f"envoy-{enabled}")
        asking = partial(get_with_certificate, parts.folder, listener, authority, cart)
        parts.children[-1].wait_ready(
            partial(_has_status, asking, 200 if enabled else 401), timeout_s=READY_S
        )
        ports[enabled] = listener

    status, received = get_with_certificate(parts.folder, ports[True], authority, cart)
    assert (status, received["x-auth-subject"], received["x-auth-kind"]) == (200, SPIFFE, "workload")
    alice = {"authorization": f"Bearer {parts.token('alice')}"}
    # The token counts, and alice is not a workload.
    assert get_with_certificate(parts.folder, ports[True], authority, cart, alice)[0] == 403
    assert (
        get_with_certificate(parts.folder, ports[True], authority, cart, {"authorization": "Bearer x"})[0]
        == 401
    )
    assert get_with_certificate(parts.folder, ports[False], authority, cart)[0] == 401


def test_rules_mean_the_workload_that_envoy_verified(parts: Parts) -> None:
    below, dev = "spiffe://cluster.local/ns/shop/**", "spiffe://cluster.local/ns/dev/**"
    reader = {"dom": "*", "obj": "cart:read", "act": "read", "sub_kind": "role"}
    document = {
        "resources": [
            {"name": "cart:read", "serviceName": "shop", "routes": [{"methods": ["GET"], "path": "/cart"}]}
        ],
        "role_rules": [
            reader | {"id": "carts", "sub": "reader", "effect": "allow"},
            reader | {"id": "alice", "sub": "alice", "sub_kind": "user", "effect": "allow"},
            reader | {"id": "not-dev", "sub": dev, "sub_kind": "workload", "effect": "deny"},
        ],
        "role_bindings": [
            {"id": "shop", "user": below, "user_kind": "workload", "role": "reader", "dom": "*"}
        ],
    }
    policies = parts.folder / "workload-policies"
    policies.mkdir()
    (policies / "all.yaml").write_text(yaml.safe_dump(document))
    authority = Authority("workload-mesh")
    names = {
        "cart": (SPIFFE,), "other": ("spiffe://cluster.local/ns/shopping/sa/cart",),
        "cased": ("spiffe://cluster.local/ns/Shop/sa/cart",), "several": (SPIFFE, "spiffe://cluster.local/x"),
        "malformed": ("spiffe://cluster.local/ns/shop//cart",), "dev": ("spiffe://cluster.local/ns/dev/sa/me",),
        "nameless": (),
    }  # fmt: skip
    shown = {name: authority.issue(name, uris=uris) for name, uris in names.items()}
    authz = sidecar(parts, POLICY_SOURCE=f"files:{policies}", MTLS_PRINCIPALS="true")
    (listener,) = parts.ports.take()
    configured, _ = bootstrap(parts, listener, authz)
    require_certificates(configured, authority.issue("envoy"), authority)
    start(parts, configured, "workload-envoy")

    def asked(name: str, **headers: str) -> int:
        return get_with_certificate(parts.folder, listener, authority, shown[name], headers)[0]

    parts.children[-1].wait_ready(lambda: asked("cart") == 200, timeout_s=READY_S)
    alice, bob = (f"Bearer {parts.token(name)}" for name in ("alice", "bob"))
    found = {name: asked(name) for name in names}
    assert found == {
        "cart": 200, "other": 403, "cased": 403, "several": 401, "malformed": 401, "dev": 403, "nameless": 403
    }  # fmt: skip
    # No header names a workload.
    forged = {"x-forwarded-client-cert": f"URI={SPIFFE}", "x-auth-subject": SPIFFE, "x-auth-kind": "workload"}
    assert asked("other", **forged) == 403
    # A token is the principal: it brings its own allows alone, and denies on the workload stay.
    assert asked("other", authorization=alice) == 200
    assert asked("cart", authorization=bob) == 403
    assert asked("dev", authorization=alice) == 403
    assert asked("malformed", authorization=alice) == 403


def require_certificates(document: dict[str, Any], ours: Certificate, clients: Authority) -> None:
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    common = {
        "tls_certificates": [
            {
                "certificate_chain": {"inline_string": ours.chain.decode()},
                "private_key": {"inline_string": ours.key.decode()},
            }
        ],
        "validation_context": {"trusted_ca": {"inline_string": clients.pem.decode()}},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    tls = {"@type": kind, "common_tls_context": common, "require_client_certificate": True}
    chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _has_status(asking: Callable[[], tuple[int, dict[str, str]]], status: int) -> bool:
    return asking()[0] == status


def get_with_certificate(
    folder: Path,
    port: int,
    trusted: Authority,
    shown: Certificate,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = "/cart",
) -> tuple[int, dict[str, str]]:
    context = trusting(trusted.pem.decode())
    pair = folder / "client.pem"
    pair.write_bytes(shown.chain + shown.key)
    context.load_cert_chain(pair)
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=5, context=context)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        body = json.loads(response.read() or b"{}")
        return response.status, body.get("headers", {})
    except (OSError, ValueError):
        return 0, {}
    finally:
        connection.close()

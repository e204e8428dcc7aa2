"""Tokens that are bound to a client certificate, behind a real Envoy that verifies its clients."""

import json
import time
from functools import partial

import yaml

from tests.certificates import Authority, thumbprint
from tests.e2e.test_credential_places import (
    bootstrap,
    get_with_certificate,
    require_certificates,
    sidecar,
    start,
)
from tests.e2e.test_envoy_config import READY_S, Parts, parts
from tests.tokens import SigningKey, claims, jwks

__all__ = ["parts"]

KEY = SigningKey.es256("bound")
ISSUER = "https://bound.example"
POLICIES = {
    "resources": [
        {"name": "cart:read", "serviceName": "shop", "routes": [{"methods": ["GET"], "path": "/cart"}]},
        {
            "name": "order:read",
            "serviceName": "shop",
            "routes": [{"methods": ["GET"], "path": "/orders"}],
            "require_bound": True,
        },
    ],
    "role_rules": [
        {"id": "all", "sub": "*", "dom": "*", "obj": "cart:read", "act": "read", "effect": "allow"},
        {"id": "orders", "sub": "*", "dom": "*", "obj": "order:read", "act": "read", "effect": "allow"},
    ],
}


def bearer(**changes: object) -> dict[str, str]:
    now = int(time.time())
    said = claims(iss=ISSUER, aud="cart", iat=now - 5, exp=now + 600, **changes)
    return {"authorization": f"Bearer {KEY.sign(said)}"}


def test_a_bound_token_is_accepted_from_the_holder_of_its_certificate_alone(parts: Parts) -> None:
    policies, providers = parts.folder / "policies", parts.folder / "providers.yaml"
    policies.mkdir()
    (policies / "all.yaml").write_text(yaml.safe_dump(POLICIES))
    provider = {"issuer": ISSUER, "audiences": ["cart"], "jwks": json.loads(jwks(KEY))}
    providers.write_text(json.dumps({"providers": [provider]}))
    authority = Authority("mesh")
    ours, cart, other = authority.issue("envoy"), authority.issue("cart"), authority.issue("other")
    authz = sidecar(parts, POLICY_SOURCE=f"files:{policies}", IDENTITY_PROVIDERS=str(providers))
    (listener,) = parts.ports.take()
    document, _ = bootstrap(parts, listener, authz)
    require_certificates(document, ours, authority)
    start(parts, document, "envoy")
    get = partial(get_with_certificate, parts.folder, listener, authority)
    parts.children[-1].wait_ready(lambda: get(cart)[0] == 401, timeout_s=READY_S)

    bound = {"x5t#S256": thumbprint(cart)}
    for _ in range(2):
        # The second time the token is remembered.
        assert get(cart, bearer(cnf=bound))[0] == 200
        assert get(other, bearer(cnf=bound))[0] == 401
    assert get(other, bearer())[0] == 200
    # A resource that requires bound tokens.
    for _ in range(2):
        assert get(cart, bearer(cnf=bound), path="/orders")[0] == 200
        assert get(other, bearer(cnf=bound), path="/orders")[0] == 401
        assert get(cart, bearer(), path="/orders")[0] == 401
    for refused in (
        {"jkt": thumbprint(cart)},
        {**bound, "jkt": "x"},
        {"x5t#S256": thumbprint(cart)[:-1]},
        {"x5t#S256": [thumbprint(cart)]},
        {},
        "x5t#S256",
    ):
        assert get(cart, bearer(cnf=refused))[0] == 401, refused

"""Opaque tokens at the REST API of a real process: callers of the one tenant, none of many tenants."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tests.integration.serving import database_environment, serving
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE

if TYPE_CHECKING:
    from tests.integration.conftest import Database

RESOURCE = {"name": "invoice:read", "displayName": "Invoices", "serviceName": "billing"}


async def introspect(request: web.Request) -> web.StreamResponse:
    token = (await request.post()).get("token")
    if token not in {"admin-token", "clerk-token", "late-token"}:
        return web.json_response({"active": False})
    if token == "late-token":
        expires_at = int(time.time()) + 1
        await asyncio.sleep(expires_at + 0.1 - time.time())
        late = {"active": True, "sub": "alice", "aud": AUDIENCE, "exp": expires_at, "scope": "administrator"}
        return web.json_response(late)
    said = {"active": True, "sub": "alice", "aud": AUDIENCE, "exp": int(time.time()) + 600}
    return web.json_response(said | {"scope": "administrator" if token == "admin-token" else "clerk"})


def test_an_opaque_token_is_of_a_caller_of_the_only_tenant(tmp_path: Path, database: "Database") -> None:
    (tmp_path / "secret").write_text("secret")
    with identity_provider() as server:
        server.handler = introspect
        provider = {
            "issuer": server.issuer,
            "audiences": [AUDIENCE],
            "roles": [{"claim": "scope", "shape": "space"}],
            "admin_roles": [{"role": "administrator", "domain": "*"}],
            "introspection": {
                "endpoint": f"{server.issuer}/introspect",
                "client_id": "gateway",
                "client_secret_file": "secret",
                "tokens": "all",
                "timeout": 3,
            },
        }
        file = tmp_path / "providers.yaml"
        file.write_text(json.dumps({"providers": [provider]}))
        with serving(
            tmp_path,
            database_environment(database.address),
            OIDC_ENABLED="true",
            IDENTITY_PROVIDERS=str(file),
            TOKEN_LEEWAY="0",
        ) as found:
            found.start()
            ask = found.rest.ask
            assert ask("POST", "/api/v1/resources", RESOURCE, token="admin-token").status == 201
            assert ask("POST", "/api/v1/resources", RESOURCE, token="clerk-token").status == 403
            question: dict[str, object] = {"resource": "invoice:read", "action": "read"}
            answer = ask("POST", "/api/v1/check", question, token="clerk-token")
            assert (answer.status, answer.document["reason"]) == (403, "no_matching_rule")
            rule = {"sub": "clerk", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
            revision = ask("POST", "/api/v1/resources/policies", rule, token="admin-token").revision
            question |= {"min_revision": revision}
            assert ask("POST", "/api/v1/check", question, token="clerk-token").status == 200
            refused = ask("GET", "/api/v1/resources", token="invented")
            assert (refused.status, refused.document["reason"]) == (401, "token_inactive")
            # It expires while its issuer is asked.
            refused = ask("POST", "/api/v1/resources", RESOURCE, token="late-token")
            assert (refused.status, refused.document["reason"]) == (401, "token_expired")
        asked = server.requests["/introspect"]
        assert asked == 4
        assert server.requests["/jwks"] == 0


def test_no_token_says_of_which_tenant_a_rest_caller_is(tmp_path: Path, database: "Database") -> None:
    (tmp_path / "secret").write_text("secret")
    with identity_provider() as server:
        server.handler = introspect
        provider = {
            "tenant": "acme",
            "issuer": server.issuer,
            "audiences": "any",
            "introspection": {
                "endpoint": f"{server.issuer}/introspect",
                "client_id": "gateway",
                "client_secret_file": "secret",
            },
        }
        file = tmp_path / "providers.yaml"
        file.write_text(json.dumps({"providers": [provider]}))
        with serving(
            tmp_path,
            database_environment(database.address),
            MODE="saas",
            OIDC_ENABLED="true",
            IDENTITY_PROVIDERS=str(file),
        ) as found:
            found.start()
            refused = found.rest.ask("GET", "/api/v1/resources", token="admin-token")
            assert (refused.status, refused.document["reason"]) == (401, "token_malformed")
        assert server.requests["/introspect"] == 0

"""Every route against every kind of caller, in both modes, as docs/rest.md has them in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Route

from extauthz.admin.app import build_app
from extauthz.domain.tenancy import TenancyMode
from tests.integration.rest_harness import ADMIN_KEY, Api, rest
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
NO_ID = "01900000-0000-7000-8000-000000000000"
PAGE = Path(__file__).parents[2] / "docs/rest.md"
SCOPES = (
    "check", "identity", "resources:write", "policies:read", "policies:write", "keys:write", "audit:read",
)  # fmt: skip
OPEN = (
    "/healthz/live", "/healthz/ready", "/metrics", "/openapi.json", "/docs",
    "/.well-known/authzen-configuration", "/.well-known/authzen-configuration/{tenant}",
)  # fmt: skip


def table() -> dict[tuple[str, str], dict[str, bool]]:
    """Return, of every route, which callers it is for."""
    lines = PAGE.read_text("utf-8").partition("## Every route, every caller")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines.splitlines()
        if line.startswith("|")
    ]
    callers = rows[0][1:]
    found: dict[tuple[str, str], dict[str, bool]] = {}
    for route, *cells in rows[2:]:
        method, _, path = route.strip("`").partition(" ")
        assert set(cells) <= {"yes", "-"}
        found[method, path] = {caller: cell == "yes" for caller, cell in zip(callers, cells, strict=True)}
    return found


async def with_keys(api: Api, maker: str) -> None:
    """Make a key of every scope; they become callers."""
    for scope in SCOPES:
        document = {
            "name": scope, "scopes": [scope], "service_name": "billing", "prefixes": ["/invoices"],
        }  # fmt: skip
        key = (await api.post("/api/v1/service-api-keys", document, caller=maker)).succeeded(201).body["key"]
        api.callers[scope] = {"X-Service-Api-Key": key}


async def session(api: Api) -> dict[str, str]:
    body = (await api.post("/admin/session", caller="operator")).succeeded(201).body
    return {"Authorization": f"Bearer {body['token']}"}


async def walk(api: Api, *, without: set[str], nowhere: tuple[str, ...] = ()) -> int:
    """Send every request as every caller; paths below `nowhere` are not served."""
    asked = 0
    api.callers["no credential"] = {}
    for (method, path), callers in table().items():
        for caller, allowed in callers.items():
            if caller in without:
                continue
            if caller == "session":
                # The one before may have ended itself.
                api.callers["session"] = await session(api)
            shape = path.replace("{id}", "no-tenant" if path.startswith("/admin") else NO_ID)
            headers: dict[str, Any] = {"Content-Type": "text/csv"} if "casbin" in path else {}
            document: object = None if method in {"GET", "DELETE"} else {}
            shape = (
                shape.replace("{tenant}", "acme")
                .replace("{idp_id}", NO_ID)
                .replace("{replay_id}", NO_ID)
                .replace("{key_id}", f"sak_{NO_ID}")
            )
            answer = await api.ask(method, shape, document, caller=caller, **headers)
            asked += 1
            where = (method, path, caller, answer.status, answer.raw[:200])
            if path.startswith(nowhere):
                assert answer.status == 404, where
            elif allowed:
                assert answer.status in {200, 201, 204, 400, 404, 422}, where
            else:
                assert answer.status == (401 if caller == "no credential" else 403), where
                answer.problem(answer.status)
    return asked


async def test_every_route_answers_every_caller_in_selfhost_as_the_table_states(database: "Database") -> None:
    async with rest(database) as api:
        api.callers |= {
            "operator": api.callers["key"],
            "admin key, selfhost": api.callers["key"],
            "token": api.callers["alice"],
            "domain admin": api.callers["emea"],
            "tenant admin": api.callers["tenant"],
        }
        await with_keys(api, "key")
        asked = await walk(
            api, without={"admin key, saas", "bootstrap key"}, nowhere=("/admin/tenants", "/{tenant}")
        )
        assert asked > 650


async def test_every_route_answers_every_caller_in_saas_as_the_table_states(database: "Database") -> None:
    async with firms(database, "acme") as found:
        api = found.api
        api.callers |= {
            "admin key, saas": {"X-Admin-Api-Key": ADMIN_KEY},
            "token": api.callers["acme/alice"],
            "domain admin": api.callers["acme/emea"],
            "tenant admin": api.callers["acme/admin"],
            "bootstrap key": api.callers["acme/key"],
        }
        await with_keys(api, "bootstrap key")
        asked = await walk(api, without={"admin key, selfhost"})
        assert asked > 750


async def test_the_table_has_every_route(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        served = {
            (method, route.path)
            for route in build_app(api.services).router.routes
            if isinstance(route, Route) and route.name != "_not_for_this_path"
            for method in (route.methods or set()) - {"HEAD"}
        }
        # Sidecars present keys of their own there, which no other route takes.
        assert served - {("POST", "/sidecar-reports"), ("POST", "/sidecar-recordings")} == set(table())
        assert {path for (_, path), callers in table().items() if callers["no credential"]} == set(OPEN)

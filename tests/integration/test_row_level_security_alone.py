"""Every REST route with the tenant conditions removed from its SQL: no row of another tenant is reached.

What another tenant's ids, names, values and cursors come to without them is in `test_rest_tenants.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.storage.pool import tenant_transaction
from tests.integration.rest_harness import Api
from tests.integration.rest_saas import firms
from tests.integration.storage_documents import connected
from tests.integration.test_rest_preconditions import READING, WRITES, Write
from tests.integration.test_rest_tenants import TENANT_TABLES, Holdings, settled
from tests.integration.unconditional import Statements, unconditional_pool

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
SLUGS = ("acme", "globex", "initech")
NEIGHBOURS = SLUGS[1:]
EVERY_TENANT = "FROM tenants WHERE deleted_at IS NULL AND ($1::text IS NULL OR tenant_id > $1) ORDER BY"
"""The one statement that is about all tenants, by whom an operator lists them."""
LISTS = {
    "/admin/tenants",
    "/api/v1/abac/policies",
    "/api/v1/audit",
    "/api/v1/casbin/policy",
    "/api/v1/drafts",
    "/api/v1/policy-tests",
    "/api/v1/resources",
    "/api/v1/resources/policies",
    "/api/v1/role-bindings",
    "/api/v1/service-api-keys",
}
"""Lists that show every tenant's rows to a caller with a token once nothing restricts them.

A caller with a key is known by any tenant's key then, by the one PostgreSQL happens to return first, and gets
401 where that is another key than the one presented: what keys are shown does not count here.
"""


@dataclass
class Switched:
    """A pool that can be exchanged while it is served."""

    pool: "Pool"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)


@dataclass
class Alone:
    """A served API whose statements have no conditions, and what every tenant holds."""

    api: Api
    idps: dict[str, str]
    pool: Switched
    statements: Statements
    holdings: dict[str, Holdings]
    database: "Database"

    async def neighbours(self) -> dict[str, list[str]]:
        """Return every row of the neighbours, as the superuser sees it."""
        shown = "SELECT t::text AS row FROM {} AS t WHERE tenant_id = ANY($1::text[]) ORDER BY 1"
        async with connected(self.database.superuser) as connection:
            return {
                table: [
                    str(row["row"]) for row in await connection.fetch(shown.format(table), list(NEIGHBOURS))
                ]
                for table in TENANT_TABLES
            }


@asynccontextmanager
async def alone(database: "Database") -> AsyncIterator[Alone]:
    async with unconditional_pool(database.address) as (pool, statements):
        switched = Switched(pool)
        async with firms(database, *SLUGS, pool=switched) as found:
            idps = {slug: firm.idp for slug, firm in found.firms.items()}
            yield Alone(found.api, idps, switched, statements, await settled(found), database)


async def sent(held: Alone, write: Write) -> None:
    """Send a write of acme's, which succeeds on rows of acme's, and on no neighbour's."""
    held.statements.rewritten.clear()
    answer = await write.send(held.api)
    assert answer.status in {200, 201, 204}, (write, answer)
    assert held.statements.rewritten, write
    for slug in NEIGHBOURS:
        assert held.holdings[slug].mark not in answer.raw.decode(), write


async def test_no_write_reaches_a_neighbours_rows(database: "Database") -> None:
    async with alone(database) as held:
        before = await held.neighbours()
        assert {table for table, rows in before.items() if not rows} == set()
        for preparations in WRITES.values():
            for prepare in preparations:
                await sent(held, await prepare(held.api))
                assert await held.neighbours() == before, prepare
        await sent(held, Write("DELETE", "/admin/tenants/acme"))
        assert await held.neighbours() == before
        assert held.statements.untouched == []


async def test_a_neighbours_provider_is_not_found_under_another_tenant(database: "Database") -> None:
    async with alone(database) as held:
        before = await held.neighbours()
        path = f"/admin/tenants/acme/identity-providers/{held.idps['globex']}"
        document = {"issuer_url": "https://idp.example", "audience": "mesh"}
        (await held.api.put(path, document, caller="operator")).problem(404)
        (await held.api.delete(path, caller="operator")).problem(404)
        assert await held.neighbours() == before
        own = path.replace(held.idps["globex"], held.idps["acme"])
        (await held.api.delete(own, caller="operator")).succeeded(204)


async def test_no_read_shows_a_neighbours_rows(database: "Database") -> None:
    async with alone(database) as held:
        for path, caller in reads(held.api, held.holdings["acme"]):
            held.statements.rewritten.clear()
            held.statements.untouched.clear()
            answer = (await held.api.get(path, caller=caller)).succeeded(200)
            of_all, of_none = path == "/admin/tenants", path == "/admin/sidecar-keys"
            for slug in NEIGHBOURS:
                shown = slug in answer.raw.decode()
                assert shown is of_all, (path, slug)
            assert bool(held.statements.rewritten) is not (of_all or of_none), path
            assert all(EVERY_TENANT in each for each in held.statements.untouched), path
        asked = await asked_about_itself(held.api)
        assert asked == [200, 200, 200]


async def test_without_row_level_security_everything_crosses(database: "Database") -> None:
    """The views of the tests above show a violation when one happens."""
    async with alone(database) as held, unconditional_pool(database.superuser) as (above, _):
        before = await held.neighbours()
        paths = reads(held.api, held.holdings["acme"])
        statement = "UPDATE resources SET display_name = 'taken over' WHERE tenant_id = $1"
        for pool, crosses in ((held.pool.pool, False), (above, True)):
            async with tenant_transaction(pool, "acme") as connection:
                await connection.execute(statement, "acme")
            assert (await held.neighbours() != before) is crosses
            held.pool.pool = pool
            shown = {
                path
                for path, caller in paths
                if "globex" in (await held.api.get(path, caller=caller)).raw.decode()
            }
            assert shown >= LISTS if crosses else shown == {"/admin/tenants"}, shown


def reads(api: Api, own: Holdings) -> list[tuple[str, str]]:
    """Return every path that is read, with the ids of acme, and its caller."""
    found = []
    for path, operations in api.described.document["paths"].items():
        if "get" not in operations or not path.startswith(("/api", "/admin")):
            continue
        if path.startswith("/admin"):
            found.append((path.replace("{id}", "acme"), "operator"))
            continue
        own_path = path.replace("{id}", own.ids.get(path.partition("/{id}")[0], ""))
        own_path = own_path.replace("{replay_id}", own.ids["replay"])
        callers = ["acme/admin", "acme/key"]
        # A replay that a tenant admin asked for has requests of every domain.
        if "domain admins" in operations["get"]["description"] and "{replay_id}" not in path:
            callers.append("acme/emea")
        found += [(own_path, caller) for caller in callers]
        if "draft" in [each["name"] for each in operations["get"].get("parameters", ())]:
            found += [(f"{own_path}?draft={own.ids['/api/v1/drafts']}", caller) for caller in callers]
    assert len(found) > 30
    return found


async def asked_about_itself(api: Api) -> list[int]:
    """Make requests that read only the compiled policies of the caller's tenant."""
    asked = []
    for method, path in sorted(READING):
        if not path.endswith("/check"):
            continue
        by_name = {"name": "globex-mark:read"}
        document = by_name if "access" in path else {"resource": "globex-mark:read", "action": "read"}
        answer = await api.ask(method, path, document, caller="acme/alice")
        asked.append(200 if answer.status == 403 and answer.body.get("decision") == "deny" else answer.status)
        assert answer.body.get("authorized") is not True
    return asked

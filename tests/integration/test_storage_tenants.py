"""Tenants, as the operator registers them, and the privileges that their storage needs."""

from typing import TYPE_CHECKING

import pytest

from extauthz.shipped import shipped
from extauthz.storage import (
    attribute_policies,
    feed,
    hosts,
    identity_providers,
    resources,
    role_bindings,
    role_rules,
    service_keys,
    tenant_configs,
    tenants,
)
from extauthz.storage.migrate import migrate, read_migrations
from extauthz.storage.outcome import Conflict, Invalid, NotFound, Refusal
from extauthz.storage.rows import Page, Stored
from extauthz.storage.tenants import TenantStatus
from extauthz.storage.write import Change, Written
from tests.integration.storage_documents import (
    ACTOR,
    attempt,
    attribute_policy,
    connected,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
)
from tests.integration.tenant_rows import SECRET, made, provider, registered, trail
from tests.integration.test_row_level_security import grant_roles

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection, Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def shown(pool: "Pool", slug: str) -> Stored | None:
    async def work(connection: "Connection") -> Stored | None:
        return await tenants.get(connection, slug)

    found = await tenants.read_as_operator(pool, work)
    assert found is None or isinstance(found, Stored)
    return found


async def test_a_tenant_is_made_with_its_bootstrap_key_in_one_step(database: "Database") -> None:
    async with pool_of(database.address) as pool, reader_of(database.address) as reader:
        written = await made(pool, "acme", "Acme Ltd")
        assert isinstance(written, Written)
        assert (written.revision, written.value.document["bootstrap"]) == (1, True)
        stored = await shown(pool, "acme")
        assert stored is not None
        assert stored.document == {"id": "acme", "slug": "acme", "name": "Acme Ltd", "status": "active"}
        assert (await feed.heads(reader)).revisions == {"acme": 1}
        assert [(action, kind) for action, kind, _, _ in await trail(pool, "acme")] == [
            ("create", "tenant"),
            ("create", "service_key"),
        ]


async def test_a_tenant_whose_key_is_refused_is_not_made(database: "Database") -> None:
    async with pool_of(database.address) as pool:

        async def also(_change: Change, _: Stored) -> NotFound:
            return NotFound("service_key", "x")

        refused: Written[Stored] | Refusal = await tenants.create(
            pool, ACTOR, slug="acme", name="Acme", also=also, new_id=new_id
        )
        assert isinstance(refused, NotFound)
        assert await shown(pool, "acme") is None
        assert isinstance(await made(pool, "acme"), Written)


@pytest.mark.parametrize("slug", ["", "Acme", "-", "a b", "a" * 64, "../x", "acme\n"])
async def test_a_malformed_slug_is_refused(database: "Database", slug: str) -> None:
    async with pool_of(database.address) as pool:
        assert isinstance(await made(pool, slug), Invalid)


async def test_a_slug_is_given_out_once_ever(database: "Database") -> None:
    async with pool_of(database.address) as pool:
        assert isinstance(await made(pool, "acme"), Written)
        refused = await made(pool, "acme")
        assert isinstance(refused, Conflict)
        assert refused.ids == ("acme",)
        await succeed(pool, tenants.delete, tenant="acme")
        assert isinstance(await made(pool, "acme"), Conflict)


async def test_tenants_are_listed_by_slug_in_pages(database: "Database") -> None:
    async with pool_of(database.address, "delta", "alpha", "echo", "bravo") as pool:
        await succeed(pool, tenants.delete, tenant="delta")
        first = await tenants.page(pool, limit=2)
        assert isinstance(first, Page)
        assert ([item.id for item in first.items], first.next) == (["alpha", "bravo"], "bravo")
        second = await tenants.page(pool, limit=2, after=first.next)
        assert isinstance(second, Page)
        assert ([item.id for item in second.items], second.next) == (["echo"], None)


async def test_a_tenant_is_renamed_suspended_and_resumed(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        renamed = await succeed(pool, lambda change: tenants.replace(change, name="New"), tenant="acme")
        assert isinstance(renamed.value, Stored)
        assert (renamed.value.document["name"], renamed.value.document["status"]) == ("New", "active")
        again = await succeed(pool, lambda change: tenants.replace(change, name="New"), tenant="acme")
        assert again.changed is False
        await succeed(
            pool, lambda change: tenants.replace(change, status=TenantStatus.SUSPENDED), tenant="acme"
        )
        assert (await registered(reader, "acme")).suspended is True
        await succeed(pool, lambda change: tenants.replace(change, status=TenantStatus.ACTIVE), tenant="acme")
        assert (await registered(reader, "acme")).suspended is False
        bad = await attempt(pool, lambda change: tenants.replace(change, name="x\u200by"), tenant="acme")
        assert isinstance(bad, Invalid)


async def test_deleting_a_tenant_leaves_its_trail_and_nothing_else(database: "Database") -> None:
    async with pool_of(database.address, "globex") as pool, reader_of(database.address) as reader:
        assert isinstance(await made(pool, "acme"), Written)

        async def fill(change: Change) -> None:
            new = resource(defaultRoles=["reader"], routes=[route()])
            await resources.create(change, [new])
            await role_rules.create(change, [role_rule()])
            await role_bindings.create(change, [role_binding()])
            await attribute_policies.create(change, [attribute_policy()])
            await hosts.replace(change, ["acme.local"])
            await identity_providers.create(change, provider())

        await succeed(pool, fill, tenant="acme")
        await succeed(pool, tenants.delete, tenant="acme")
        assert (await feed.heads(reader)).revisions == {"globex": 0}
        assert await feed.load(reader, "acme") is None
        assert await tenant_configs.read(reader, ["acme"]) == {}
        async with connected(database.superuser) as superuser:
            left = {
                table: await superuser.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = 'acme'")
                for table in (
                    "resources", "route_claims", "default_roles_applied", "role_rules", "role_bindings",
                    "attribute_policies", "attribute_policy_versions", "tenant_hosts", "identity_providers",
                    "service_api_keys",
                )
            }  # fmt: skip
        assert set(left.values()) == {0}
        assert (await trail(pool, "acme"))[-1][:2] == ("delete", "tenant")
        assert isinstance(await attempt(pool, tenants.delete, tenant="acme"), NotFound)
        # what it had is free again
        await succeed(pool, lambda change: hosts.replace(change, ["acme.local"]), tenant="globex")
        await succeed(pool, lambda change: identity_providers.create(change, provider()), tenant="globex")


async def test_least_privilege_is_enough(empty_database: "Database") -> None:
    await grant_roles(empty_database)
    migrations = read_migrations(shipped("migrations"))
    assert isinstance(migrations, tuple)
    async with connected(empty_database.as_user("extauthz_owner", "pw-owner")) as owner:
        await migrate(owner, migrations)
    await grant_roles(empty_database)
    writer = empty_database.as_user("extauthz_writer", "pw-writer")
    reading = empty_database.as_user("extauthz_reader", "pw-reader")
    async with pool_of(writer) as pool, reader_of(reading) as reader:
        assert isinstance(await made(pool, "acme"), Written)

        async def work(change: Change) -> None:
            await resources.create(change, [resource(defaultRoles=["reader"], routes=[route()])])
            await attribute_policies.create(change, [attribute_policy()])
            await hosts.replace(change, ["acme.local"])
            await identity_providers.create(change, provider())
            robot = {"id": f"sak_{new_id()}", "name": "robot", "scopes": ["identity"]}
            await service_keys.create(change, robot, secret=SECRET)

        await succeed(pool, work, tenant="acme")
        found = await registered(reader, "acme")
        assert (len(found.hosts), len(found.providers), len(found.identity_keys)) == (1, 1, 1)
        await succeed(pool, lambda c: hosts.replace(c, ["b.local"]), tenant="acme")
        await succeed(pool, service_keys.revoke_bootstrap, tenant="acme")
        await succeed(pool, tenants.delete, tenant="acme")
        assert await tenant_configs.read(reader, ["acme"]) == {}

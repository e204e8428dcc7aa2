"""Tenants, their hosts and their identity providers, as the operator registers them."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.domain.tenant_config import TenantConfig, TenantIdentityProvider
from extauthz.shipped import shipped
from extauthz.storage import (
    attribute_policies,
    audit,
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
from extauthz.storage.pool import tenant_transaction
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
from tests.integration.test_row_level_security import grant_roles

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Document
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]
SECRET = bytes(range(32))


async def made(pool: "Pool", slug: str, name: str = "A tenant") -> Written[Stored] | Refusal:
    key_id = f"sak_{new_id()}"

    async def also(change: Change, _: Stored) -> Stored | Refusal:
        return await service_keys.rotate_bootstrap(change, key_id, secret=SECRET)

    return await tenants.create(pool, ACTOR, slug=slug, name=name, also=also, new_id=new_id)


async def shown(pool: "Pool", slug: str) -> Stored | None:
    async def work(connection: "Connection") -> Stored | None:
        return await tenants.get(connection, slug)

    found = await tenants.read_as_operator(pool, work)
    assert found is None or isinstance(found, Stored)
    return found


def provider(issuer: str = "https://idp.acme.example", **members: object) -> "Document":
    return {
        "id": new_id(), "issuer_url": issuer, "jwks_uri": None, "audience": "mesh", "claim_config": {},
        "active": True,
    } | members  # fmt: skip


async def registered(reader: "Connection", tenant: str) -> TenantConfig:
    return (await tenant_configs.read(reader, [tenant]))[tenant]


async def trail(pool: "Pool", tenant: str) -> list[tuple[str, str, object, object]]:
    async with tenant_transaction(pool, tenant) as connection:
        page = await audit.page(connection, tenant)
    return [(event.action, event.kind, event.before, event.after) for event in reversed(page.items)]


# Tenants


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


# Hosts


async def test_hosts_are_replaced_as_a_list(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        first = await succeed(pool, lambda c: hosts.replace(c, ["b.local", "a.local"]), tenant="acme")
        assert (first.value, first.revision) == (("a.local", "b.local"), 1)
        same = await succeed(pool, lambda c: hosts.replace(c, ["a.local", "b.local"]), tenant="acme")
        assert same.changed is False
        await succeed(pool, lambda c: hosts.replace(c, ["b.local", "c.local", "c.local"]), tenant="acme")
        assert (await registered(reader, "acme")).hosts == ("b.local", "c.local")
        await succeed(pool, lambda c: hosts.replace(c, []), tenant="acme")
        assert (await registered(reader, "acme")).hosts == ()
        assert (await trail(pool, "acme"))[0] == (
            "update", "tenant_hosts", {"hosts": []}, {"hosts": ["a.local", "b.local"]},
        )  # fmt: skip


async def test_a_host_of_another_tenant_is_a_conflict(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda c: hosts.replace(c, ["shop.local"]), tenant="globex")
        refused = await attempt(pool, lambda c: hosts.replace(c, ["a.local", "shop.local"]), tenant="acme")
        assert isinstance(refused, Conflict)
        assert [(clash.index, clash.id) for clash in refused.clashes] == [(1, "shop.local")]
        assert "globex" not in repr(refused)
        assert (await registered(reader, "acme")).hosts == ()
        assert (await registered(reader, "globex")).hosts == ("shop.local",)


@pytest.mark.parametrize("host", ["A.local", "*.local", "a.local/x", "", "a b"])
async def test_an_invalid_host_is_not_stored(database: "Database", host: str) -> None:
    async with pool_of(database.address, "acme") as pool:
        refused = await attempt(pool, lambda c: hosts.replace(c, [host]), tenant="acme")
        assert isinstance(refused, Invalid)


async def test_racing_for_hosts_one_tenant_gets_each(database: "Database") -> None:
    names = [f"h{number}.local" for number in range(8)]
    slugs = [f"t{number}" for number in range(4)]
    async with pool_of(database.address, *slugs, max_size=8) as pool, reader_of(database.address) as reader:
        outcomes = await asyncio.gather(
            *(
                attempt(pool, partial(hosts.replace, hosts=own), tenant=slug)
                for number, slug in enumerate(slugs)
                for own in [names[number:] + names[:number]]
            )
        )
        assert [isinstance(outcome, Written) for outcome in outcomes].count(True) == 1
        owned = [
            host for found in (await tenant_configs.read(reader, slugs)).values() for host in found.hosts
        ]
        assert sorted(owned) == names


# Identity providers


async def test_a_provider_reaches_sidecars_as_it_was_registered(database: "Database") -> None:
    config: dict[str, Any] = {
        "roles_claim": "groups", "domain_claim": "org", "admin_domain_claim": "admin_of",
        "excluded_roles": ["noise"],
    }  # fmt: skip
    document = provider(jwks_uri="https://idp.acme.example/keys", audience=["a", "b"], claim_config=config)
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        written = await succeed(pool, lambda c: identity_providers.create(c, document), tenant="acme")
        assert isinstance(written.value, Stored)
        assert written.value.document == document
        assert (await registered(reader, "acme")).providers == (
            TenantIdentityProvider(
                "acme",
                str(document["id"]),
                {name: value for name, value in document.items() if name not in {"id", "active"}},
            ),
        )
        rows = await feed.changes_since(reader, {"acme": 0})
        assert rows[0].rows == (feed.RowChange("identity_provider", str(document["id"]), None),)


async def test_every_audience_has_to_be_written_out(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        empty: list[object] = ["", []]
        for audience in empty:
            refused = await attempt(
                pool,
                partial(identity_providers.create, document=provider(audience=audience)),
                tenant="acme",
            )
            assert isinstance(refused, Invalid)
        await succeed(pool, lambda c: identity_providers.create(c, provider(audience="any")), tenant="acme")
        (stored,) = (await registered(reader, "acme")).providers
        assert stored.document["audience"] == "any"


async def test_a_tenant_has_several_active_providers(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        first, second = provider(), provider("https://second.example")
        for document in (first, second):
            await succeed(pool, partial(identity_providers.create, document=document), tenant="acme")
        issuers = [first["issuer_url"], second["issuer_url"]]
        assert await registered_issuers(reader) == issuers
        idle = second | {"active": False}
        await succeed(pool, partial(identity_providers.replace, document=idle), tenant="acme")
        assert await registered_issuers(reader) == issuers[:1]


FORM: dict[str, Any] = {
    "issuer_template": "https://sts.example/{tenant}/", "issuer_values": ["one", "two"],
    "jwks_uri": "https://sts.example/keys", "audiences": ["mesh"], "algorithms": ["PS256"],
    "roles": [{"claim": "scp", "shape": "space", "prefix": "scope:"}], "leeway": 0, "require_bound": True,
}  # fmt: skip


async def test_a_provider_in_the_form_of_the_file_is_stored_whole(database: "Database") -> None:
    document = FORM | {"id": new_id(), "active": True}
    row = UUID(str(document["id"]))
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        written = await succeed(pool, partial(identity_providers.create, document=document), tenant="acme")
        assert isinstance(written.value, Stored)
        assert written.value.document == document
        async with tenant_transaction(pool, "acme") as connection:
            stored = await identity_providers.get(connection, "acme", row)
            assert stored is not None
            assert stored.document == document
            # A reader of an earlier version needs an audience, so it refuses these tokens.
            assert await connection.fetchval("SELECT audience::text FROM identity_providers") == "null"
        (found,) = (await registered(reader, "acme")).providers
        assert found.document == FORM
        again = await succeed(pool, partial(identity_providers.replace, document=document), tenant="acme")
        assert isinstance(again.value, Stored)
        assert again.value.revision == written.value.revision
        gone = await succeed(pool, lambda c: identity_providers.delete(c, row), tenant="acme")
        assert isinstance(gone.value, Stored)
        assert gone.value.document == document
        async with connected(database.superuser) as superuser:
            assert await superuser.fetchval("SELECT count(*) FROM identity_provider_issuers") == 0


@pytest.mark.parametrize(
    "claim",
    [
        {"issuer_url": "https://sts.example/two/", "audience": "mesh"},
        {"issuer": "https://sts.example/two/", "audiences": "any"},
        {"issuer": "https://other.example", "aliases": ["x", "https://sts.example/two/"], "audiences": "any"},
        {"issuer_template": "https://sts.{name}/two/", "issuer_values": ["example"], "audiences": "any"},
        {"issuer": "https://other.example", "aliases": ["https://sts.example/one/"], "audiences": "any"},
    ],
)
@pytest.mark.parametrize("tenant", ["acme", "globex"])
async def test_every_name_of_an_issuer_belongs_to_one_provider(
    database: "Database", claim: dict[str, Any], tenant: str
) -> None:
    owner = FORM | {"id": new_id(), "active": False}
    rival = {"id": new_id(), "active": True} | claim
    harmless = {"issuer": "spiffe://rival", "jwks_uri": "https://rival.example/keys", "audiences": "any"}
    async with pool_of(database.address, "acme", "globex") as pool:
        await succeed(pool, partial(identity_providers.create, document=owner), tenant="acme")
        refused = await attempt(pool, partial(identity_providers.create, document=rival), tenant=tenant)
        assert isinstance(refused, Conflict)
        assert all(issuer.startswith("https://sts.example/") for issuer in refused.ids)
        known = {"id": rival["id"], "active": True} | harmless
        await succeed(pool, partial(identity_providers.create, document=known), tenant=tenant)
        refused = await attempt(pool, partial(identity_providers.replace, document=rival), tenant=tenant)
        assert isinstance(refused, Conflict)
        row = UUID(str(owner["id"]))
        await succeed(pool, lambda c: identity_providers.delete(c, row), tenant="acme")
        await succeed(pool, partial(identity_providers.replace, document=rival), tenant=tenant)


async def registered_issuers(reader: "Connection") -> list[object]:
    return [each.document["issuer_url"] for each in (await registered(reader, "acme")).providers]


async def test_an_issuer_belongs_to_one_tenant(database: "Database") -> None:
    own = provider("https://own.example")
    async with pool_of(database.address, "acme", "globex") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda c: identity_providers.create(c, provider()), tenant="globex")
        refused = await attempt(pool, lambda c: identity_providers.create(c, provider()), tenant="acme")
        assert isinstance(refused, Conflict)
        assert refused.ids == ("https://idp.acme.example",)
        await succeed(pool, lambda c: identity_providers.create(c, own), tenant="acme")
        stolen = own | {"issuer_url": "https://idp.acme.example"}
        refused = await attempt(pool, lambda c: identity_providers.replace(c, stolen), tenant="acme")
        assert isinstance(refused, Conflict)
        assert "globex" not in repr(refused)
        assert await registered_issuers(reader) == ["https://own.example"]


async def test_a_provider_is_replaced_and_forgotten(database: "Database") -> None:
    first = provider()
    row = UUID(str(first["id"]))
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        created = await succeed(pool, lambda c: identity_providers.create(c, first), tenant="acme")
        assert isinstance(created.value, Stored)
        moved = first | {"issuer_url": "https://new.example", "audience": ["x"]}
        replaced = await succeed(pool, lambda c: identity_providers.replace(c, moved), tenant="acme")
        assert isinstance(replaced.value, Stored)
        assert await registered_issuers(reader) == ["https://new.example"]
        await succeed(pool, lambda c: identity_providers.delete(c, row), tenant="acme")
        assert (await registered(reader, "acme")).providers == ()
        gone = await attempt(pool, lambda c: identity_providers.delete(c, row), tenant="acme")
        assert isinstance(gone, NotFound)
        async with tenant_transaction(pool, "acme") as connection:
            assert await identity_providers.get(connection, "acme", row) is None
            assert (await identity_providers.page(connection, "acme")).items == ()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("audience", '[1, "a"]'),
        ("audience", '["", "a"]'),
        ("claim_config", '{"roles_claim": 3}'),
        ("claim_config", '{"domain_claim": ""}'),
        ("claim_config", '{"excluded_roles": "x"}'),
    ],
)
async def test_a_provider_row_damaged_in_the_database_is_left_out(
    database: "Database", column: str, value: str
) -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda c: identity_providers.create(c, provider()), tenant="acme")
        async with connected(database.superuser) as superuser:
            await superuser.execute(f"UPDATE identity_providers SET {column} = $1::jsonb", value)
        found = await registered(reader, "acme")
        assert found.providers == ()
        assert len(found.problems) == 1


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

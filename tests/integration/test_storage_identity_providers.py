"""The identity providers of tenants, as the operator registers them."""

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.storage import feed, identity_providers
from extauthz.storage.outcome import Conflict, Invalid, NotFound
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import Stored
from tests.integration.storage_documents import attempt, connected, new_id, pool_of, reader_of, succeed
from tests.integration.tenant_rows import provider, registered

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


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

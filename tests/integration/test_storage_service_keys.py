"""Service keys: shown once, kept as a digest, found by id, revoked with all that they made."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.service_key import IdentityKey, PresentedKey, Scope, key_text, secret_digest
from extauthz.storage import audit, feed, service_keys, tenant_configs
from extauthz.storage.outcome import Conflict, Invalid, NotFound, Refusal
from extauthz.storage.pool import open_pool, tenant_transaction
from extauthz.storage.rows import Page, Stored
from extauthz.storage.service_keys import KeyGrant
from extauthz.storage.write import Change
from tests.integration.storage_documents import (
    attempt,
    connected,
    new_id,
    pool_of,
    reader_of,
    succeed,
)

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from extauthz.storage.rows import Document
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]
NOW = datetime.now(UTC)


def document(**members: Any) -> "Document":
    return {"id": f"sak_{new_id()}", "name": "robot", "scopes": ["identity"]} | members


async def made(
    pool: "Pool", tenant: str = "acme", secret: bytes | None = None, **members: Any
) -> tuple[Stored, PresentedKey]:
    """Create a key and present it."""
    secret = os.urandom(32) if secret is None else secret
    new = document(**members)
    written = await succeed(pool, lambda c: service_keys.create(c, new, secret=secret), tenant=tenant)
    assert isinstance(written.value, Stored)
    presented = PresentedKey.parse(key_text(written.value.id, secret))
    assert presented is not None
    return written.value, presented


async def found(pool: "Pool", presented: PresentedKey, now: datetime = NOW) -> KeyGrant | Refusal | None:
    return await service_keys.find(pool, presented, now=now)


def changed(presented: PresentedKey, **members: Any) -> PresentedKey:
    return PresentedKey(**({"id": presented.id, "digest": presented.digest} | members))


async def listed(pool: "Pool", tenant: str = "acme", **arguments: Any) -> Page[Stored]:
    async with tenant_transaction(pool, tenant) as connection:
        return await service_keys.page(connection, tenant, **arguments)


# The spelling of keys


def test_a_key_has_one_spelling() -> None:
    key_id = "sak_01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c11"
    secret = bytes(range(32))
    text = key_text(key_id, secret)
    assert text == f"sak_live_01931f3c8d5a7c3e9a510f6f2f5b7c11_{secret.hex()}"
    presented = PresentedKey.parse(text)
    assert presented is not None
    assert presented.id == key_id
    assert presented.opens(secret_digest(secret))
    assert not presented.opens(secret_digest(bytes(32)))
    for other in (
        text.upper(), text + "0", text[:-1], " " + text, text + "\n", text.replace("live", "test"),
        text.replace("_", "-"), text[:-1] + "g", "", "sak_live_", text[:-1] + "\u0661",
    ):  # fmt: skip
        assert PresentedKey.parse(other) is None, other


def test_no_representation_shows_a_digest() -> None:
    presented = PresentedKey.parse(key_text("sak_01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c11", bytes(32)))
    key = IdentityKey("sak_x", "acme", secret_digest(bytes(32)))
    for shown in (repr(presented), repr(key)):
        assert "digest" not in shown


@pytest.mark.parametrize(("key_id", "secret"), [("sak_x", bytes(32)), ("sak_" + "0" * 36, bytes(31))])
def test_a_key_is_made_of_an_id_and_32_bytes(key_id: str, secret: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        key_text(key_id, secret)


# Made, found, listed


async def test_a_key_is_found_by_its_secret(database: "Database") -> None:
    expires_at = "2099-01-02T03:04:05Z"
    async with pool_of(database.address, "acme", "globex") as pool:
        stored, presented = await made(
            pool, description="nightly", scopes=["identity", "resources:write"], service_name="billing",
            prefixes=["api.acme.example/invoices"], domain="finance", expires_at=expires_at,
        )  # fmt: skip
        assert stored.document == {
            "id": presented.id, "name": "robot", "description": "nightly",
            "scopes": ["identity", "resources:write"], "service_name": "billing",
            "prefixes": ["api.acme.example/invoices"], "domain": "finance", "parent": None,
            "bootstrap": False, "expires_at": expires_at,
        }  # fmt: skip
        assert await found(pool, presented) == KeyGrant(
            id=presented.id,
            tenant="acme",
            name="robot",
            bootstrap=False,
            scopes=frozenset({Scope.IDENTITY, Scope.RESOURCES_WRITE}),
            service_name="billing",
            prefixes=("api.acme.example/invoices",),
            domain="finance",
            expires_at=datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
        # the secret of another key, and no key at all
        _, other = await made(pool, tenant="globex")
        assert await found(pool, changed(presented, digest=other.digest)) is None
        assert await found(pool, changed(presented, id=f"sak_{new_id()}")) is None


async def test_a_key_ends_at_its_time(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool:
        _, presented = await made(pool, expires_at="2099-01-01T00:00:00Z")
        end = datetime(2099, 1, 1, tzinfo=UTC)
        assert await found(pool, presented, end - timedelta(microseconds=1)) is not None
        assert await found(pool, presented, end) is None


@pytest.mark.parametrize(
    "members",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["resources:write"]},
        {"scopes": ["resources:write"], "service_name": "billing"},
        {"domain": "*"},
        {"name": ""},
        {"name": "robot\u200b"},
        {"description": "x" * 1025},
    ],
)
async def test_an_invalid_key_is_refused(database: "Database", members: "Document") -> None:
    new = document(**members)
    async with pool_of(database.address, "acme") as pool:
        refused = await attempt(pool, lambda c: service_keys.create(c, new, secret=bytes(32)), tenant="acme")
        assert isinstance(refused, Invalid)


async def test_keys_are_listed_without_secrets_until_they_are_revoked(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool:
        keys = [(await made(pool, name=f"robot {number}"))[0] for number in range(3)]
        await made(pool, tenant="globex")
        first = await listed(pool, limit=2)
        second = await listed(pool, limit=2, after=first.next)
        assert [*first.items, *second.items] == keys
        assert second.next is None
        await succeed(pool, lambda c: service_keys.revoke(c, keys[1].id), tenant="acme")
        assert [key.id for key in (await listed(pool)).items] == [keys[0].id, keys[2].id]
        async with tenant_transaction(pool, "acme") as connection:
            gone = await service_keys.get(connection, "acme", keys[1].id)
            assert gone is not None
            assert gone.revoked_at is not None
            assert await service_keys.get(connection, "acme", "sak_nonsense") is None


async def test_last_use_is_noted_and_never_goes_back(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool, reader_of(database.address) as reader:
        stored, _ = await made(pool)
        before = (await feed.heads(reader)).revisions
        for at in (NOW, NOW - timedelta(hours=1)):
            assert await service_keys.note_used(pool, "acme", {stored.id: at}) is None
            assert await service_keys.note_used(pool, "globex", {stored.id: NOW + timedelta(1)}) is None
        assert (await listed(pool)).items[0].last_used_at == NOW
        assert (await feed.heads(reader)).revisions == before


# Revoked


async def test_a_key_is_revoked_with_all_that_it_made(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool:
        root, presented = await made(pool, scopes=["keys:write", "identity"])
        child, of_child = await made(pool, parent=root.id)
        grandchild, of_grandchild = await made(pool, parent=child.id)
        sibling, of_sibling = await made(pool)
        revoked = await succeed(pool, lambda c: service_keys.revoke(c, root.id), tenant="acme")
        assert revoked.value == (root.id, child.id, grandchild.id)
        for ended in (presented, of_child, of_grandchild):
            assert await found(pool, ended) is None
        assert isinstance(await found(pool, of_sibling), KeyGrant)
        assert [key.id for key in (await listed(pool)).items] == [sibling.id]
        again = await attempt(pool, lambda c: service_keys.revoke(c, root.id), tenant="acme")
        assert isinstance(again, NotFound)


async def test_a_revoked_or_expired_key_makes_no_more_keys(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool:
        root, _ = await made(pool)
        await succeed(pool, lambda c: service_keys.revoke(c, root.id), tenant="acme")
        expired, _ = await made(pool, expires_at="2001-01-01T00:00:00Z")
        foreign, _ = await made(pool, tenant="globex")
        for parent in (root, expired, foreign):
            new = document(parent=parent.id)
            refused = await attempt(
                pool,
                partial(service_keys.create, document=new, secret=bytes(32)),
                tenant="acme",
            )
            assert refused == NotFound("service_key", parent.id)


async def test_revoking_honours_the_tenant(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool:
        stored, presented = await made(pool)
        for key_id, tenant in ((stored.id, "globex"), ("sak_nonsense", "acme")):
            refused = await attempt(
                pool,
                partial(service_keys.revoke, key_id=key_id),
                tenant=tenant,
            )
            assert isinstance(refused, NotFound)
        assert isinstance(await found(pool, presented), KeyGrant)


# Bootstrap keys


async def bootstrap(pool: "Pool", secret: bytes) -> Stored:
    key_id = f"sak_{new_id()}"
    written = await succeed(
        pool, lambda c: service_keys.rotate_bootstrap(c, key_id, secret=secret), tenant="acme"
    )
    assert isinstance(written.value, Stored)
    return written.value


async def test_a_bootstrap_key_is_rotated_and_revoked(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool:
        first = await bootstrap(pool, bytes(32))
        child, of_child = await made(pool, parent=first.id)
        second = await bootstrap(pool, bytes([1] * 32))
        old = PresentedKey.parse(key_text(first.id, bytes(32)))
        new = PresentedKey.parse(key_text(second.id, bytes([1] * 32)))
        assert old is not None
        assert new is not None
        assert await found(pool, old) is None
        grant = await found(pool, new)
        assert isinstance(grant, KeyGrant)
        assert grant.bootstrap is True
        # what the old one made goes on under the new one, and ends with it
        assert isinstance(await found(pool, of_child), KeyGrant)
        revoked = await succeed(pool, service_keys.revoke_bootstrap, tenant="acme")
        assert revoked.value == (second.id, child.id)
        assert await found(pool, new) is None
        assert await found(pool, of_child) is None
        none = await attempt(pool, service_keys.revoke_bootstrap, tenant="acme")
        assert isinstance(none, NotFound)
        await bootstrap(pool, bytes(32))


async def test_a_tenant_has_one_bootstrap_key(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool:
        first = await bootstrap(pool, bytes(32))
        second = document(scopes=[], bootstrap=True)
        refused = await attempt(
            pool, lambda c: service_keys.create(c, second, secret=bytes(32)), tenant="acme"
        )
        assert isinstance(refused, Conflict)
        assert refused.ids == (first.id,)


# What leaves the control plane


async def test_sidecars_learn_of_keys_that_identify_and_of_no_others(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, reader_of(database.address) as reader:
        stored, presented = await made(pool, domain="finance", expires_at="2099-01-01T00:00:00Z")
        await made(pool, scopes=["check"])
        await bootstrap(pool, bytes(32))
        expected = IdentityKey(
            stored.id, "acme", presented.digest, "finance", datetime(2099, 1, 1, tzinfo=UTC).timestamp()
        )
        assert (await tenant_configs.read(reader, ["acme"]))["acme"].identity_keys == (expected,)
        await succeed(pool, lambda c: service_keys.revoke(c, stored.id), tenant="acme")
        assert (await tenant_configs.read(reader, ["acme"]))["acme"].identity_keys == ()
        changes = await feed.changes_since(reader, {"acme": 0})
        assert {row.kind for change in changes for row in change.rows or ()} == {"service_key"}


async def test_no_secret_and_no_digest_is_written_anywhere_else(database: "Database") -> None:
    secret = os.urandom(32)

    async def both(change: Change) -> Stored | Refusal:
        return await service_keys.create(change, document(), secret=secret)

    async with pool_of(database.address, "acme") as pool, connected(database.superuser) as superuser:
        written = await succeed(pool, both, tenant="acme")
        assert isinstance(written.value, Stored)
        await succeed(pool, lambda c: service_keys.revoke(c, str(written.value.id)), tenant="acme")
        dumped: list[str] = []
        for table in await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            name = table["tablename"]
            dumped += [
                f"{name}: {row[0]}" for row in await superuser.fetch(f"SELECT t::text FROM {name} AS t")
            ]
        assert not [line for line in dumped if secret.hex() in line]
        with_digest = [line for line in dumped if secret_digest(secret).hex() in line]
        assert [line.split(":")[0] for line in with_digest] == ["service_api_keys"]
        async with tenant_transaction(pool, "acme") as connection:
            events = (await audit.page(connection, "acme")).items
        assert [(event.action, event.kind) for event in reversed(events)] == [
            ("create", "service_key"),
            ("delete", "service_key"),
        ]


async def test_a_key_is_not_judged_without_a_database(database: "Database") -> None:
    presented = PresentedKey.parse(key_text(f"sak_{new_id()}", bytes(32)))
    assert presented is not None
    nowhere = database.as_user("extauthz", "wrong password")
    async with open_pool(nowhere, max_size=1) as pool:
        assert isinstance(await found(pool, presented), Refusal)
        assert isinstance(await service_keys.note_used(pool, "acme", {presented.id: NOW}), Refusal)

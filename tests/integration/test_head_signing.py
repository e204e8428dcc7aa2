"""Signed heads in a real database: of each tenant, of replicas, of other keys, of deleted tenants."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.publish.head_signing import HeadSigner
from extauthz.signed.bodies import read_config, read_whole, unpacked
from extauthz.signed.head import Head, verify
from extauthz.signed.signing_keys import pinned
from extauthz.storage import role_rules, signed_policies, tenants
from extauthz.storage.connection import open_reader
from extauthz.storage.pool import tenant_transaction
from tests.integration.storage_documents import new_id, pool_of, role_rule, succeed

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

WITHIN_S = 10.0
KEY = Ed25519PrivateKey.generate()


@asynccontextmanager
async def signing(
    database: "Database", pool: "Pool", key: Ed25519PrivateKey = KEY, *, max_staleness: float = 900.0
) -> AsyncIterator[HeadSigner]:
    """Sign until the end of the block."""
    signer = HeadSigner(
        lambda: open_reader(database.address), pool, key, max_staleness=max_staleness, poll_interval=0.1
    )
    task = asyncio.create_task(signer.run())
    try:
        yield signer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def newer(signer: HeadSigner, tenant: str, after: int = -1, key: Ed25519PrivateKey = KEY) -> Head:
    """Wait for a head with a larger serial, and verify it."""
    keys = pinned([key.public_key().public_bytes_raw()])
    async with asyncio.timeout(WITHIN_S):
        while True:
            envelope = await signer.head(tenant, after, WITHIN_S)
            if envelope is not None:
                return verify(envelope, keys, tenant, now=time.time(), max_age_s=60.0)
            await asyncio.sleep(0.01)


async def until(signer: HeadSigner, tenant: str, condition: Callable[[Head], bool]) -> Head:
    """Wait for a head of which a condition holds."""
    head = await newer(signer, tenant)
    while not condition(head):
        head = await newer(signer, tenant, head.serial)
    return head


def has_revision(least: int, head: Head) -> bool:
    return head.revision >= least


async def add_rule(pool: "Pool", tenant: str) -> None:
    rule = role_rule(act=new_id())
    await succeed(pool, lambda change: role_rules.create(change, [rule]), tenant=tenant)


async def test_each_tenant_has_a_head_and_the_bodies_of_its_own_rows(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool, signing(database, pool) as signer:
        await add_rule(pool, "acme")
        head = await until(signer, "acme", lambda found: found.revision > 0)
        octets = await signed_policies.body(pool, "acme", head.whole.sha256)
        assert octets is not None
        config_octets = await signed_policies.body(pool, "acme", head.config.sha256)
        assert config_octets is not None
        config = read_config(unpacked(head.config, config_octets), "acme")
        whole = read_whole(unpacked(head.whole, octets), "acme", head.whole_revision, config)
        assert len(whole.role_rules) + len(head.changes) >= 1
        assert await signed_policies.body(pool, "globex", head.whole.sha256) is None
        other = await newer(signer, "globex")
        assert other.whole.sha256 != head.whole.sha256


async def test_a_change_is_signed_at_once_when_the_signer_is_told(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, signing(database, pool) as signer:
        before = await newer(signer, "acme")
        await add_rule(pool, "acme")
        signer.wake()
        after = await newer(signer, "acme", before.serial)
        assert after.changes[-1].predecessor == before.revision
        assert after.history == before.history
        assert after.whole == before.whole


async def test_a_head_is_signed_anew_every_third_of_the_bound(database: "Database") -> None:
    async with (
        pool_of(database.address, "acme") as pool,
        signing(database, pool, max_staleness=0.6) as signer,
    ):
        first = await newer(signer, "acme")
        second = await newer(signer, "acme", first.serial)
        assert second.signed_at - first.signed_at >= 200
        assert (second.revision, second.bodies) == (first.revision, first.bodies)


async def test_replicas_take_over_what_the_first_of_them_signed(database: "Database") -> None:
    async with (
        pool_of(database.address, "acme") as pool,
        signing(database, pool) as one,
        signing(database, pool) as other,
    ):
        first = await newer(one, "acme")
        for number in range(1, 6):
            await add_rule(pool, "acme")
            one.wake()
            other.wake()
            least = first.revision + number
            heads = [await until(each, "acme", partial(has_revision, least)) for each in (one, other)]
            assert [head.revision for head in heads] == [least, least]
            assert heads[0].bodies == heads[1].bodies


async def test_another_key_signs_the_whole_under_a_larger_serial(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool:
        async with signing(database, pool) as signer:
            before = await newer(signer, "acme")
        key = Ed25519PrivateKey.generate()
        async with signing(database, pool, key) as signer:
            after = await newer(signer, "acme", before.serial, key)
        assert after.serial > before.serial
        assert after.history != before.history


async def test_a_deleted_tenant_gets_a_last_head_that_is_suspended(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, signing(database, pool) as signer:
        await add_rule(pool, "acme")
        before = await until(signer, "acme", lambda found: found.revision > 0)
        await succeed(pool, tenants.delete, tenant="acme")
        signer.wake()
        last = await newer(signer, "acme", before.serial)
        octets = await signed_policies.body(pool, "acme", last.config.sha256)
        assert octets is not None
        assert read_config(unpacked(last.config, octets), "acme").suspended
        # It is the last one: it is not signed again, and grows old.
        assert await signer.head("acme", last.serial, 0.5) is not None
        assert await newer(signer, "acme") == last


async def test_a_body_that_was_lost_is_signed_anew(database: "Database") -> None:
    async with pool_of(database.address, "acme") as pool, signing(database, pool) as signer:
        before = await newer(signer, "acme")
        async with tenant_transaction(pool, "acme") as connection:
            await connection.execute("DELETE FROM policy_bodies WHERE tenant_id = 'acme'")
        await add_rule(pool, "acme")
        signer.wake()
        after = await newer(signer, "acme", before.serial)
        for body in after.bodies:
            assert await signed_policies.body(pool, "acme", body.sha256) is not None

"""The hosts of tenants, as the operator registers them."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from extauthz.storage import hosts, tenant_configs
from extauthz.storage.outcome import Conflict, Invalid
from extauthz.storage.write import Written
from tests.integration.storage_documents import attempt, pool_of, reader_of, succeed
from tests.integration.tenant_rows import registered, trail

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


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

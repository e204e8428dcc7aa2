"""A pooled connection never carries one tenant's setting into another's use."""

import asyncio
import random
from typing import TYPE_CHECKING

import asyncpg
import pytest

from extauthz.storage import role_rules
from extauthz.storage.address import SslMode
from extauthz.storage.pool import DatabaseAddress, connect, tenant_transaction
from tests.integration.storage_documents import pool_of, role_rule, succeed
from tests.volume import volume

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

CHECK_OUTS = volume(2_000, verify=10_000)


class PlannedError(Exception):
    pass


async def test_checkouts_never_show_a_row_of_another_tenant_or_without_tenant(
    database: "Database",
) -> None:
    dice = random.Random(11)
    tenants = ("acme", "globex")
    remaining = iter(range(CHECK_OUTS))
    counted = {"bare": 0, "tenant": 0, "error": 0, "cancelled": 0}

    async def sees(connection: "Connection") -> list[str]:
        rows = await connection.fetch(
            "SELECT tenant_id FROM role_rules UNION ALL SELECT tenant_id FROM tenants"
            " UNION ALL SELECT tenant_id FROM policy_changes UNION ALL SELECT tenant_id FROM audit_events"
        )
        return sorted({row["tenant_id"] for row in rows})

    async with pool_of(database.address, *tenants, max_size=4) as pool:
        for tenant in tenants:
            await succeed(pool, lambda change: role_rules.create(change, [role_rule()]), tenant=tenant)

        async def bare() -> None:
            async with pool.acquire() as connection:
                assert await sees(connection) == []

        async def failing(tenant: str) -> None:
            async with tenant_transaction(pool, tenant, operator=dice.random() < 0.5) as connection:
                if dice.random() < 0.5:
                    await connection.execute("SELECT 1 / 0")
                raise PlannedError

        async def endless(tenant: str, reached: asyncio.Event) -> None:
            async with tenant_transaction(pool, tenant) as connection:
                reached.set()
                if dice.random() < 0.5:
                    # The server forgets a request to cancel that comes before the statement: then this ends.
                    await connection.execute("SELECT pg_sleep(0.5)")
                await asyncio.get_running_loop().create_future()

        async def one() -> None:
            tenant = dice.choice(tenants)
            drawn = dice.random()
            if drawn < 0.6:
                await bare()
                counted["bare"] += 1
            elif drawn < 0.85:
                async with tenant_transaction(pool, tenant) as connection:
                    assert await sees(connection) == [tenant]
                counted["tenant"] += 1
            elif drawn < 0.98:
                with pytest.raises((PlannedError, asyncpg.DivisionByZeroError)):
                    await failing(tenant)
                counted["error"] += 1
            else:
                reached = asyncio.Event()
                task = asyncio.create_task(endless(tenant, reached))
                await reached.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                counted["cancelled"] += 1

        async def worker() -> None:
            for _ in remaining:
                await one()

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(worker())
    assert sum(counted.values()) == CHECK_OUTS
    assert min(counted.values()) > CHECK_OUTS // 100


async def test_a_read_only_transaction_cannot_write(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with tenant_transaction(pool, "default", read_only=True) as connection:
                await connection.execute("UPDATE tenants SET revision = 7")


async def test_tls_is_as_strict_as_asked(database: "Database") -> None:
    def with_mode(mode: SslMode) -> DatabaseAddress:
        plain = database.address
        return DatabaseAddress(
            plain.host, plain.port, plain.user, plain.password, plain.database, mode
        )  # fmt: skip

    either: tuple[SslMode, ...] = ("disable", "prefer")
    for mode in either:
        await (await connect(with_mode(mode))).close()
    encrypted: tuple[SslMode, ...] = ("require", "verify-ca", "verify-full")
    for mode in encrypted:
        with pytest.raises(ConnectionError):
            await connect(with_mode(mode))


def test_an_address_never_shows_its_password() -> None:
    assert "hunter2" not in repr(DatabaseAddress("h", 1, "u", "hunter2", "d"))

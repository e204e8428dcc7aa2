"""A tenant that takes long to read makes no other tenant's changes wait, and is read in parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.postgres import PostgresPublisher
from extauthz.storage import feed, role_rules, tenants
from extauthz.storage import session as session_module
from extauthz.storage.pool import open_reader
from extauthz.storage.tenants import TenantStatus
from tests.faults.tcp_gate import TcpGate
from tests.integration.publishing import behind_our_back, compiler, stored
from tests.integration.storage_documents import new_id, pool_of, role_rule, succeed
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.compile.directory import Directory
    from extauthz.storage.pool import Pool
    from extauthz.storage.session import Session
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio

TENANTS = ("acme", "globex")
ANNOUNCE = "SELECT pg_notify('extauthz_policy', 'acme:0')"


class Followed:
    """A publisher of several tenants; what it opens after its first connection leads through a gate."""

    def __init__(self, database: "Database", gate: TcpGate) -> None:
        self.database = database
        self.gate = gate
        self.opened = 0
        self.current = CurrentPolicies()
        self.failures = 0
        self.publisher = PostgresPublisher(
            self._connect, self.current, compiler(), mode=TenancyMode.SAAS, poll_interval=0.2,
            on_failure=self._failed,
        )  # fmt: skip

    async def _connect(self) -> "Session":
        self.opened += 1
        port = self.database.address.port if self.opened == 1 else self.gate.port
        return await open_reader(replace(self.database.address, port=port))

    def _failed(self) -> None:
        self.failures += 1

    @property
    def directory(self) -> "Directory":
        directory = self.current.current()
        assert directory is not None
        return directory

    def subs(self, tenant: str) -> set[str]:
        return {rule.sub for rule in self.directory.snapshots[tenant].role_rules_by_id.values()}


@asynccontextmanager
async def followed(database: "Database") -> AsyncIterator[tuple[Followed, "Pool"]]:
    with TcpGate(database.address.port) as gate:
        async with pool_of(database.address, *TENANTS) as pool:
            for tenant in TENANTS:
                await add(pool, tenant, "first")
            found = Followed(database, gate)
            task = asyncio.create_task(found.publisher.run())
            try:
                await until(lambda: found.current.current() is not None, what="the first policies")
                yield found, pool
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def add(pool: "Pool", tenant: str, *subs: str, **members: object) -> int:
    rules = [role_rule(sub=sub, **members) for sub in subs]
    return (await succeed(pool, lambda change: role_rules.create(change, rules), tenant=tenant)).revision


async def leave_a_gap(database: "Database") -> None:
    """Let acme have to be read whole."""
    await behind_our_back(
        database.superuser, "UPDATE tenants SET revision = revision + 1 WHERE tenant_id = 'acme'", ANNOUNCE
    )


async def test_a_load_that_hangs_makes_no_other_tenant_wait(database: "Database") -> None:
    async with followed(database) as (found, pool):
        found.gate.cut()
        await leave_a_gap(database)
        await until(lambda: "acme" in found.directory.lagging, what="the load begun")

        await add(pool, "globex", "revoked", effect="deny")
        await until(lambda: "revoked" in found.subs("globex"), within=1, what="the other tenant's change")

        # What is not confirmed grows old, and only that.
        directory = found.directory
        assert set(directory.lagging) == {"acme"}
        assert directory.confirmed("acme") < directory.confirmed("globex")
        assert found.subs("acme") == {"first"}

        found.gate.open()
        await until(lambda: not found.directory.lagging, within=10, what="the load done")
        await add(pool, "acme", "next")
        await until(lambda: found.subs("acme") == {"first", "next"}, what="following again")


async def test_a_suspension_waits_for_no_load(database: "Database") -> None:
    async with followed(database) as (found, pool):
        found.gate.cut()
        await leave_a_gap(database)
        await until(lambda: "acme" in found.directory.lagging, what="the load begun")
        await succeed(
            pool, lambda change: tenants.replace(change, status=TenantStatus.SUSPENDED), tenant="acme"
        )
        await until(lambda: "acme" in found.directory.suspended, within=1, what="the suspension")
        found.gate.open()
        await until(lambda: not found.directory.lagging, within=10, what="the load done")


async def test_a_load_that_fails_is_begun_again(database: "Database") -> None:
    async with followed(database) as (found, _):
        found.gate.refuse()
        await leave_a_gap(database)
        await until(lambda: found.opened >= 3, what="two attempts")
        assert set(found.directory.lagging) == {"acme"}
        assert found.publisher.available
        found.gate.open()
        await until(lambda: not found.directory.lagging, within=5, what="the load done")


async def test_a_new_tenant_awaits_its_policies_until_they_are_read(database: "Database") -> None:
    async with followed(database) as (found, pool):
        found.gate.cut()
        assert await tenants.ensure_tenant(pool, "initech", "initech") is True
        await until(lambda: "initech" in found.directory.lagging, what="the tenant noticed")
        assert found.directory.awaits_policies("initech")
        assert found.directory.lagging["initech"] > 0
        found.gate.open()
        await until(lambda: "initech" in found.directory.snapshots, within=10, what="its policies")
        assert not found.directory.awaits_policies("initech")


async def test_a_large_tenant_is_read_in_parts_that_are_bounded_each(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_ROWS_A_STATEMENT", 100)
    sizes: list[int] = []
    copy = session_module.Session.copy_from_query

    async def counted(self: "Session", query: str, *args: object, **options: Any) -> str:
        status = await copy(self, query, *args, **options)
        sizes.append(int(status.removeprefix("COPY ")))
        return status

    async with pool_of(database.address, "default") as pool:
        await add(pool, "default", *(f"role-{index}" for index in range(250)))
        monkeypatch.setattr(session_module.Session, "copy_from_query", counted)
        snapshot = await stored(database.address)
    assert sizes == [100, 100, 50]
    assert len(snapshot.role_rules_by_id) == 250


async def test_an_answer_that_stalls_in_the_middle_is_given_up(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_ROWS_WITHIN_S", 0.5)
    with TcpGate(database.address.port) as gate:
        async with pool_of(database.address, "default") as pool:
            await add(pool, "default", *(f"role-{index}-{new_id()}" for index in range(3_000)))
            current = CurrentPolicies()
            address = replace(database.address, port=gate.port)
            failures: list[None] = []
            publisher = PostgresPublisher(
                lambda: open_reader(address),
                current,
                compiler(),
                mode=TenancyMode.SELFHOST,
                on_failure=lambda: failures.append(None),
            )
            gate.stall_after(50_000)
            task = asyncio.create_task(publisher.run())
            try:
                await until(lambda: bool(failures), what="the connection given up")
                assert not publisher.available
                assert current.current() is None
                gate.open()
                await until(lambda: current.current() is not None, within=10, what="the policies")
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

"""A database failure is returned as a value, with its kind, within seconds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.processes import free_port
from extauthz.domain.service_key import PresentedKey, key_text
from extauthz.storage import pool as pool_module
from extauthz.storage import role_rules, service_keys
from extauthz.storage import session as session_module
from extauthz.storage.availability import DatabaseState, NotSentError, Unavailability
from extauthz.storage.outcome import DatabaseUnavailable
from extauthz.storage.pool import open_pool, tenant_transaction
from extauthz.storage.rows import Page, Stored
from extauthz.storage.write import Written, read
from tests.faults.tcp_gate import TcpGate
from tests.integration.storage_documents import attempt, connected, pool_of, role_rule, succeed
from tests.stopped_processes import stopped

if TYPE_CHECKING:
    from extauthz.storage.outcome import Refusal
    from extauthz.storage.pool import Connection, Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

ANSWERED_WITHIN_S = 5.0
POOL_SIZE = 4
SHORT_S = 0.8


@pytest.fixture
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than in production, where one test waits as long as a caller does."""
    monkeypatch.setattr(pool_module, "OPEN_WITHIN_S", SHORT_S)
    monkeypatch.setattr(pool_module, "LOCK_TIMEOUT_MS", int(SHORT_S * 500))
    monkeypatch.setattr(session_module, "ANSWER_WITHIN_S", SHORT_S)


async def rules_of(connection: "Connection") -> Page[Stored]:
    return await role_rules.page(connection, "default")


async def listed(pool: "Pool") -> "Page[Stored] | Refusal":
    return await read(pool, "default", rules_of)


async def written(pool: "Pool", sub: str) -> "Written[object] | Refusal":
    return await attempt(pool, lambda change: role_rules.create(change, [role_rule(sub=sub)]))


async def sessions(database: "Database") -> list[int]:
    async with connected(database.superuser) as superuser:
        rows = await superuser.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'extauthz' AND pid <> pg_backend_pid()"
        )
    return [row["pid"] for row in rows]


@contextlib.asynccontextmanager
async def filled_pool(database: "Database") -> AsyncIterator["Pool"]:
    """A pool all of whose connections are open."""
    async with pool_of(database.address, "default", max_size=POOL_SIZE) as pool:
        await asyncio.gather(*(listed(pool) for _ in range(POOL_SIZE * 4)))
        assert pool.get_size() == POOL_SIZE
        yield pool


@contextlib.asynccontextmanager
async def late_ends(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A proxy whose clients get the last words of the server, and the end of the connection long after."""
    ended = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65_536):
                writer.write(octets)

    async def serve(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        server, requests = await asyncio.open_connection("127.0.0.1", port)
        sending = asyncio.create_task(forward(client, requests))
        await forward(server, answers)
        ended.set()
        await sending
        requests.close()
        answers.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], ended


async def end_sessions(database: "Database") -> None:
    running = await sessions(database)
    async with connected(database.superuser) as superuser:
        for pid in running:
            await superuser.execute("SELECT pg_terminate_backend($1, 5000)", pid)


async def last_words(ended: asyncio.Event) -> None:
    await asyncio.wait_for(ended.wait(), 10)
    # They have arrived on loopback: a turn of the event loop reads them.
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_session_that_the_server_ended_while_it_was_idle_is_replaced(database: "Database") -> None:
    async with (
        late_ends(database.address.port) as (port, ended),
        pool_of(replace(database.address, port=port), "default", max_size=1) as pool,
    ):
        assert isinstance(await listed(pool), Page)
        await end_sessions(database)
        await last_words(ended)
        assert isinstance(await listed(pool), Page)
        assert isinstance(await written(pool, "after"), Written)


async def test_a_session_that_the_server_ends_between_two_statements_is_lost(database: "Database") -> None:
    async with (
        late_ends(database.address.port) as (port, ended),
        pool_of(replace(database.address, port=port), "default", max_size=1) as pool,
    ):

        async def interrupted(connection: "Connection") -> object:
            await role_rules.page(connection, "default")
            await end_sessions(database)
            await last_words(ended)
            return await role_rules.page(connection, "default")

        found = await read(pool, "default", interrupted)
        assert isinstance(found, DatabaseUnavailable)
        assert found.kind is Unavailability.LOST
        assert isinstance(await listed(pool), Page)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_session_that_ends_before_its_commit_is_sent_stored_nothing(
    database: "Database", is_closed: bool
) -> None:
    async with (
        late_ends(database.address.port) as (port, ended),
        pool_of(
            database.address if is_closed else replace(database.address, port=port), "default", max_size=1
        ) as pool,
    ):

        async def interrupted() -> None:
            async with tenant_transaction(pool, "default") as connection:
                await connection.execute("UPDATE tenants SET revision = revision + 1")
                await end_sessions(database)
                if not is_closed:
                    await last_words(ended)

        with pytest.raises(NotSentError):
            await interrupted()
        async with connected(database.superuser) as superuser:
            assert await superuser.fetchval("SELECT max(revision) FROM tenants") == 0


async def test_sessions_that_are_stopped_are_given_up_and_replaced(database: "Database") -> None:
    async with filled_pool(database) as pool:
        with stopped(await sessions(database)):
            began = time.monotonic()
            many = await asyncio.gather(*(listed(pool) for _ in range(30)), written(pool, "a"))
            took_s = time.monotonic() - began
            assert took_s < ANSWERED_WITHIN_S
            refused = [each for each in many if isinstance(each, DatabaseUnavailable)]
            assert {each.kind for each in refused} == {Unavailability.TIMEOUT}
            assert len(refused) >= POOL_SIZE
            # The server itself runs: new sessions take the place of the stopped ones.
            assert isinstance(await written(pool, "b"), Written)
        assert isinstance(await listed(pool), Page)


@pytest.mark.parametrize("first", ["read", "write", "key"])
@pytest.mark.usefixtures("short_bounds")
async def test_a_server_behind_a_cut_network_is_given_up(database: "Database", first: str) -> None:
    with TcpGate(database.address.port) as gate:
        address = replace(database.address, port=gate.port)
        async with pool_of(address, "default", max_size=POOL_SIZE) as pool:
            assert isinstance(await listed(pool), Page)
            gate.cut()
            began = time.monotonic()
            match first:
                case "read":
                    outcome: object = await listed(pool)
                case "write":
                    outcome = await written(pool, "a")
                case _:
                    presented = PresentedKey.parse(key_text("sak_" + str(role_rule()["id"]), bytes(32)))
                    assert presented is not None
                    outcome = await service_keys.find(pool, presented, now=_now())
            assert time.monotonic() - began < SHORT_S + 1
            assert isinstance(outcome, DatabaseUnavailable)
            assert outcome.kind is Unavailability.TIMEOUT
            assert not outcome.outcome_unknown
            # New connections are not answered either.
            began = time.monotonic()
            again = await asyncio.gather(*(listed(pool) for _ in range(10)))
            assert time.monotonic() - began < SHORT_S + 1
            assert all(isinstance(each, DatabaseUnavailable) for each in again)
            gate.open()
            assert isinstance(await listed(pool), Page)


async def test_a_pool_of_a_server_that_does_not_answer_closes_in_time(database: "Database") -> None:
    with TcpGate(database.address.port) as gate:
        async with pool_of(replace(database.address, port=gate.port), "default") as pool:
            assert isinstance(await listed(pool), Page)
            gate.cut()
            began = time.monotonic()
        assert time.monotonic() - began < 2


@pytest.mark.usefixtures("short_bounds")
async def test_a_commit_without_an_answer_is_reported_as_unknown(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        assert isinstance(await written(pool, "before"), Written)
        async with connected(database.superuser) as superuser:
            # A commit waits for a standby that is not there.
            await superuser.execute("SET synchronous_commit = off")
            await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
            await superuser.execute("SELECT pg_reload_conf()")
            try:
                await _commits_wait(database, superuser)
                began = time.monotonic()
                outcome = await written(pool, "unknown")
                assert time.monotonic() - began < ANSWERED_WITHIN_S
            finally:
                await superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
                await superuser.execute("SELECT pg_reload_conf()")
        assert isinstance(outcome, DatabaseUnavailable)
        assert outcome.outcome_unknown
        page = await listed(pool)
        assert isinstance(page, Page)
        # It was stored: reporting "nothing was stored" would have been wrong.
        assert [rule.document["sub"] for rule in page.items] == ["before", "unknown"]


async def test_a_write_that_is_lost_before_its_commit_is_reported_as_not_stored(
    database: "Database",
) -> None:
    with TcpGate(database.address.port) as gate:
        async with pool_of(replace(database.address, port=gate.port), "default") as pool:

            async def work(change: object) -> None:
                gate.drop_connections()
                await role_rules.create(change, [role_rule()])  # type: ignore[arg-type]

            outcome = await attempt(pool, work)
            assert isinstance(outcome, DatabaseUnavailable)
            assert outcome.kind is Unavailability.LOST
            assert not outcome.outcome_unknown
            page = await listed(pool)
            assert isinstance(page, Page)
            assert page.items == ()


async def test_a_server_that_becomes_read_only_is_left_at_its_first_refusal(database: "Database") -> None:
    state = DatabaseState()
    async with (
        pool_of(database.address, "default"),
        open_pool(database.address, state=state) as pool,
        connected(database.superuser) as superuser,
    ):
        await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
        name = database.address.database
        await superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        # Sessions that are open still write, so they still speak for what is stored.
        assert isinstance(await written(pool, "open session"), Written)
        await pool.expire_connections()
        for outcome in (await written(pool, "a"), await listed(pool)):
            assert isinstance(outcome, DatabaseUnavailable)
            assert outcome.kind is Unavailability.READ_ONLY
        assert state.loss is not None
        await superuser.execute("SET default_transaction_read_only = off")
        await superuser.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert isinstance(await written(pool, "b"), Written)
        assert state.loss is None


async def kinds_without(database: "Database", *statements: str) -> Unavailability:
    """Return the kind that a login meets after statements of the superuser."""
    async with connected(replace(database.superuser, database="postgres")) as superuser:
        for statement in statements:
            await superuser.execute(statement)
    async with open_pool(database.address) as pool:
        outcome = await listed(pool)
    assert isinstance(outcome, DatabaseUnavailable)
    return outcome.kind


async def test_each_cause_has_its_kind(database: "Database") -> None:
    role, name = database.address.user, database.address.database
    async with pool_of(database.address, "default"):
        pass
    full, free = f"ALTER ROLE {role} CONNECTION LIMIT 0", f"ALTER ROLE {role} CONNECTION LIMIT -1"
    assert await kinds_without(database, full) is Unavailability.FULL
    closed = f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"
    opened = f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"
    assert await kinds_without(database, free, closed) is Unavailability.REFUSED
    forbidden = f"ALTER ROLE {role} NOLOGIN"
    assert await kinds_without(database, opened, forbidden) is Unavailability.REFUSED
    async with connected(replace(database.superuser, database="postgres")) as superuser:
        await superuser.execute(f"ALTER ROLE {role} LOGIN")
    for address, kind in (
        (replace(database.address, port=free_port()), Unavailability.UNREACHABLE),
        (replace(database.address, host="host.invalid"), Unavailability.UNREACHABLE),
        (replace(database.address, password="wrong"), Unavailability.REFUSED),
        (replace(database.address, user="unknown"), Unavailability.REFUSED),
        (replace(database.address, database="missing"), Unavailability.MISSING),
        (replace(database.address, sslmode="require"), Unavailability.REFUSED),
    ):
        async with open_pool(address) as pool:
            outcome = await listed(pool)
        assert isinstance(outcome, DatabaseUnavailable)
        assert outcome.kind is kind, outcome
        assert "wrong" not in outcome.message
        assert database.address.password not in outcome.message


async def test_a_table_that_is_missing_and_a_grant_that_is_missing_have_their_kinds(
    database: "Database",
) -> None:
    async with pool_of(database.address, "default") as pool, connected(database.superuser) as superuser:
        await superuser.execute("ALTER TABLE role_rules OWNER TO postgres")
        outcome = await listed(pool)
        assert isinstance(outcome, DatabaseUnavailable)
        assert outcome.kind is Unavailability.FORBIDDEN
        await superuser.execute("ALTER TABLE role_rules RENAME TO elsewhere")
        outcome = await listed(pool)
        assert isinstance(outcome, DatabaseUnavailable)
        assert outcome.kind is Unavailability.SCHEMA


@pytest.mark.usefixtures("short_bounds")
async def test_a_lock_of_another_session_is_distinguished_from_an_unresponsive_server(
    database: "Database",
) -> None:
    async with pool_of(database.address, "default") as pool, connected(database.superuser) as superuser:
        async with superuser.transaction():
            await superuser.execute("SELECT FROM tenants WHERE tenant_id = 'default' FOR UPDATE")
            began = time.monotonic()
            outcome = await written(pool, "a")
            assert time.monotonic() - began < ANSWERED_WITHIN_S
        assert isinstance(outcome, DatabaseUnavailable)
        assert outcome.kind is Unavailability.BUSY
        assert isinstance(await written(pool, "a"), Written)


async def _commits_wait(database: "Database", superuser: "Connection") -> None:
    """Return when a commit waits for the standby: the checkpointer makes known that there is one."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'"
    deadline = time.monotonic() + 10
    async with connected(database.superuser) as writer:
        pid = writer.get_server_pid()
        while time.monotonic() < deadline:
            commit = asyncio.create_task(writer.execute("SELECT pg_logical_emit_message(true, 'a', 'b')"))
            while not commit.done() and time.monotonic() < deadline:
                if await superuser.fetchval(waiting, pid):
                    commit.cancel()
                    return
    raise AssertionError("no commit waits for the standby that is not there")


def _now() -> datetime:
    return datetime.now(UTC)

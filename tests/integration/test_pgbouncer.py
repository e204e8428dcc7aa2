"""Real PgBouncer in both modes: clients that share a session do not see the settings of each other."""

import asyncio
import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import asyncpg
import pytest

from extauthz.commands.doctor.database import examine_database
from extauthz.settings import DatabaseHost, Pooler, Settings, load_settings
from extauthz.shipped import shipped
from extauthz.storage import feed, role_rules
from extauthz.storage.connection import PoolerFoundError, connect, open_listener, open_reader
from extauthz.storage.migrate import Migration, MigrationRefused, migrate, new_epoch, read_migrations, status
from extauthz.storage.pool import tenant_transaction
from tests.command_line import run_extauthz
from tests.integration.pgbouncer import Bouncer, Mode, needs_pgbouncer, pgbouncer
from tests.integration.publishing import NEVER, following
from tests.integration.serving import PUBLIC_RESOURCE, database_environment, serving
from tests.integration.storage_documents import pool_of, role_rule, succeed
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from extauthz.storage.pool import Connection, DatabaseAddress
    from tests.integration.conftest import Database

pytestmark = [
    pytest.mark.anyio,
    needs_pgbouncer,
]

KEPT_BY_PGBOUNCER = {
    "application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings",
}  # fmt: skip
MODES = get_args(Mode)


@contextlib.asynccontextmanager
async def other_client(address: "DatabaseAddress") -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Another program that uses the same pool, careful enough to name no statement."""
    connection = await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        ssl=False,
        statement_cache_size=0,
        timeout=10,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def left_on_session(address: "DatabaseAddress") -> dict[str, object]:
    """Return all that a client can find on its session that it did not put there."""
    async with other_client(address) as other, other.transaction():
        settings = await other.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'")
        return {
            "settings": {
                row["name"]: row["setting"] for row in settings if row["name"] not in KEPT_BY_PGBOUNCER
            },
            "read only": await other.fetchval("SHOW default_transaction_read_only"),
            "tenant": await other.fetchval("SELECT NULLIF(current_setting('extauthz.tenant', true), '')"),
            "reader": await other.fetchval("SELECT NULLIF(current_setting('extauthz.reader', true), '')"),
            "operator": await other.fetchval("SELECT NULLIF(current_setting('extauthz.operator', true), '')"),
            "rows": await other.fetchval("SELECT count(*) FROM role_rules"),
            "statements": await other.fetch("SELECT name, statement FROM pg_prepared_statements"),
            "channels": await other.fetch("SELECT pg_listening_channels()"),
            "locks": await other.fetch(
                "SELECT * FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            ),
        }


NOTHING_LEFT: dict[str, object] = {
    "settings": {}, "read only": "off", "tenant": None, "reader": None, "operator": None, "rows": 0,
    "statements": [], "channels": [], "locks": [],
}  # fmt: skip


def through(bouncer: Bouncer, database: "Database", pooler: Pooler) -> "DatabaseAddress":
    return replace(bouncer.in_front_of(database.address), pooler=pooler)


async def use_everything(address: "DatabaseAddress") -> None:
    """Write, read and look keys up, as control plane and sidecar do, one session at a time."""
    async with pool_of(address, "acme", "globex", max_size=1) as pool:
        for tenant in ("acme", "globex"):
            await succeed(
                pool,
                lambda change: role_rules.create(change, [role_rule(), role_rule(act="x")]),
                tenant=tenant,
            )
        with contextlib.suppress(ZeroDivisionError):
            async with tenant_transaction(pool, "acme", operator=True):
                raise ZeroDivisionError
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            async with tenant_transaction(pool, "acme") as connection:
                assert await connection.fetchval("SHOW statement_timeout") == "30s"
                await connection.fetchval("SELECT 1 / 0")
    reader = await open_reader(address)
    async with feed.one_moment(reader):
        assert set((await feed.heads(reader)).revisions) == {"acme", "globex"}
        assert len(await feed.changes_since(reader, {"acme": 0})) == 1
        assert await reader.fetchval("SHOW transaction_read_only") == "on"
        assert await reader.fetchval("SHOW statement_timeout") == "30s"
    documents = await feed.load(reader, "globex")
    assert documents is not None
    assert len(documents.role_rules) == 2
    # As the process that is killed does it.
    reader.terminate()


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "undeclared"])
@pytest.mark.parametrize("resets", [True, False], ids=["resets", "resets nothing"])
@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_left_on_the_one_session_that_all_share(
    database: "Database", mode: Mode, resets: bool, declared: bool
) -> None:
    settings = "" if resets else "server_reset_query ="
    with pgbouncer(database.address, mode, size=1, settings=settings) as bouncer:
        address = through(bouncer, database, Pooler(mode) if declared else Pooler.NONE)
        await use_everything(address)
        assert await left_on_session(address) == NOTHING_LEFT
        async with other_client(address) as other:
            # The session is as good for writing as before.
            assert await other.execute("CREATE TABLE written (at integer)") == "CREATE TABLE"
        assert "unsupported startup parameter" not in bouncer.log


async def test_tenants_see_only_their_rows_while_all_share_two_sessions(database: "Database") -> None:
    dice = random.Random(7)
    remaining = iter(range(300))
    with pgbouncer(database.address, "transaction", size=2) as bouncer:
        address = through(bouncer, database, Pooler.TRANSACTION)
        async with pool_of(address, "acme", "globex", max_size=4) as pool, other_client(address) as other:
            for tenant in ("acme", "globex"):
                await succeed(pool, lambda change: role_rules.create(change, [role_rule()]), tenant=tenant)
            readers = [await open_reader(address) for _ in range(2)]
            other_lock = asyncio.Lock()

            async def sees(connection: "Connection | asyncpg.Connection[asyncpg.Record]") -> list[str]:
                rows = await connection.fetch("SELECT DISTINCT tenant_id FROM role_rules ORDER BY 1")
                return [row["tenant_id"] for row in rows]

            async def one(reader: "Connection") -> None:
                for _ in remaining:
                    match dice.randrange(4):
                        case 0:
                            async with other_lock:
                                assert await sees(other) == []
                                assert await other.fetchval("SHOW default_transaction_read_only") == "off"
                        case 1:
                            async with feed.one_moment(reader):
                                assert await sees(reader) == ["acme", "globex"]
                        case 2:
                            tenant = dice.choice(["acme", "globex"])
                            await succeed(
                                pool,
                                lambda change: role_rules.create(change, [role_rule(act=change.new_id())]),
                                tenant=tenant,
                            )
                        case _:
                            tenant = dice.choice(["acme", "globex"])
                            async with tenant_transaction(pool, tenant, read_only=True) as connection:
                                assert await sees(connection) == [tenant]

            async with asyncio.TaskGroup() as group:
                for number in range(6):
                    if number < len(readers):
                        group.create_task(one(readers[number]))
            for reader in readers:
                await reader.close()


async def test_settings_left_by_another_client_of_the_pooler_have_no_effect(database: "Database") -> None:
    """A program that sets our settings on the shared session, as an older version did."""
    with pgbouncer(database.address, "transaction", size=1) as bouncer:
        address = through(bouncer, database, Pooler.TRANSACTION)
        async with pool_of(address, "acme", "globex", max_size=1) as pool:
            await succeed(pool, lambda change: role_rules.create(change, [role_rule()]), tenant="globex")
            async with other_client(address) as other:
                await other.execute(
                    "SET extauthz.reader = 'on'; SET extauthz.operator = 'on'; SET extauthz.tenant = 'globex'"
                )
            async with tenant_transaction(pool, "acme") as connection:
                assert await connection.fetchval("SELECT count(*) FROM role_rules") == 0
                assert await connection.fetchval("SELECT count(*) FROM tenants") == 1


@pytest.mark.parametrize("mode", MODES)
async def test_migrations_run_through_the_pooler(empty_database: "Database", mode: Mode) -> None:
    known = read_migrations(shipped("migrations"))
    assert isinstance(known, tuple)

    async def run(address: "DatabaseAddress") -> tuple[Migration, ...] | MigrationRefused:
        connection = await connect(address)
        try:
            return await migrate(connection, known)
        finally:
            await connection.close()

    with pgbouncer(empty_database.address, mode, size=2) as bouncer:
        address = through(bouncer, empty_database, Pooler(mode))
        outcomes = await asyncio.gather(*(run(address) for _ in range(3)))
        applied = [each for outcome in outcomes if isinstance(outcome, tuple) for each in outcome]
        assert sorted(applied, key=lambda each: each.version) == list(known)
        connection = await connect(address)
        found = await status(connection, known)
        assert isinstance(found, tuple)
        assert all(each.applied_at is not None for each in found)
        await new_epoch(connection)
        await connection.close()
        assert await left_on_session(address) == NOTHING_LEFT


async def test_changes_are_announced_past_the_pooler(database: "Database") -> None:
    with pgbouncer(database.address, "transaction", size=1) as bouncer:
        direct = DatabaseHost(database.address.host, database.address.port)
        address = replace(through(bouncer, database, Pooler.TRANSACTION), listen=(direct,))
        async with (
            pool_of(address, "default", max_size=1) as pool,
            following(address, poll_interval=NEVER) as follower,
        ):
            for _ in range(3):
                written = await succeed(
                    pool, lambda change: role_rules.create(change, [role_rule(act=change.new_id())])
                )
                await follower.reaches(written.revision)
        assert await left_on_session(address) == NOTHING_LEFT


async def test_a_session_pooler_announces_on_the_session_and_gets_it_back_clean(database: "Database") -> None:
    with pgbouncer(database.address, "session", size=2, settings="server_reset_query =") as bouncer:
        address = through(bouncer, database, Pooler.SESSION)
        async with (
            pool_of(address, "default", max_size=1) as pool,
            following(address, poll_interval=NEVER) as follower,
        ):
            written = await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
            await follower.reaches(written.revision)
        for _ in range(2):
            assert await left_on_session(address) == NOTHING_LEFT


async def asked_between(connection: "Connection", query: str) -> list[Any]:
    """Ask on a connection that its owner uses too, when no query of the owner's is under way."""
    async with asyncio.timeout(10):
        while True:
            try:
                return list(await connection.fetch(query))
            except asyncpg.InterfaceError:
                await asyncio.sleep(0.01)


async def test_a_session_pooler_is_not_listened_to_where_postgresql_itself_is(database: "Database") -> None:
    with pgbouncer(database.address, "session", size=2) as bouncer:
        direct = DatabaseHost(database.address.host, database.address.port)
        address = replace(through(bouncer, database, Pooler.SESSION), listen=(direct,))
        async with (
            pool_of(address, "default", max_size=1) as pool,
            following(address, poll_interval=NEVER) as follower,
        ):
            assert follower.connection is not None
            assert await asked_between(follower.connection, "SELECT pg_listening_channels()") == []
            written = await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
            await follower.reaches(written.revision)


@pytest.mark.parametrize("declared", [Pooler.TRANSACTION, Pooler.NONE])
async def test_polling_without_notifications_finds_changes_and_is_reported_once(
    database: "Database", declared: Pooler, capsys: pytest.CaptureFixture[str]
) -> None:
    with pgbouncer(database.address, "transaction", size=1) as bouncer:
        address = through(bouncer, database, declared)
        async with (
            pool_of(address, "default", max_size=1) as pool,
            following(address, poll_interval=0.05) as follower,
        ):
            written = await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
            await follower.reaches(written.revision)
            assert follower.connection is not None
            follower.connection.terminate()
            written = await succeed(pool, lambda change: role_rules.create(change, [role_rule(act="again")]))
            await follower.reaches(written.revision)
        said = capsys.readouterr().out
        assert said.count("policy_changes_polled") == 1
        assert said.count("database_pooler_undeclared") == (1 if declared is Pooler.NONE else 0)
        assert await left_on_session(address) == NOTHING_LEFT


async def test_a_pooler_in_the_place_of_postgresql_is_refused_by_the_listener(database: "Database") -> None:
    with (
        pgbouncer(database.address, "transaction", size=1) as bouncer,
        pgbouncer(database.address, "transaction", size=1) as second,
    ):
        address = replace(
            through(bouncer, database, Pooler.TRANSACTION),
            listen=(DatabaseHost(second.in_front_of(database.address).host, second.port),),
        )
        with pytest.raises(PoolerFoundError, match=r"POSTGRES_LISTEN_HOST .* is a connection pooler"):
            await open_listener(address)


@pytest.mark.parametrize(
    ("through_pooler", "environ", "expected"),
    [
        (True, {}, ["pooler-undeclared", "notifications-polled"]),
        (True, {"POSTGRES_POOLER": "transaction"}, ["notifications-polled"]),
        (True, {"POSTGRES_POOLER": "transaction", "POSTGRES_LISTEN_HOST": "server"}, []),
        (True, {"POSTGRES_POOLER": "transaction", "POSTGRES_LISTEN_HOST": "second"}, ["listen-unusable"]),
        (True, {"POSTGRES_POOLER": "session"}, []),
        (False, {}, []),
        (False, {"POSTGRES_POOLER": "session"}, ["pooler-absent"]),
    ],
)
def test_doctor_names_what_does_not_fit_the_pooler(
    database: "Database", through_pooler: bool, environ: dict[str, str], expected: list[str]
) -> None:
    with (
        pgbouncer(database.address, "transaction", size=2) as bouncer,
        pgbouncer(database.address, "transaction", size=2) as second,
    ):
        server = database.address
        ports = {"server": server.port, "second": second.port}
        if "POSTGRES_LISTEN_HOST" in environ:
            port = ports[environ["POSTGRES_LISTEN_HOST"]]
            environ = environ | {"POSTGRES_LISTEN_HOST": f"{server.host}:{port}"}
        address = bouncer.in_front_of(server) if through_pooler else server
        settings = load_settings(
            database_environment(address) | {"MIGRATE_ON_START": "true"} | environ, serving=False
        )
        assert isinstance(settings, Settings)
        assert [each.code for each in asyncio.run(examine_database(settings))] == expected


@pytest.fixture(params=["transaction", "session"])
def served(request: pytest.FixtureRequest, database: "Database") -> "Iterator[tuple[Mode, Bouncer]]":
    mode: Mode = request.param
    with pgbouncer(database.address, mode, size=2 if mode == "transaction" else 10) as bouncer:
        yield mode, bouncer


def test_the_service_runs_behind_the_pooler(
    database: "Database", served: tuple[Mode, Bouncer], tmp_path: Path
) -> None:
    mode, bouncer = served
    environ = database_environment(bouncer.in_front_of(database.address)) | {"POSTGRES_POOLER": mode}
    if mode == "transaction":
        environ["POSTGRES_LISTEN_HOST"] = f"{database.address.host}:{database.address.port}"
    # Nothing is found by polling while the test runs.
    with serving(tmp_path, environ, workers=2, POLICY_POLL_INTERVAL="300") as service:
        service.start("serve")
        assert not service.allowed()
        service.allow_anonymous_reads()
        asyncio.run(until(lambda: service.allowed() and service.allowed(worker=1), what="both workers allow"))
        rules = service.rest.ask("GET", "/api/v1/resources/policies").document
        (rule,) = [each for each in rules["items"] if each["obj"] == PUBLIC_RESOURCE["name"]]
        assert service.rest.ask("DELETE", f"/api/v1/resources/policies/{rule['id']}").status == 204
        asyncio.run(
            until(lambda: not service.allowed() and not service.allowed(worker=1), what="none allows")
        )
        direct = through(bouncer, database, Pooler(mode))
        assert asyncio.run(left_on_session(direct)) == NOTHING_LEFT
    shown = run_extauthz("migrate", "--status", environ=service.environ)
    assert shown.stdout.count(": applied ") >= 5, shown.stderr
    examined = run_extauthz("doctor", "--json", environ=service.environ | {"MIGRATE_ON_START": "true"})
    findings = json.loads(examined.stdout)["findings"]
    assert [each for each in findings if each["subject"] == "database"] == []

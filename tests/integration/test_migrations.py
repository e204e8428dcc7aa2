"""The migration runner on real PostgreSQL."""

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from extauthz.shipped import shipped
from extauthz.storage import feed, history
from extauthz.storage.migrate import (
    Migration,
    MigrationRefused,
    migrate,
    new_epoch,
    read_migrations,
    status,
)
from extauthz.storage.pool import connect, open_reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.storage.pool import Connection
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


@asynccontextmanager
async def connected(database: "Database") -> "AsyncIterator[Connection]":
    connection = await connect(database.address)
    try:
        yield connection
    finally:
        await connection.close()


def ours() -> tuple[Migration, ...]:
    migrations = read_migrations(shipped("migrations"))
    assert isinstance(migrations, tuple)
    return migrations


async def test_an_ordinary_user_migrates_an_empty_database_once(empty_database: "Database") -> None:
    async with connected(empty_database) as connection:
        before = await status(connection, ours())
        assert isinstance(before, tuple)
        assert [entry.applied_at for entry in before] == [None] * len(ours())
        assert await migrate(connection, ours()) == ours()
        assert await migrate(connection, ours()) == ()
        after = await status(connection, ours())
        assert isinstance(after, tuple)
        assert all(entry.applied_at is not None for entry in after)


async def test_status_creates_no_table(empty_database: "Database") -> None:
    async with connected(empty_database) as connection:
        await status(connection, ours())
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_concurrent_runners_apply_each_migration_once(empty_database: "Database") -> None:
    async def run() -> tuple[Migration, ...] | MigrationRefused:
        async with connected(empty_database) as connection:
            return await migrate(connection, ours())

    outcomes = await asyncio.gather(*(run() for _ in range(5)))
    applied = [each for outcome in outcomes if isinstance(outcome, tuple) for each in outcome]
    assert len(outcomes) == len([outcome for outcome in outcomes if isinstance(outcome, tuple)])
    assert sorted(applied, key=lambda each: each.version) == list(ours())


async def test_an_edited_migration_is_refused(database: "Database") -> None:
    edited = (dataclasses.replace(ours()[0], sql=ours()[0].sql + "-- edited"), *ours()[1:])
    async with connected(database) as connection:
        for outcome in (await migrate(connection, edited), await status(connection, edited)):
            assert isinstance(outcome, MigrationRefused)
            assert ours()[0].name in outcome.message
            assert "\n" not in outcome.message


async def test_a_newer_database_is_refused(database: "Database") -> None:
    async with connected(database) as connection:
        outcome = await migrate(connection, ours()[:-1])
        assert isinstance(outcome, MigrationRefused)
        assert ours()[-1].name in outcome.message


async def test_a_failing_migration_leaves_no_trace(
    empty_database: "Database",
) -> None:
    broken = (
        Migration(1, "0001_good.sql", "CREATE TABLE good (a int)"),
        Migration(2, "0002_bad.sql", "CREATE TABLE half (a int); SELECT 1 / 0"),
    )
    async with connected(empty_database) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(connection, broken)
        after = await status(connection, broken)
        assert isinstance(after, tuple)
        assert [entry.applied_at is not None for entry in after] == [True, False]
        assert await connection.fetchval("SELECT to_regclass('half') IS NULL")
        mended = (broken[0], Migration(2, "0002_good.sql", "CREATE TABLE half (a int)"))
        assert await migrate(connection, mended) == mended[1:]


async def test_no_counter_ends_at_32_bits(database: "Database") -> None:
    async with connected(database) as connection:
        narrow = await connection.fetch(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type IN ('integer', 'smallint') ORDER BY 1, 2"
        )
    # A priority is a number that an administrator writes; migrations are numbered by the names of files.
    # Contexts and shapes are numbered from 1 on every day, and a day has room for 200,000.
    assert [tuple(row) for row in narrow] == [
        ("attribute_policies", "priority"),
        ("recorded_contexts", "id"),
        ("recorded_shapes", "context"),
        ("recorded_shapes", "seq"),
        ("schema_migrations", "version"),
    ]


async def test_a_new_epoch_is_announced_and_read(database: "Database") -> None:
    reader = await open_reader(database.address)
    announced: asyncio.Queue[str] = asyncio.Queue()
    await reader.add_listener("extauthz_policy", lambda *arguments: announced.put_nowait(str(arguments[3])))
    before = (await feed.heads(reader)).epoch
    async with connected(database) as connection:
        epoch = await new_epoch(connection)
    assert await asyncio.wait_for(announced.get(), 5) == "epoch"
    assert (await feed.heads(reader)).epoch == epoch != before
    await reader.close()


def test_files_must_be_named_and_numbered(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    assert isinstance(read_migrations(tmp_path), tuple)
    (tmp_path / "0003_third.sql").write_text("SELECT 1")
    refused = read_migrations(tmp_path)
    assert isinstance(refused, MigrationRefused)
    assert "0002" in refused.message
    (tmp_path / "misc.sql").write_text("SELECT 1")
    assert isinstance(read_migrations(tmp_path), MigrationRefused)


async def test_registered_issuers_are_owned_after_the_upgrade(empty_database: "Database") -> None:
    """Providers of several tenants that were registered before issuers had a table of their own."""
    before = tuple(entry for entry in ours() if entry.version < 9)
    async with connected(empty_database) as connection:
        assert await migrate(connection, before) == before
        async with connection.transaction():
            await connection.execute("SELECT set_config('extauthz.operator', 'on', true)")
            # asyncpg asks about the type of a domain, which takes seconds where that is compiled.
            await connection.execute("SELECT set_config('jit', 'off', true)")
            for tenant, active in (("acme", True), ("globex", False)):
                await connection.execute("INSERT INTO tenants (tenant_id, name) VALUES ($1, 'one')", tenant)
                await connection.execute(
                    "INSERT INTO identity_providers (tenant_id, id, issuer, audience, active, revision)"
                    " VALUES ($1, gen_random_uuid(), $2, '\"a\"', $3, 1)",
                    tenant,
                    f"https://{tenant}.example",
                    active,
                )
        assert await migrate(connection, ours()) == ours()[len(before) :]
        async with connection.transaction():
            await connection.execute("SELECT set_config('extauthz.operator', 'on', true)")
            found = await connection.fetch(
                "SELECT tenant_id, issuer FROM identity_provider_issuers ORDER BY tenant_id"
            )
    assert [tuple(row) for row in found] == [
        ("acme", "https://acme.example"),
        ("globex", "https://globex.example"),
    ]


async def test_history_begins_with_the_rows_that_are_there(empty_database: "Database") -> None:
    migrations = ours()
    (added,) = [each for each in migrations if "row_history" in each.name]
    async with connected(empty_database) as connection:
        assert await migrate(connection, migrations[: added.version - 1])
        async with connection.transaction():
            await connection.execute("SELECT set_config('extauthz.operator', 'on', true)")
            await connection.execute("SELECT set_config('extauthz.tenant', 'acme', true)")
            await connection.execute(
                "INSERT INTO tenants (tenant_id, name, revision) VALUES ('acme', 'Acme', 7)"
            )
            await connection.execute(
                "INSERT INTO role_rules (tenant_id, id, sub, sub_kind, dom, obj, act, effect, revision)"
                " VALUES ('acme', gen_random_uuid(), 'reader', 'role', '*', 'doc', 'read', 'allow', 4)"
            )
        assert await migrate(connection, migrations)
        async with connection.transaction():
            await connection.execute("SELECT set_config('extauthz.tenant', 'acme', true)")
            found = await history.policies_at(connection, "acme", 7)
            assert isinstance(found, feed.TenantDocuments)
            assert [rule["sub"] for rule in found.role_rules] == ["reader"]
            earlier = await history.policies_at(connection, "acme", 6)
            assert isinstance(earlier, history.NotKept)
            assert earlier.first is not None
            assert earlier.first.number == 7

"""Faults inside PostgreSQL, injected by its superuser."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import asyncpg

from extauthz.demo.postgres import OWNER
from extauthz.demo.process_tree import descendants
from tests.stopped_processes import stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.demo.postgres import EmbeddedPostgres
    from tests.faults.mesh import FaultyStack

SIDECAR = "extauthz-sidecar"
"""The application name of the session in which a sidecar follows the policies."""


def ask(postgres: EmbeddedPostgres, statement: str, *arguments: object) -> list[Any]:
    """Run one statement as the superuser, and return its rows."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(postgres.superuser_dsn)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(run())


def change(postgres: EmbeddedPostgres, statement: str, *arguments: object) -> None:
    """Run a statement that changes rows; one that finds none injects no fault."""
    assert ask(postgres, f"{statement} RETURNING 1", *arguments), statement


def sidecar_sessions(postgres: EmbeddedPostgres) -> list[int]:
    """Return the processes of the sessions in which sidecars follow the policies."""
    rows = ask(postgres, "SELECT pid FROM pg_stat_activity WHERE application_name = $1", SIDECAR)
    return [row["pid"] for row in rows]


def stopped_processes(postgres: EmbeddedPostgres) -> contextlib.AbstractContextManager[None]:
    """Stop the server and all its sessions: it keeps its connections and answers nothing."""
    return stopped([postgres.pid, *(each.pid for each in descendants(postgres.pid))])


@contextlib.contextmanager
def stopped_sidecar_sessions(stack: FaultyStack) -> Iterator[None]:
    """Stop the sessions that sidecars have now; the server opens new ones."""
    assert stack.postgres is not None
    with stopped(sidecar_sessions(stack.postgres)):
        yield


@contextlib.contextmanager
def close_sidecar_sessions(stack: FaultyStack) -> Iterator[None]:
    """Terminate the sessions that sidecars have now, as an administrator does."""
    assert stack.postgres is not None
    ask(
        stack.postgres,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
        SIDECAR,
    )
    yield


@contextlib.contextmanager
def read_only_database(stack: FaultyStack) -> Iterator[None]:
    """Let the server take no writes, as a fenced primary does, and end the sessions of the moment."""
    assert stack.postgres is not None
    postgres = stack.postgres
    ask(postgres, "ALTER SYSTEM SET default_transaction_read_only = on")
    ask(postgres, "SELECT pg_reload_conf()")
    try:
        yield
    finally:

        async def writable() -> None:
            connection = await asyncpg.connect(
                postgres.superuser_dsn, server_settings={"default_transaction_read_only": "off"}
            )
            try:
                await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
                await connection.execute("SELECT pg_reload_conf()")
            finally:
                await connection.close()

        asyncio.run(writable())


@contextlib.contextmanager
def wrong_password(stack: FaultyStack) -> Iterator[None]:
    """Refuse the password that extauthz was given, and end its sessions."""
    assert stack.postgres is not None
    postgres = stack.postgres
    (row,) = ask(postgres, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", OWNER)
    ask(postgres, f"ALTER ROLE {OWNER} PASSWORD 'another password'")
    _end_sessions(postgres)
    yield
    ask(postgres, f"ALTER ROLE {OWNER} PASSWORD '{row['rolpassword']}'")


def _end_sessions(postgres: EmbeddedPostgres) -> None:
    ask(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", OWNER)


@contextlib.contextmanager
def fill_connections(stack: FaultyStack) -> Iterator[None]:
    """Let extauthz's role have no connection, as when all are taken, and end its sessions."""
    assert stack.postgres is not None
    ask(stack.postgres, f"ALTER ROLE {OWNER} CONNECTION LIMIT 0")
    _end_sessions(stack.postgres)
    yield
    ask(stack.postgres, f"ALTER ROLE {OWNER} CONNECTION LIMIT -1")


@contextlib.contextmanager
def hold_tables(stack: FaultyStack) -> Iterator[None]:
    """Lock every table that sidecars read in another session, as a careless migration does."""
    assert stack.postgres is not None
    dsn = stack.postgres.superuser_dsn
    held, over = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            async with connection.transaction():
                await connection.execute(
                    "LOCK TABLE tenants, cluster_state, policy_changes, role_rules IN ACCESS EXCLUSIVE MODE"
                )
                held.set()
                await asyncio.to_thread(over.wait)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    try:
        assert held.wait(10), "the tables could not be locked"
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def revision_put_back(stack: FaultyStack) -> Iterator[None]:
    """Give the tenant a lower revision, as a careless repair does; newer change records stay."""
    assert stack.postgres is not None
    change(stack.postgres, "UPDATE tenants SET revision = revision - 2")
    yield
    change(stack.postgres, "UPDATE tenants SET revision = revision + 2")


@contextlib.contextmanager
def missing_change_records(stack: FaultyStack) -> Iterator[None]:
    """Raise the revision without a record of what changed."""
    assert stack.postgres is not None
    change(stack.postgres, "DELETE FROM policy_changes")
    change(stack.postgres, "UPDATE tenants SET revision = revision + 5")
    yield


@contextlib.contextmanager
def new_epoch(stack: FaultyStack) -> Iterator[None]:
    """Change the epoch, as `extauthz migrate --new-epoch` does after a database is restored."""
    assert stack.postgres is not None
    change(stack.postgres, "UPDATE cluster_state SET epoch = gen_random_uuid()")
    yield


@contextlib.contextmanager
def corrupt_policy(stack: FaultyStack) -> Iterator[None]:
    """Store an attribute policy whose condition no version understands."""
    assert stack.postgres is not None
    ((row, before),) = ask(
        stack.postgres, "SELECT id, rule_data::text FROM attribute_policies WHERE priority = 100"
    )
    corrupt = "UPDATE attribute_policies SET rule_data = jsonb_set(rule_data, '{operator}', '\"resembles\"')"
    change(stack.postgres, f"{corrupt} WHERE id = $1", row)
    change(stack.postgres, "UPDATE tenants SET revision = revision + 1")
    yield
    change(stack.postgres, "UPDATE attribute_policies SET rule_data = $2::jsonb WHERE id = $1", row, before)
    change(stack.postgres, "UPDATE tenants SET revision = revision + 1")

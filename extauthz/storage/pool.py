"""A connection pool, and the transactions that make rows of tenants visible.

Input: a `DatabaseAddress`, a tenant or a key id. Output: a connection inside a transaction. Errors:
`NotWritableError`, `OutcomeUnknownError`, and those of asyncpg.

A connection sees no row of any tenant outside these transactions, because row-level security compares with
settings that are local to the transaction. An error or a cancellation therefore leaves no setting in a
session that a connection pooler shares.

INVARIANT: every transaction first asks whether its server accepts writes. After a failover the old primary
can still answer on open connections, with outdated rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg
import structlog

from extauthz.storage.address import DatabaseAddress, SslMode
from extauthz.storage.availability import (
    DatabaseState,
    NotWritableError,
    Unavailability,
    cause_of,
    unavailability_of,
)
from extauthz.storage.connection import connect, open_reader
from extauthz.storage.session import Connection, Session, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Pool = asyncpg.Pool[asyncpg.Record]

__all__ = [
    "Connection",
    "DatabaseAddress",
    "SslMode",
    "connect",
    "key_transaction",
    "open_pool",
    "open_reader",
    "reader_transaction",
    "tenant_transaction",
]

_log = structlog.get_logger("extauthz.database")

OPEN_WITHIN_S: Final = 4.0
"""Timeout in seconds until a transaction has begun: free connection, connect, first statements."""
RELEASE_WITHIN_S: Final = 1.0
STATEMENT_TIMEOUT_MS: Final = 30_000
LOCK_TIMEOUT_MS: Final = 3_000
"""Less than `session.ANSWER_WITHIN_S`, to distinguish a lock from a server that does not answer."""

# Local to the transaction: PgBouncer refuses most at startup, and a shared session must not keep them.
# INVARIANT: every setting of row-level security is set in each transaction; another client may have left one.
_ENTER: Final = (
    "set_config('extauthz.tenant', $1, true), set_config('extauthz.operator', $2, true),"
    " set_config('extauthz.reader', $3, true), set_config('extauthz.key_id', $4, true),"
    " set_config('statement_timeout', $5, true), set_config('lock_timeout', $6, true),"
    " set_config('idle_in_transaction_session_timeout', $5, true), set_config('timezone', 'UTC', true),"
    # asyncpg's query about unknown types takes 2 ms, and a second with JIT compilation.
    " set_config('jit', 'off', true)"
)
_WRITABLE: Final = (
    "NOT pg_catalog.pg_is_in_recovery()"
    " AND pg_catalog.current_setting('default_transaction_read_only') = 'off' AS writable"
)
# A sidecar sets its session read-only, so the setting of the session is not the server's. Compared are the
# setting of the server, and the one of a new session (the most specific of ALTER ROLE and ALTER DATABASE).
_WRITABLE_TO_OTHERS: Final = """
    NOT pg_catalog.pg_is_in_recovery()
    AND (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only') = 'off'
    AND NOT coalesce((
        SELECT pg_catalog.split_part(setting, '=', 2)::boolean
        FROM pg_catalog.pg_db_role_setting AS given, pg_catalog.unnest(given.setconfig) AS setting
        WHERE setting LIKE 'default_transaction_read_only=%'
            AND given.setdatabase IN (
                0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
            )
            AND given.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
        ORDER BY given.setrole = 0, given.setdatabase = 0 LIMIT 1
    ), false) AS writable
"""


_LEFT_OVER: Final = frozenset({Unavailability.READ_ONLY, Unavailability.LOST, Unavailability.SHUTTING_DOWN})
"""Failures of a connection that was open before; a new one may lead to a server that works."""


@asynccontextmanager
async def open_pool(
    address: DatabaseAddress, *, max_size: int = 10, state: DatabaseState | None = None
) -> AsyncIterator[Pool]:
    """Enter a pool, which connects when a connection is requested; `state` records the result.

    At its end the pool waits at most `RELEASE_WITHIN_S` seconds for the server.
    """

    async def opened(*_: object, **_arguments: object) -> Session:
        # asyncpg passes its own arguments, which `connect` does not need.
        return await connect(address, state=state)

    pool: Pool = await asyncpg.create_pool(
        min_size=0, max_size=max_size, connect=cast("Any", opened), connection_class=Session
    )
    try:
        yield pool
    finally:
        # A server that does not answer must not prevent the process from ending.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await pool.close()


@asynccontextmanager
async def tenant_transaction(
    pool: Pool, tenant: str, *, read_only: bool = False, operator: bool = False
) -> AsyncIterator[Connection]:
    """Enter a transaction that sees the rows of one tenant; with `operator` also the configuration of all.

    A read-only transaction has isolation level REPEATABLE READ: all its statements see the same snapshot.

    Raises:
        NotWritableError: the connected server accepts no writes.
        OutcomeUnknownError: the connection was lost while the transaction was committed.
    """
    seen = _Seen(tenant=tenant, operator=operator)
    async with _pooled_transaction(pool, seen, read_only=read_only) as connection:
        yield connection


@asynccontextmanager
async def all_tenants_transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Enter a read-only transaction that sees what readers see of every tenant.

    Raises NotWritableError: the connected server accepts no writes.
    """
    async with _pooled_transaction(pool, _Seen(reader=True), read_only=True) as connection:
        yield connection


@asynccontextmanager
async def key_transaction(pool: Pool, key_id: str | None) -> AsyncIterator[Connection]:
    """Enter a read-only transaction that sees one service key of any tenant, and no other row.

    Raises NotWritableError: the connected server accepts no writes.
    """
    async with _pooled_transaction(pool, _Seen(key_id=key_id or ""), read_only=True) as connection:
        yield connection


@asynccontextmanager
async def reader_transaction(connection: Connection) -> AsyncIterator[None]:
    """Enter a read-only transaction that sees one snapshot of the policy tables of every tenant.

    Raises NotWritableError: a new session could not write on the connected server.
    """
    async with transaction(connection, isolation="repeatable_read", readonly=True):
        await _enter(connection, _Seen(reader=True))
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The settings that row-level security compares with in a transaction."""

    tenant: str = ""
    operator: bool = False
    reader: bool = False
    key_id: str = ""


@asynccontextmanager
async def _pooled_transaction(pool: Pool, seen: _Seen, *, read_only: bool) -> AsyncIterator[Connection]:
    deadline = asyncio.get_running_loop().time() + OPEN_WITHIN_S
    async with contextlib.AsyncExitStack() as held:
        try:
            connection = await _begun(pool, held, seen, read_only=read_only, deadline=deadline)
        except Exception as error:
            if not _another_may_do(error):
                raise
            # The connection led to a server that ended or is no longer the primary. The caller has run no
            # statement, so a second attempt repeats none.
            connection = await _begun(pool, held, seen, read_only=read_only, deadline=deadline)
        try:
            yield connection
        except asyncpg.ReadOnlySQLTransactionError as error:
            if not read_only:
                await _leave_server(pool, connection, error)
            raise


def _another_may_do(error: Exception) -> bool:
    return unavailability_of(error) in _LEFT_OVER


async def _begun(
    pool: Pool, held: contextlib.AsyncExitStack, seen: _Seen, *, read_only: bool, deadline: float
) -> Connection:
    """Return a connection in a transaction that `held` ends, on a server that accepts writes."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(_acquired(pool, deadline))
        session = cast("Session", connection)
        state = session.state
        isolation = "repeatable_read" if read_only else "read_committed"
        try:
            await stack.enter_async_context(
                transaction(connection, isolation=isolation, readonly=read_only, deadline=deadline)
            )
            async with session.answers_by(deadline):
                await _enter(connection, seen)
        except NotWritableError as error:
            await _leave_server(pool, connection, error)
            raise
        if state is not None:
            state.answered()
        held.push_async_exit(stack.pop_all())
        return connection


async def _leave_server(pool: Pool, connection: Connection, error: Exception) -> None:
    """Close the connection, and have the pool replace all others before their next use."""
    state = cast("Session", connection).state
    if state is not None:
        state.answering_failed(error)
    await pool.expire_connections()
    connection.terminate()


@asynccontextmanager
async def _acquired(pool: Pool, deadline: float) -> AsyncIterator[Connection]:
    connection = await pool.acquire(timeout=max(deadline - asyncio.get_running_loop().time(), 0.001))
    try:
        yield connection
    finally:
        # INVARIANT: a committed transaction is reported as committed, also if the connection fails after it.
        try:
            await pool.release(connection, timeout=RELEASE_WITHIN_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.debug("database_connection_not_reused", cause=cause_of(error))


async def require_writable(connection: Connection, *, within: float) -> None:
    """Check that the server accepts writes.

    Raises:
        NotWritableError: it does not.
        Exception: it did not answer `within` this number of seconds, or the connection is lost.
    """
    _judge(await connection.fetchrow(f"SELECT {_WRITABLE}", timeout=within))


async def _enter(connection: Connection, seen: _Seen) -> None:
    record = await connection.fetchrow(
        f"SELECT {_WRITABLE_TO_OTHERS if seen.reader else _WRITABLE}, {_ENTER}",
        seen.tenant,
        "on" if seen.operator else "",
        "on" if seen.reader else "",
        seen.key_id,
        str(STATEMENT_TIMEOUT_MS),
        str(LOCK_TIMEOUT_MS),
    )
    _judge(record)


def _judge(record: asyncpg.Record | None) -> None:
    if record is None or not record["writable"]:
        raise NotWritableError("the server is a standby, or default_transaction_read_only is set")

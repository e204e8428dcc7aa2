"""Pooled connections, and the only ways to a tenant's rows.

A connection sees no row of any tenant: outside of these transactions row-level security has nothing to
compare with. All settings are local to one transaction, so neither an error nor a cancellation can leave them
behind, and a session that a connection pooler shares stays as it was.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

from extauthz.storage.address import DatabaseAddress, SslMode
from extauthz.storage.connection import connect, open_reader
from extauthz.storage.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

__all__ = [
    "ACQUIRE_TIMEOUT_S",
    "DatabaseAddress",
    "SslMode",
    "connect",
    "key_transaction",
    "open_pool",
    "open_reader",
    "reader_transaction",
    "tenant_transaction",
]

ACQUIRE_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 30_000
LOCK_TIMEOUT_MS: Final = 10_000

# Local: PgBouncer refuses most of them at startup, and a session that is shared must not keep them.
# INVARIANT: all that row-level security compares with is set each time. Another client may have left a value.
_ENTER: Final = (
    "SELECT set_config('extauthz.tenant', $1, true), set_config('extauthz.operator', $2, true),"
    " set_config('extauthz.reader', $3, true), set_config('extauthz.key_id', $4, true),"
    f" set_config('statement_timeout', '{STATEMENT_TIMEOUT_MS}', true),"
    f" set_config('lock_timeout', '{LOCK_TIMEOUT_MS}', true),"
    f" set_config('idle_in_transaction_session_timeout', '{STATEMENT_TIMEOUT_MS}', true),"
    " set_config('timezone', 'UTC', true)"
)


def open_pool(address: DatabaseAddress, *, max_size: int = 10) -> Pool:
    """Return a pool; await it or enter it to use it. It connects only when a connection is asked for."""

    async def opened(*_: object, **_arguments: object) -> Session:
        # asyncpg hands over its own arguments, which say nothing that `connect` does not.
        return await connect(address)

    return asyncpg.create_pool(
        min_size=0, max_size=max_size, connect=cast("Any", opened), connection_class=Session
    )


@asynccontextmanager
async def tenant_transaction(
    pool: Pool, tenant: str, *, read_only: bool = False, operator: bool = False
) -> AsyncIterator[Connection]:
    """Enter a transaction that sees the rows of one tenant; with `operator` also every tenant's registration.

    A read-only one sees a single moment however many statements it takes.
    """
    async with (
        pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as acquired,
        acquired.transaction(
            isolation="repeatable_read" if read_only else "read_committed", readonly=read_only
        ),
    ):
        connection = cast("Connection", acquired)
        await _enter(connection, tenant=tenant, operator=operator)
        yield connection


@asynccontextmanager
async def key_transaction(pool: Pool, key_id: str | None) -> AsyncIterator[Connection]:
    """Enter a read-only transaction that sees one service key, of whatever tenant, and nothing else."""
    async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as acquired, acquired.transaction(readonly=True):
        connection = cast("Connection", acquired)
        await _enter(connection, key_id=key_id or "")
        yield connection


@asynccontextmanager
async def reader_transaction(connection: Connection) -> AsyncIterator[None]:
    """Enter a transaction that sees one moment of the snapshot tables of every tenant, and cannot write."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await _enter(connection, reader=True)
        yield


async def _enter(
    connection: Connection,
    *,
    tenant: str = "",
    operator: bool = False,
    reader: bool = False,
    key_id: str = "",
) -> None:
    await connection.execute(_ENTER, tenant, "on" if operator else "", "on" if reader else "", key_id)

"""Connections, and the only two ways to a tenant's rows.

A pooled connection sees no row of any tenant: outside of `tenant_transaction` row-level security has nothing
to compare with. The settings are local to one transaction, so neither an error nor a cancellation can leave
them behind. A sidecar's own connection (`open_reader`) is never pooled and only reads.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

ACQUIRE_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 30_000
LOCK_TIMEOUT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where the database is and who asks."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None

    @property
    def tls(self) -> ssl.SSLContext | SslMode:
        """Return asyncpg's `ssl` argument.

        Raises:
            OSError: `sslrootcert` cannot be read.
        """
        if self.sslmode not in {"verify-ca", "verify-full"}:
            return self.sslmode
        context = ssl.create_default_context(cafile=self.sslrootcert)
        context.check_hostname = self.sslmode == "verify-full"
        return context

    @property
    def arguments(self) -> dict[str, Any]:
        """Return asyncpg's arguments that say where and who.

        Raises:
            OSError: `sslrootcert` cannot be read.
        """
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "ssl": self.tls,
        }


def open_pool(address: DatabaseAddress, *, max_size: int = 10) -> Pool:
    """Return a pool; await it or enter it to use it. It connects only when a connection is asked for."""
    return asyncpg.create_pool(
        **address.arguments,
        min_size=0,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_S,
        server_settings=_settings("extauthz"),
    )


async def connect(address: DatabaseAddress, *, application: str = "extauthz") -> Connection:
    """Return one connection of its own.

    Raises:
        Exception: whatever asyncpg raises; `outcome.refusal_of` names it.
    """
    connection: Connection = await asyncpg.connect(
        **address.arguments, timeout=CONNECT_TIMEOUT_S, server_settings=_settings(application)
    )
    return connection


async def open_reader(address: DatabaseAddress) -> Connection:
    """Return a sidecar's connection: read-only, sees the snapshot tables of every tenant, may LISTEN.

    Raises:
        Exception: whatever asyncpg raises; `outcome.refusal_of` names it.
    """
    connection = await connect(address, application="extauthz-sidecar")
    await connection.execute("SET default_transaction_read_only = on; SET extauthz.reader = 'on'")
    return connection


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
        await connection.execute(
            "SELECT set_config('extauthz.tenant', $1, true), set_config('extauthz.operator', $2, true)",
            tenant,
            "on" if operator else "",
        )
        yield connection


def _settings(application: str) -> dict[str, str]:
    return {
        "application_name": application,
        "timezone": "UTC",
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
    }

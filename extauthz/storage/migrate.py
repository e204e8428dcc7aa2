"""Applies `migrations/*.sql`: plain SQL, forward only, in order, each file in one transaction.

Input: a connection, the migrations. Output: the applied ones, or `MigrationRefused`. Concurrent runs exclude
each other by an advisory lock of the transaction, because a connection pooler may give the next transaction
another session. A file that was edited after it was applied, and a migration that this version does not have,
are refused before the schema is changed.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.storage.session import UNBOUNDED
from extauthz.storage.write import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from extauthz.storage.pool import Connection

_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql", re.ASCII)
_LOCK: Final = 0x65787461757468  # "extauth", the same for every version of this project


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationRefused:
    """Why no migration was applied; `message` is for the operator."""

    message: str


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration and the time when it was applied; None if it is pending."""

    name: str
    applied_at: datetime | None


def read_migrations(folder: Path) -> tuple[Migration, ...] | MigrationRefused:
    """Return the migrations in a folder in order, or why their names are invalid."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        named = _FILE_NAME.fullmatch(file.name)
        if named is None:
            return MigrationRefused(f"{file.name!r} must be named like 0001_what_it_does.sql")
        found.append(Migration(int(named[1]), file.name, file.read_text(encoding="utf-8")))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            return MigrationRefused(
                f"migration {expected:04} is missing or duplicate before {migration.name!r}"
            )
    return tuple(found)


async def migrate(
    connection: Connection, migrations: Sequence[Migration]
) -> tuple[Migration, ...] | MigrationRefused:
    """Apply all pending migrations and return them.

    `connection` must not be shared or in a transaction.

    Raises:
        asyncpg.PostgresError: a migration failed and was rolled back; those before it stay applied.
    """
    applied: list[Migration] = []
    while True:
        async with _locked(connection):
            # Read under the lock, because another run may have applied migrations.
            pending = await _pending(connection, migrations)
            if isinstance(pending, MigrationRefused):
                return pending
            if not pending:
                return tuple(applied)
            await connection.execute(pending[0].sql, timeout=UNBOUNDED)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                pending[0].version,
                pending[0].name,
                pending[0].checksum,
            )
        applied.append(pending[0])


async def status(
    connection: Connection, migrations: Sequence[Migration]
) -> tuple[MigrationStatus, ...] | MigrationRefused:
    """Return every migration with the time it was applied. Reads only, also in an empty database."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations') IS NULL"):
        return tuple(MigrationStatus(migration.name, None) for migration in migrations)
    pending = await _pending(connection, migrations)
    if isinstance(pending, MigrationRefused):
        return pending
    records = await connection.fetch("SELECT version, applied_at FROM schema_migrations")
    applied = {record["version"]: record["applied_at"] for record in records}
    return tuple(MigrationStatus(migration.name, applied.get(migration.version)) for migration in migrations)


async def new_epoch(connection: Connection) -> str:
    """Set a new epoch and return its UUID; every sidecar reloads all policies.

    Needed after a restore, because revisions may then be given again with other content. Requires the owner
    of the schema.
    """
    async with connection.transaction():
        epoch = await connection.fetchval(
            "UPDATE cluster_state SET epoch = gen_random_uuid(), updated_at = now() RETURNING epoch::text"
        )
        await connection.execute("SELECT pg_notify($1, 'epoch')", CHANNEL)
    return str(epoch)


@asynccontextmanager
async def _locked(connection: Connection) -> AsyncIterator[None]:
    """Enter a transaction that excludes other runs, with the table `schema_migrations` created."""
    async with connection.transaction():
        # No timeouts: another run may hold the lock for long, and a migration may rewrite a table.
        await connection.execute(
            "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0;"
            " SET LOCAL idle_in_transaction_session_timeout = 0;"
            " SET LOCAL timezone = 'UTC'; SET LOCAL jit = off"
        )
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=UNBOUNDED)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        yield


async def _pending(
    connection: Connection, migrations: Sequence[Migration]
) -> tuple[Migration, ...] | MigrationRefused:
    known = {migration.version: migration for migration in migrations}
    applied = await connection.fetch("SELECT version, name, sha256 FROM schema_migrations ORDER BY version")
    for row in applied:
        migration = known.get(row["version"])
        if migration is None:
            return MigrationRefused(
                f"the database has migration {row['name']!r}, which this version of extauthz does not have;"
                " run the newer version that applied it"
            )
        if migration.checksum != row["sha256"]:
            return MigrationRefused(
                f"{migration.name!r} differs from the migration that was applied to the database;"
                " restore the file and put the change into a new migration"
            )
    last = applied[-1]["version"] if applied else 0
    return tuple(migration for migration in migrations if migration.version > last)

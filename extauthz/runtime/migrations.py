"""`extauthz migrate`, and the check that the schema is not behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from extauthz.runtime.policies import StartRefusedError, database
from extauthz.shipped import shipped
from extauthz.storage.migrate import (
    Migration,
    MigrationRefused,
    migrate,
    new_epoch,
    read_migrations,
    status,
)
from extauthz.storage.outcome import DatabaseUnavailable, refusal_of
from extauthz.storage.pool import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.settings import Settings
    from extauthz.storage.pool import Connection

_T = TypeVar("_T")


async def run_migrate(settings: Settings, *, only_status: bool, with_new_epoch: bool) -> None:
    """Run `extauthz migrate` and print what was done. Raises StartRefusedError."""

    async def work(connection: Connection) -> None:
        if only_status:
            for each in _accepted(await status(connection, _shipped())):
                applied = "pending" if each.applied_at is None else f"applied {each.applied_at.isoformat()}"
                print(f"{each.name}: {applied}")
            return
        for migration in _accepted(await migrate(connection, _shipped())):
            print(f"applied {migration.name}")
        if with_new_epoch:
            print(f"new epoch {await new_epoch(connection)}; every sidecar reloads everything")

    await _connected(settings, work)


async def apply_migrations(settings: Settings) -> None:
    """Bring the schema up to date (`MIGRATE_ON_START`). Raises StartRefusedError."""

    async def work(connection: Connection) -> None:
        _accepted(await migrate(connection, _shipped()))

    await _connected(settings, work)


async def require_current_schema(settings: Settings) -> None:
    """Refuse to serve on a schema that is behind. Raises StartRefusedError."""

    async def work(connection: Connection) -> None:
        known = _accepted(await status(connection, _shipped()))
        pending = [each.name for each in known if each.applied_at is None]
        if pending:
            raise StartRefusedError(
                f"the database schema is behind by {len(pending)} migrations (next: {pending[0]}); "
                "run 'extauthz migrate', or set MIGRATE_ON_START=true"
            )

    await _connected(settings, work)


def _shipped() -> tuple[Migration, ...]:
    return _accepted(read_migrations(shipped("migrations")))


def _accepted(found: _T | MigrationRefused) -> _T:
    if isinstance(found, MigrationRefused):
        raise StartRefusedError(found.message)
    return found


async def _connected(settings: Settings, work: Callable[[Connection], Awaitable[None]]) -> None:
    where = f"{settings.postgres_host}:{settings.postgres_port}/{settings.postgres_db}"
    try:
        connection = await connect(database(settings))
        try:
            await work(connection)
        finally:
            await connection.close(timeout=5)
    except StartRefusedError:
        raise
    except Exception as error:
        refusal = refusal_of(error)
        if not isinstance(refusal, DatabaseUnavailable):
            raise
        raise StartRefusedError(f"the database at {where} cannot be used: {refusal.message}") from error

"""`extauthz migrate`, and the check of the database schema at the start of a control plane.

Input: `Settings`. Output: applied migrations. Errors: `StartRefusedError`; `DatabaseAwayError` if waiting may
help.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

import asyncpg

from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.runtime.policies import database
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.shipped import shipped
from extauthz.storage.availability import DatabaseState
from extauthz.storage.migrate import (
    Migration,
    MigrationRefused,
    migrate,
    new_epoch,
    read_migrations,
    status,
)
from extauthz.storage.outcome import DatabaseUnavailable, Refusal, refusal_of
from extauthz.storage.pool import connect, open_pool
from extauthz.storage.tenants import ensure_tenant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.settings import Settings
    from extauthz.storage.pool import Connection

_T = TypeVar("_T")
_MISCONFIGURED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""Errors that do not disappear by waiting."""
_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 5.0


class DatabaseAwayError(StartRefusedError):
    """The database does not answer; a later attempt may succeed."""

    may_pass: ClassVar[bool] = True


async def run_migrate(
    settings: Settings,
    *,
    only_status: bool,
    with_new_epoch: bool,
    answer: Callable[..., object] | None = None,
) -> None:
    """Run `extauthz migrate` and print what was done. Raises StartRefusedError.

    `answer` takes the members of a JSON object in place of the lines for people.
    """

    async def work(connection: Connection) -> None:
        if only_status:
            found = _accepted(await status(connection, _shipped()))
            dates = {each.name: each.applied_at and each.applied_at.isoformat() for each in found}
            if answer is not None:
                answer(migrations=[{"name": name, "applied_at": date} for name, date in dates.items()])
                return
            for name, date in dates.items():
                print(f"{name}: {'pending' if date is None else f'applied {date}'}")
            return
        applied = _accepted(await migrate(connection, _shipped()))
        if answer is None:
            for migration in applied:
                print(f"applied {migration.name}")
        epoch = await new_epoch(connection) if with_new_epoch else None
        if answer is not None:
            answer(applied=[migration.name for migration in applied], epoch=epoch)
        elif epoch is not None:
            print(f"new epoch {epoch}; every sidecar reloads everything")

    await _connected(settings, work)


class ServedSchema:
    """Prepares the database for a control plane: all migrations applied, the tenant of selfhost created.

    While the database is unavailable at the start, the process is not ready and retries.
    """

    def __init__(self, settings: Settings) -> None:
        """Store the settings; no connection is opened yet."""
        self._settings = settings
        self._prepared = False
        self.database = DatabaseState()
        """The state of the database as this process knows it, shared by all its parts."""

    @property
    def prepared(self) -> bool:
        """Whether the schema has been found complete once."""
        return self._prepared

    async def prepare(self) -> None:
        """Try once. Raises StartRefusedError for errors that do not disappear by waiting."""
        try:
            await self._migrate()
            await self._ensure_tenant()
        except DatabaseAwayError as away:
            if away.__cause__ is not None:
                self.database.connecting_failed(away.__cause__)
        else:
            self.database.connected()
            self.database.answered()
            self._prepared = True

    async def keep_preparing(self) -> None:
        """Retry until prepared. Raises StartRefusedError for errors that do not disappear by waiting."""
        delay = _FIRST_RETRY_S
        while not self._prepared:
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY_S)
            await self.prepare()

    async def _migrate(self) -> None:
        async def work(connection: Connection) -> None:
            if self._settings.migrate_on_start:
                _accepted(await migrate(connection, _shipped()))
                return
            known = _accepted(await status(connection, _shipped()))
            pending = [each.name for each in known if each.applied_at is None]
            if pending:
                raise StartRefusedError(
                    f"the database schema is behind by {len(pending)} migrations (next: {pending[0]}); "
                    "run 'extauthz migrate', or set MIGRATE_ON_START=true"
                )

        await _connected(self._settings, work)

    async def _ensure_tenant(self) -> None:
        if self._settings.mode is not TenancyMode.SELFHOST:
            return
        async with open_pool(database(self._settings), max_size=1, state=self.database) as pool:
            created = await ensure_tenant(pool, DEFAULT_TENANT, DEFAULT_TENANT)
        if isinstance(created, DatabaseUnavailable):
            raise DatabaseAwayError(created.message)
        if isinstance(created, Refusal):
            raise StartRefusedError(f"the tenant {DEFAULT_TENANT!r} cannot be created: {created}")


def _shipped() -> tuple[Migration, ...]:
    return _accepted(read_migrations(shipped("migrations")))


def _accepted(found: _T | MigrationRefused) -> _T:
    if isinstance(found, MigrationRefused):
        raise StartRefusedError(found.message)
    return found


async def _connected(settings: Settings, work: Callable[[Connection], Awaitable[None]]) -> None:
    address = database(settings)
    where = address.place
    try:
        connection = await connect(address)
        try:
            await work(connection)
        finally:
            await connection.close(timeout=5)
    except StartRefusedError:
        raise
    except _MISCONFIGURED as error:
        raise StartRefusedError(f"the database at {where} cannot be used: {_first_line(error)}") from error
    except Exception as error:  # only errors that mean an unavailable database are translated
        refusal = refusal_of(error)
        if isinstance(refusal, DatabaseUnavailable):
            raise DatabaseAwayError(f"the database at {where} cannot be used: {refusal.message}") from error
        raise


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

"""The revisions that a tenant's history covers: when each was written, and the digest of its policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extauthz.storage.columns import bounded_times
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from extauthz.storage.pool import Connection, Pool

_SELECTED = f"revision, {bounded_times('written_at')}, policy_digest"
_ROWS_A_DELETE = 50_000


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision. `digest` None: no process compiled the policies when it was written."""

    number: int
    written_at: datetime
    digest: str | None


async def first(connection: Connection, tenant: str) -> Revision | None:
    """Return the revision with which the history of the tenant begins; None where nothing was written."""
    return _revision(
        await connection.fetchrow(
            f"SELECT {_SELECTED} FROM policy_revisions WHERE tenant_id = $1 ORDER BY revision LIMIT 1",  # noqa: S608
            tenant,
        )
    )


async def in_force(connection: Connection, tenant: str, revision: int) -> Revision | None:
    """Return the write that was the newest one at a revision; None before the history begins.

    A restore leaves numbers out; then it is the one before.
    """
    return _revision(
        await connection.fetchrow(
            f"SELECT {_SELECTED} FROM policy_revisions"  # noqa: S608 - our own columns
            " WHERE tenant_id = $1 AND revision <= $2 ORDER BY revision DESC LIMIT 1",
            tenant,
            revision,
        )
    )


async def at_time(connection: Connection, tenant: str, moment: datetime) -> Revision | None:
    """Return the write that was the newest one at a time; None before the history begins."""
    return _revision(
        await connection.fetchrow(
            f"SELECT {_SELECTED} FROM policy_revisions"  # noqa: S608 - our own columns
            " WHERE tenant_id = $1 AND written_at <= $2 ORDER BY revision DESC LIMIT 1",
            tenant,
            moment,
        )
    )


async def discard_after(connection: Connection, tenant: str, revision: int) -> None:
    """Delete what lies above a tenant's revision: it is left over from before a restore."""
    await connection.execute(
        "DELETE FROM policy_revisions WHERE tenant_id = $1 AND revision > $2", tenant, revision
    )
    await connection.execute(
        "DELETE FROM row_history WHERE tenant_id = $1 AND to_revision > $2", tenant, revision
    )


@refusals_returned
async def forget(pool: Pool, tenant: str, moment: datetime) -> int:
    """Run `forget_before` in a transaction of its own."""
    async with tenant_transaction(pool, tenant) as connection:
        return await forget_before(connection, tenant, moment)


async def forget_before(connection: Connection, tenant: str, moment: datetime) -> int:
    """Delete the history of revisions that were replaced before `moment`; return how many revisions went.

    The revision that was in force at that time stays, and its history begins with it.
    """
    kept = await at_time(connection, tenant, moment)
    if kept is None:
        return 0
    gone = _ROWS_A_DELETE
    while gone == _ROWS_A_DELETE:
        status = await connection.execute(
            "DELETE FROM row_history WHERE ctid = ANY("  # noqa: S608 - a number of our own
            "ARRAY(SELECT ctid FROM row_history WHERE tenant_id = $1 AND to_revision <= $2"
            f" LIMIT {_ROWS_A_DELETE}))",
            tenant,
            kept.number,
        )
        gone = int(status.rpartition(" ")[2])
    status = await connection.execute(
        "DELETE FROM policy_revisions WHERE tenant_id = $1 AND revision < $2", tenant, kept.number
    )
    return int(status.rpartition(" ")[2])


def _revision(record: asyncpg.Record | None) -> Revision | None:
    return None if record is None else Revision(record[0], record[1], record[2])

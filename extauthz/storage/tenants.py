"""Tenants, as the operator of the installation manages them.

Functions with a `Change` are the work of `write.write` for that tenant. A tenant's document is
`{id, slug, name, status}`; id and slug are the same text, which never changes.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from extauthz.storage import write
from extauthz.storage.columns import bounded_times
from extauthz.storage.outcome import Clash, Conflict, NotFound, Refusal, refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recorded_rows import forget_recordings
from extauthz.storage.rows import MAX_PAGE, Page, Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    import asyncpg

    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.write import Actor, Change, Written

KIND: Final = "tenant"
SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class TenantStatus(StrEnum):
    """Whether requests to a tenant's workloads are decided by its policies, or denied."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


_Value = TypeVar("_Value")
_SELECTED: Final = f"tenant_id, name, status, revision, {bounded_times('created_at', 'updated_at')}"
_EMPTIED: Final = (
    # In the order of their foreign keys; route claims, policy versions and changes of drafts are deleted
    # by cascade.
    "resources",
    "default_roles_applied",
    "role_rules",
    "role_bindings",
    "attribute_policies",
    "tenant_hosts",
    "identity_providers",
    "service_api_keys",
    "policy_changes",
    "idempotency_keys",
    "drafts",
    "policy_tests",
    "change_guards",
    # After the tables whose deleted rows they keep.
    "row_history",
    "policy_revisions",
)

_ROWS_A_DELETE: Final = 20_000


@refusals_returned
async def ensure_tenant(pool: Pool, slug: str, name: str) -> bool:
    """Create a tenant at revision 0 unless it exists; return whether it was created.

    `MODE=selfhost` has the tenant `default` from its first start on.
    """
    async with tenant_transaction(pool, slug, operator=True) as connection:
        return await _insert(connection, slug, name) is not None


async def create(
    pool: Pool,
    actor: Actor,
    *,
    slug: str,
    name: str,
    also: Callable[[Change, Stored], Awaitable[_Value | Refusal]],
    new_id: Callable[[], str],
    once: Once[Written[_Value]] | None = None,
) -> Written[_Value] | Refusal:
    """Create a tenant, and run `also` in the same transaction (it creates the bootstrap key).

    A slug is assigned once: the slug of a deleted tenant is a conflict, too. `once` is as for `write.write`.
    """

    created_at: list[datetime] = []

    async def opening(connection: Connection) -> Refusal | None:
        if (moment := await _insert(connection, slug, name)) is not None:
            created_at.append(moment)
            return None
        return Conflict(KIND, (Clash(0, slug, "the slug belongs to a tenant, or to a deleted one"),))

    async def work(change: Change) -> _Value | Refusal:
        document = _document(slug, name, "active")
        change.note("create", KIND, slug, after=document)
        # The row was inserted and counted up in this transaction, which has one time.
        return await also(change, Stored(document, change.revision, created_at[0], created_at[0]))

    return await write.write(pool, slug, actor, work, new_id=new_id, opening=opening, once=once)


async def page(pool: Pool, *, after: str | None = None, limit: int = MAX_PAGE) -> Page[Stored] | Refusal:
    """Return a page of tenants in the order of slugs; `after` is the last slug of the previous page."""
    limit = max(1, min(limit, MAX_PAGE))

    async def work(connection: Connection) -> Page[Stored]:
        records = await connection.fetch(
            f"SELECT {_SELECTED} FROM tenants WHERE deleted_at IS NULL"  # noqa: S608
            " AND ($1::text IS NULL OR tenant_id > $1) ORDER BY tenant_id LIMIT $2",
            after,
            limit + 1,
        )
        items = tuple(_stored(record) for record in records[:limit])
        return Page(items, items[-1].id if len(records) > limit else None)

    return await read_as_operator(pool, work)


async def get(connection: Connection, slug: str) -> Stored | None:
    """Return one tenant; None if it does not exist or is deleted."""
    record = await connection.fetchrow(
        f"SELECT {_SELECTED} FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL",  # noqa: S608
        slug,
    )
    return None if record is None else _stored(record)


async def replace(
    change: Change,
    *,
    name: str | None = None,
    status: TenantStatus | None = None,
) -> Stored | NotFound:
    """Rename a tenant, or change its status; None leaves the member as it is.

    A suspended tenant keeps all its rows, and every request to its workloads is denied.
    """
    before = await _current(change)
    if not isinstance(before, Stored):
        return before
    members = before.document | {
        member: value for member, value in (("name", name), ("status", status)) if value is not None
    }
    if members == before.document:
        return before
    record = await change.connection.fetchrow(
        f"UPDATE tenants SET name = $2, status = $3 WHERE tenant_id = $1 RETURNING {_SELECTED}",  # noqa: S608
        change.tenant,
        members["name"],
        members["status"],
    )
    assert record is not None, "the row is locked by this change"
    after = _stored(record)
    change.note("update", KIND, change.tenant, before=before.document, after=after.document)
    return after


async def delete(change: Change) -> Stored | NotFound:
    """Delete a tenant with all its policies, hosts, identity providers, keys and recordings.

    Its slug, which is never used again, and its audit trail stay.
    """
    before = await _current(change)
    if not isinstance(before, Stored):
        return before
    for table in _EMPTIED:
        await _empty(change, table)
    await forget_recordings(change.connection, change.tenant)
    await change.connection.execute(
        "UPDATE tenants SET deleted_at = now() WHERE tenant_id = $1", change.tenant
    )
    change.note("delete", KIND, change.tenant, before=before.document)
    return before


async def _empty(change: Change, table: str) -> None:
    """Delete the tenant's rows in parts, because each statement has a timeout."""
    gone = _ROWS_A_DELETE
    while gone == _ROWS_A_DELETE:
        status = await change.connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY("  # noqa: S608
            f"ARRAY(SELECT ctid FROM {table} WHERE tenant_id = $1 LIMIT {_ROWS_A_DELETE}))",
            change.tenant,
        )
        gone = int(status.rpartition(" ")[2])


@refusals_returned
async def read_as_operator(pool: Pool, work: Callable[[Connection], Awaitable[_Value]]) -> _Value:
    """Run `work` in a read-only transaction that sees the configuration of every tenant, and no policies."""
    async with tenant_transaction(pool, "", read_only=True, operator=True) as connection:
        return await work(connection)


async def _insert(connection: Connection, slug: str, name: str) -> datetime | None:
    created_at: datetime | None = await connection.fetchval(
        "INSERT INTO tenants (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING created_at",
        slug,
        name,
    )
    return created_at


async def _current(change: Change) -> Stored | NotFound:
    stored = await get(change.connection, change.tenant)
    return NotFound(KIND, change.tenant) if stored is None else stored


def _stored(record: asyncpg.Record) -> Stored:
    return Stored(
        _document(record["tenant_id"], record["name"], record["status"]),
        record["revision"],
        record["created_at"],
        record["updated_at"],
    )


def _document(slug: str, name: str, status: str) -> dict[str, object]:
    return {"id": slug, "slug": slug, "name": name, "status": status}

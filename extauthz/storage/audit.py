"""The audit trail: an event for each changed row, with the actor.

Events are appended in the transaction of the change, and never updated. Input: rows and occurrences. Output:
pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.storage.columns import bounded_times
from extauthz.storage.conditions import conditions_of
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import MAX_PAGE, Page, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.written_row import WrittenRow

INSTALLATION: Final = "-"
"""The trail of events without a tenant: sessions of the operator, failed credentials."""
ADMIN_SESSION: Final = "admin_session"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One change of one row. `before` and `after` are documents, None if the row did not exist."""

    id: str
    at: datetime
    revision: int | None
    actor: object
    action: str
    kind: str
    entity_id: str | None
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event that changed no row. `id` is a UUIDv7 text."""

    id: str
    actor: Mapping[str, object]
    action: str
    kind: str
    entity_id: str | None = None
    details: Mapping[str, object] | None = None


@refusals_returned
async def record(
    pool: Pool, tenant: str, occurrences: Sequence[Occurrence], *, once: Once[None] | None = None
) -> None:
    """Append events to the trail of a tenant, or of the installation. `once` is as for `write.write`."""
    async with tenant_transaction(pool, tenant) as connection:
        if once is not None:
            await once.begin(connection)
        await record_in(connection, tenant, occurrences)


async def record_in(connection: Connection, tenant: str, occurrences: Sequence[Occurrence]) -> None:
    """Append events in the caller's transaction."""
    await connection.executemany(
        "INSERT INTO audit_events (tenant_id, id, actor, action, kind, entity_id, after)"
        " VALUES ($1, $2::uuid, $3::jsonb, $4, $5, $6, $7::json)",
        [
            (
                tenant,
                each.id,
                encode_json(each.actor),
                each.action,
                each.kind,
                each.entity_id,
                None if each.details is None else encode_json(each.details),
            )
            for each in occurrences
        ],
    )


async def session_ended(connection: Connection, session_id: UUID) -> bool:
    """Return whether the trail has an event that ended a session, or all sessions begun before it."""
    found = await connection.fetchval(
        "SELECT true FROM audit_events WHERE tenant_id = $1 AND id > $2 AND kind = $3 AND action = 'delete'"
        " AND (entity_id IS NULL OR entity_id = $4) LIMIT 1",
        INSTALLATION,
        session_id,
        ADMIN_SESSION,
        str(session_id),
    )
    return bool(found)


async def append(
    connection: Connection,
    tenant: str,
    revision: int | None,
    actor: Mapping[str, object],
    rows: Sequence[WrittenRow],
    *,
    new_id: Callable[[], str],
) -> None:
    """Append one event for each row that a change wrote."""
    written_by = encode_json(actor)
    for some in parts(rows):
        await connection.execute(
            "INSERT INTO audit_events"
            " (tenant_id, id, revision, actor, action, kind, entity_id, before, after)"
            " SELECT $1, r.id, $2, coalesce(r.actor, $3)::jsonb, r.action, r.kind, r.entity_id,"
            " r.before::json, r.after::json FROM unnest($4::text[]::uuid[], $5::text[], $6::text[],"
            " $7::text[], $8::text[], $9::text[], $10::text[])"
            " AS r (id, actor, action, kind, entity_id, before, after)",
            tenant,
            revision,
            written_by,
            [new_id() for _ in some],
            [None if row.actor is None else encode_json(row.actor) for row in some],
            [row.action for row in some],
            [row.kind for row in some],
            [row.id for row in some],
            [None if row.before is None else encode_json(row.before) for row in some],
            [None if row.after is None else encode_json(row.after) for row in some],
        )


async def page(
    connection: Connection,
    tenant: str,
    *,
    entity_id: str | None = None,
    kind: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[AuditEvent]:
    """Return a page of a tenant's events, newest first; `since` is inclusive, `until` exclusive."""
    limit = max(1, min(limit, MAX_PAGE))
    given = {
        "t.id < {}::uuid": after,
        "entity_id = {}": entity_id,
        "kind = {}": kind,
        "actor ->> 'id' = {}": actor,
        "at >= {}": since,
        "at < {}": until,
    }
    values: list[object] = [tenant]
    # The statement has only the given conditions, so that an index can be used.
    where = {condition: value for condition, value in given.items() if value is not None}
    conditions = ["tenant_id = $1", *conditions_of(where, values)]
    records = await connection.fetch(
        f"SELECT id::text, {bounded_times('at')}, revision, actor::text, action, kind, entity_id,"  # noqa: S608
        " before::text, after::text"
        f" FROM audit_events AS t WHERE {' AND '.join(conditions)} ORDER BY t.id DESC LIMIT {limit + 1}",
        *values,
    )
    items = tuple(_event(record) for record in records[:limit])
    return Page(items, items[-1].id if len(records) > limit else None)


def _event(record: asyncpg.Record) -> AuditEvent:
    members = dict(record)
    for name in ("actor", "before", "after"):
        if members[name] is not None:
            members[name] = decode_stored(members[name])
    return AuditEvent(**members)

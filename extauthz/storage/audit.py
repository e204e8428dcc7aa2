"""Who changed what: events are appended with the change they tell of, and never altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import MAX_PAGE, bounded_times, conditions_of, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.write import Change

INSTALLATION: Final = "-"
"""Whose trail holds what is of no tenant: the operator's sessions, credentials of strangers."""
ADMIN_SESSION: Final = "admin_session"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One change of one row. `before` and `after` are documents, None where the row was not there."""

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
class AuditPage:
    """Part of the trail, newest first; `next` is the id to go on after, None at the end."""

    items: tuple[AuditEvent, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that changed no row. `id` is a UUIDv7 text."""

    id: str
    actor: Mapping[str, object]
    action: str
    kind: str
    entity_id: str | None = None
    details: Mapping[str, object] | None = None


@refusals_returned
async def record(pool: Pool, tenant: str, occurrences: Sequence[Occurrence]) -> None:
    """Append what happened to the trail of a tenant, or of the installation."""
    async with tenant_transaction(pool, tenant) as connection:
        await record_in(connection, tenant, occurrences)


async def record_in(connection: Connection, tenant: str, occurrences: Sequence[Occurrence]) -> None:
    """Append what happened, as part of the caller's transaction."""
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
    """Tell whether the trail says that a session, or every one begun before now, was ended."""
    found = await connection.fetchval(
        "SELECT true FROM audit_events WHERE tenant_id = $1 AND id > $2 AND kind = $3 AND action = 'delete'"
        " AND (entity_id IS NULL OR entity_id = $4) LIMIT 1",
        INSTALLATION,
        session_id,
        ADMIN_SESSION,
        str(session_id),
    )
    return bool(found)


async def append(change: Change) -> None:
    """Append one event for every effect of a change."""
    actor = encode_json(change.actor.document())
    for effects in parts(change.effects):
        await change.connection.execute(
            "INSERT INTO audit_events"
            " (tenant_id, id, revision, actor, action, kind, entity_id, before, after)"
            " SELECT $1, r.id, $2, $3::jsonb, r.action, r.kind, r.entity_id, r.before::json, r.after::json"
            " FROM unnest($4::text[]::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])"
            " AS r (id, action, kind, entity_id, before, after)",
            change.tenant,
            change.revision,
            actor,
            [change.new_id() for _ in effects],
            [effect.action for effect in effects],
            [effect.kind for effect in effects],
            [effect.id for effect in effects],
            [None if effect.before is None else encode_json(effect.before) for effect in effects],
            [None if effect.after is None else encode_json(effect.after) for effect in effects],
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
) -> AuditPage:
    """Return events of a tenant, newest first: `since` is inclusive, `until` exclusive, `actor` an id."""
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
    # Only what is asked for is in the statement, so that an index can serve it.
    where = {condition: value for condition, value in given.items() if value is not None}
    conditions = ["tenant_id = $1", *conditions_of(where, values)]
    records = await connection.fetch(
        f"SELECT id::text, {bounded_times('at')}, revision, actor::text, action, kind, entity_id,"  # noqa: S608
        " before::text, after::text"
        f" FROM audit_events AS t WHERE {' AND '.join(conditions)} ORDER BY t.id DESC LIMIT {limit + 1}",
        *values,
    )
    items = tuple(_event(record) for record in records[:limit])
    return AuditPage(items, items[-1].id if len(records) > limit else None)


def _event(record: asyncpg.Record) -> AuditEvent:
    members = dict(record)
    for name in ("actor", "before", "after"):
        if members[name] is not None:
            members[name] = decode_stored(members[name])
    return AuditEvent(**members)

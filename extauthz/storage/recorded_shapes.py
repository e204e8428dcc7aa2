"""Reads recorded shapes of a tenant: days, shapes by pages, the shape of a decision; erases a subject.

`domains`, where it is given, are those of the caller: only shapes of principals of these domains are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from extauthz.recording.documents import FIXED, shape_of
from extauthz.recording.shape import FOLDED, SUBJECT, WORDS, literal
from extauthz.recording.tally import Tally, read_tally
from extauthz.storage.audit import INSTALLATION, Occurrence, record_in
from extauthz.storage.encoding import decode_stored
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recorded_rows import StoredRows
from extauthz.storage.recordings import kept_decisions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from extauthz.recording.shape import Shape
    from extauthz.storage.pool import Connection, Pool

MAX_PAGE: Final = 10_000
_SENDERS_KEPT: Final = timedelta(days=8)
_NOT_ERASED: Final = FIXED


class FoldedSlot(NamedTuple):
    """A slot of a template (None: unmapped) of which values are folded; `whole`: all of them."""

    template: str | None
    slot: str
    whole: bool


@dataclass(frozen=True, slots=True)
class RecordedDay:
    """What is recorded of one day. `lost` requests had no room; `since` is when the first was stored."""

    day: date
    since: datetime
    shapes: int
    requests: int
    lost: int
    folded: tuple[FoldedSlot, ...]


class Recorded(NamedTuple):
    """A shape with its counts on one day. `key` orders the shapes of a day."""

    key: int
    shape: Shape
    day: date
    tally: Tally


async def days(
    connection: Connection, tenant: str, domains: Collection[str] | None = None
) -> list[RecordedDay]:
    """Return the days that have recordings, the first one first."""
    heads = await connection.fetch(
        "SELECT day, since, shapes, requests, lost, folded::text FROM recording_days"
        " WHERE tenant_id = $1 ORDER BY day",
        tenant,
    )
    found = [
        RecordedDay(
            head["day"],
            head["since"],
            head["shapes"],
            head["requests"],
            head["lost"],
            tuple(FoldedSlot(**each) for each in _document(head["folded"])),
        )
        for head in heads
    ]
    return found if domains is None else await _of_domains(connection, tenant, found, domains)


async def _of_domains(
    connection: Connection, tenant: str, found: Sequence[RecordedDay], domains: Collection[str]
) -> list[RecordedDay]:
    records = await connection.fetch(
        "SELECT day, sum(shapes)::bigint AS shapes, sum(requests)::bigint AS requests,"
        " array_agg(DISTINCT document ->> 'template') AS templates FROM recorded_contexts"
        " WHERE tenant_id = $1 AND document ->> 'domain' = ANY($2::text[]) GROUP BY day",
        tenant,
        list(domains),
    )
    own = {record["day"]: record for record in records}
    return [
        RecordedDay(
            each.day,
            each.since,
            own[each.day]["shapes"],
            own[each.day]["requests"],
            0,
            tuple(slot for slot in each.folded if slot.template in own[each.day]["templates"]),
        )
        for each in found
        if each.day in own
    ]


async def contexts(
    connection: Connection, tenant: str, day: date, domains: Collection[str] | None = None
) -> dict[int, Mapping[str, Any]]:
    """Return the contexts of a day by their numbers (`recording.documents.shape_of`)."""
    records = await connection.fetch(
        "SELECT id, document::text FROM recorded_contexts WHERE tenant_id = $1 AND day = $2"
        " AND ($3::text[] IS NULL OR document ->> 'domain' = ANY($3::text[]))",
        tenant,
        day,
        None if domains is None else list(domains),
    )
    return {record["id"]: _document(record["document"]) for record in records}


async def shapes(
    connection: Connection,
    tenant: str,
    day: date,
    known: Mapping[int, Mapping[str, Any]],
    *,
    after: int | None = None,
    limit: int = MAX_PAGE,
) -> list[Recorded]:
    """Return a page of the shapes of a day, of the `known` contexts, by key; fewer than `limit`: the last."""
    records = await connection.fetch(
        "SELECT key, context, slots, counts, decisions FROM recorded_shapes"
        " WHERE tenant_id = $1 AND day = $2 AND ($3::bigint IS NULL OR key > $3)"
        " AND context = ANY($4::int[]) ORDER BY key LIMIT $5",
        tenant,
        day,
        after,
        list(known),
        min(limit, MAX_PAGE),
    )
    return [_recorded(record, day, known[record["context"]]) for record in records]


async def shape_of_decision(
    connection: Connection, tenant: str, decision_id: UUID, domains: Collection[str] | None = None
) -> Recorded | None:
    """Return the shape that keeps a decision among its last ones; None: none does.

    The id is a UUIDv7, which tells its day.
    """
    day = _day_of(decision_id)
    if day is None:
        return None
    record = await connection.fetchrow(
        "SELECT key, context, slots, counts, decisions FROM recorded_shapes"
        " WHERE tenant_id = $1 AND day = $2 AND position($3 IN decisions) > 0 LIMIT 1",
        tenant,
        day,
        decision_id.bytes,
    )
    if record is None:
        return None
    known = await contexts(connection, tenant, day, domains)
    found = known.get(record["context"])
    recorded = None if found is None else _recorded(record, day, found)
    # Octets of two ids, one behind the other, may be equal to a third.
    if recorded is None or str(decision_id) not in (decision for decision, _ in recorded.tally.decisions):
        return None
    return recorded


@refusals_returned
async def erase(pool: Pool, tenant: str, subject: str, *, actor: Mapping[str, object], event_id: str) -> int:
    """Erase a subject from the recordings of a tenant, and say so in its audit trail, without its id.

    Returns how many shapes told of it.
    """
    async with tenant_transaction(pool, tenant) as connection:
        erased = await erase_subject(connection, tenant, subject)
        event = Occurrence(event_id, actor, "erase", "recordings", None, {"shapes": erased})
        await record_in(connection, tenant, [event])
    return erased


async def erase_subject(connection: Connection, tenant: str, subject: str) -> int:
    """Fold everything that tells of a subject, and return how many shapes did.

    Of the subject's own requests every value but host and method is folded; elsewhere every slot whose value
    is the subject. Counts stay.
    """
    text = literal(subject)
    erased = 0
    heads = await connection.fetch(
        "SELECT day, last_seq FROM recording_days WHERE tenant_id = $1 ORDER BY day FOR UPDATE", tenant
    )
    for head in heads:
        day = head["day"]
        rows = StoredRows(connection, tenant, day)
        records = await rows.with_text(text)
        if not records:
            continue
        known = await contexts(connection, tenant, day)

        def fold(
            context: int, slots: Sequence[str], known: Mapping[int, Mapping[str, Any]] = known
        ) -> tuple[str, ...]:
            names = known[context]["slots"]
            is_own = slots[names.index(SUBJECT)] == text
            return tuple(
                FOLDED if each == text or (is_own and name not in _NOT_ERASED and each not in WORDS) else each
                for name, each in zip(names, slots, strict=True)
            )

        kept = {number: kept_decisions(document) for number, document in known.items()}
        last_seq, fewer = await rows.refold(records, fold, kept, head["last_seq"])
        erased += len(records)
        await connection.execute(
            "UPDATE recording_days SET shapes = shapes - $3, last_seq = $4, rewrites = rewrites + 1"
            " WHERE tenant_id = $1 AND day = $2",
            tenant,
            day,
            fewer,
            last_seq,
        )
    return erased


@refusals_returned
async def forget_before(pool: Pool, tenant: str, before: date) -> None:
    """Delete a tenant's days before a day, and senders that were last seen before the day before it."""
    async with tenant_transaction(pool, tenant) as connection:
        await connection.execute(
            "DELETE FROM recording_days WHERE tenant_id = $1 AND day < $2", tenant, before
        )
        await connection.execute(
            "DELETE FROM recording_senders WHERE tenant_id = $1 AND at < $2",
            tenant,
            datetime.now(UTC) - _SENDERS_KEPT,
        )


@refusals_returned
async def drop_before(pool: Pool, before: date) -> int:
    """Drop the partitions of days before a day, for all tenants at once; return how many there were."""
    try:
        return await _drop_before(pool, before)
    except asyncpg.UndefinedTableError:
        # Another replica dropped the table for which this session waited.
        return await _drop_before(pool, before)


async def _drop_before(pool: Pool, before: date) -> int:
    async with tenant_transaction(pool, INSTALLATION) as connection:
        dropped: int = await connection.fetchval("SELECT drop_recording_days($1)", before)
    return dropped


def _recorded(record: Any, day: date, context: Mapping[str, Any]) -> Recorded:
    return Recorded(
        record["key"],
        shape_of(context, record["slots"].split("\n")),
        day,
        read_tally(record["counts"], record["decisions"]),
    )


def _document(text: str) -> Any:
    return decode_stored(text)


def _day_of(decision_id: UUID) -> date | None:
    if decision_id.version != 7:  # RFC 9562 5.7
        return None
    milliseconds = decision_id.int >> 80
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).date()
    except OverflowError:
        return None

"""Stores shapes: adds the counts of batches to a tenant's days, within the bounds of `recording.bounds`.

Writers of one tenant and day exclude each other by the row of the day. What a day holds of each slot is
remembered between batches, and read again where another process has written.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from extauthz.domain.reasons import Effect
from extauthz.recording.bounds import KEPT_ALLOWS, KEPT_DENIES, MAX_CONTEXTS_A_DAY, MAX_SHAPES_A_DAY
from extauthz.recording.day import DayLiterals, IsRead, Slot, reading
from extauthz.recording.documents import (
    FIXED,
    HOURS_A_DAY,
    Counted,
    context_key,
    context_of,
    day_of,
    texts_of,
)
from extauthz.recording.shape import FOLDED, WORDS
from extauthz.recording.tally import Tally
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recorded_rows import ShapeRow, StoredRows, add_row
from extauthz.storage.recording_senders import BatchPart, first_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from extauthz.domain.tenancy import UnmappedPolicy
    from extauthz.recording.shape import Shape
    from extauthz.storage.pool import Connection, Pool

AttributesRead = Callable[[str], Set[str]]
"""Names the attributes that live rules and drafts of a tenant read."""

_REMEMBERED_DAYS: Final = 32
_LOADED_AT_ONCE: Final = 5_000


@dataclass(slots=True)
class _Day:
    """What is known of one tenant's day, as of a state of its row."""

    literals: DayLiterals
    contexts: dict[str, int] = field(default_factory=dict)
    documents: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    last_seq: int = 0
    rewrites: int = 0


class RecordingStore:
    """Adds batches. One for each process; batches that arrive meanwhile are added together."""

    def __init__(self, pool: Pool, attributes: AttributesRead, *, max_shapes: int = MAX_SHAPES_A_DAY) -> None:
        """Take the pool, and what names the attributes that the rules of a tenant read."""
        self._pool = pool
        self._attributes = attributes
        self._max_shapes = max_shapes
        self._days: OrderedDict[tuple[str, date], _Day] = OrderedDict()
        self._waiting: dict[str, list[tuple[BatchPart, asyncio.Future[None]]]] = {}
        self._partitions: set[date] = set()

    async def add(self, tenant: str, part: BatchPart) -> None:
        """Add the counts of a batch, unless it was added before; returns when they are stored.

        Raises:
            Exception: raised by asyncpg or by the transaction; nothing of the batch is stored.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(tenant)
        if waiting is not None:
            waiting.append((part, done))
            await done
            return
        self._waiting[tenant] = []
        together = [(part, done)]
        try:
            while together:
                await self._add(tenant, together)
                together, self._waiting[tenant] = self._waiting[tenant], []
        finally:
            for _, other in self._waiting.pop(tenant):
                other.cancel()
        await done

    async def _add(self, tenant: str, together: Sequence[tuple[BatchPart, asyncio.Future[None]]]) -> None:
        try:
            await self._write(tenant, [part for part, _ in together])
        except Exception as error:  # noqa: BLE001  # each sender is answered
            for _, done in together:
                if not done.done():
                    done.set_exception(error)
        else:
            for _, done in together:
                if not done.done():
                    done.set_result(None)

    async def _write(self, tenant: str, parts: Sequence[BatchPart]) -> None:
        for day in sorted({day_of(one.hour) for part in parts for one in part.counted}):
            await self._add_partition(tenant, day)
        written: dict[tuple[str, date], _Day] = {}
        async with tenant_transaction(self._pool, tenant) as connection:
            new = await first_time(connection, tenant, parts)
            by_day: dict[date, list[Counted]] = {}
            for part in new:
                for one in part.counted:
                    by_day.setdefault(day_of(one.hour), []).append(one)
            for day, counted in sorted(by_day.items()):
                # Not remembered while it is written: a transaction that fails leaves it as it was.
                known = self._days.pop((tenant, day), None)
                writer = _DayWriter(
                    connection, tenant, day, self._attributes(tenant), max_shapes=self._max_shapes
                )
                written[tenant, day] = await writer.write(known, counted)
        self._days |= written
        while len(self._days) > _REMEMBERED_DAYS:
            self._days.popitem(last=False)

    async def _add_partition(self, tenant: str, day: date) -> None:
        if day in self._partitions:
            return
        try:
            await self._create_partition(tenant, day)
        except asyncpg.DuplicateTableError:
            # A session that has waited for the lock of another still has a cache in which there is no table.
            await self._create_partition(tenant, day)
        self._partitions.add(day)

    async def _create_partition(self, tenant: str, day: date) -> None:
        async with tenant_transaction(self._pool, tenant) as connection:
            await connection.execute("SELECT add_recording_day($1)", day)


class _DayWriter:
    """Adds counts to one day of a tenant, in a transaction."""

    def __init__(
        self, connection: Connection, tenant: str, day: date, attributes: Set[str], *, max_shapes: int
    ) -> None:
        self._connection = connection
        self._tenant = tenant
        self._date = day
        self._attributes = attributes
        self._max_shapes = max_shapes
        self._is_read: dict[UnmappedPolicy, IsRead] = {}
        self._texts: dict[Shape, str] = {}
        self._stored = StoredRows(connection, tenant, day)

    async def write(self, known: _Day | None, counted: Sequence[Counted]) -> _Day:
        """Add the counts, and return what is known of the day then."""
        connection, where = self._connection, (self._tenant, self._date)
        await connection.execute(
            "INSERT INTO recording_days (tenant_id, day) VALUES ($1, $2) ON CONFLICT DO NOTHING", *where
        )
        head = await connection.fetchrow(
            "SELECT shapes, last_seq, contexts, rewrites, folded::text FROM recording_days"
            " WHERE tenant_id = $1 AND day = $2 FOR UPDATE",
            *where,
        )
        assert head is not None
        day = await self._loaded(known, head)
        shapes, contexts_before = int(head["shapes"]), len(day.contexts)
        rows = self._rows(day, counted)
        stored = await self._stored.tallies(rows)
        while shapes + len(rows) - len(stored) > self._max_shapes:
            slot = day.literals.widest(self._reading_all(counted))
            if slot is None:
                break
            shapes -= await self._fold(day, slot)
            rows = self._rows(day, counted)
            stored = await self._stored.tallies(rows)
        lost = sum(one.requests for one in counted) - sum(row.tally.requests for row in rows.values())
        lost += self._cut(rows, stored, self._max_shapes - shapes)
        requests = sum(row.tally.requests for row in rows.values())
        await self._keep(day, rows, stored, contexts_before)
        await connection.execute(
            "UPDATE recording_days SET shapes = $3, last_seq = $4, contexts = $5, requests = requests + $6,"
            " lost = lost + $7, rewrites = $8, folded = $9::json WHERE tenant_id = $1 AND day = $2",
            *where,
            shapes + len(rows) - len(stored),
            day.last_seq,
            len(day.contexts),
            requests,
            lost,
            day.rewrites,
            encode_json(_folded_document(day.literals)),
        )
        return day

    def _reading(self, unmapped: UnmappedPolicy) -> IsRead:
        if unmapped not in self._is_read:
            self._is_read[unmapped] = reading(self._attributes, unmapped)
        return self._is_read[unmapped]

    def _reading_all(self, counted: Iterable[Counted]) -> IsRead:
        several = [self._reading(unmapped) for unmapped in {one.shape.unmapped for one in counted}]
        return lambda slot: any(is_read(slot) for is_read in several)

    async def _loaded(self, known: _Day | None, head: Any) -> _Day:
        if known is None or known.rewrites != head["rewrites"]:
            known = _Day(_literals(decode_stored(head["folded"])), rewrites=head["rewrites"])
        if known.last_seq == head["last_seq"] and len(known.contexts) == head["contexts"]:
            return known
        for record in await self._connection.fetch(
            "SELECT id, document::text FROM recorded_contexts WHERE tenant_id = $1 AND day = $2 AND id > $3",
            self._tenant,
            self._date,
            len(known.contexts),
        ):
            self._add_context(known, record["id"], record["document"])
        cursor = self._connection.cursor(
            "SELECT context, slots FROM recorded_shapes WHERE tenant_id = $1 AND day = $2 AND seq > $3",
            self._tenant,
            self._date,
            known.last_seq,
            prefetch=_LOADED_AT_ONCE,
        )
        async for record in cursor:
            document = known.documents[record["context"]]
            known.literals.note(document["template"], document["slots"], record["slots"].split("\n"))
        known.last_seq = head["last_seq"]
        return known

    @staticmethod
    def _add_context(day: _Day, number: int, text: str) -> None:
        day.contexts[text] = number
        document: Any = decode_stored(text)
        day.documents[number] = document
        day.literals.note(document["template"], list(document["fixed"]), list(document["fixed"].values()))

    def _rows(self, day: _Day, counted: Sequence[Counted]) -> dict[int, ShapeRow]:
        rows: dict[int, ShapeRow] = {}
        for one in counted:
            shape = one.shape
            names = tuple(name for name, _ in shape.slots)
            texts = tuple(text for _, text in shape.slots)
            found = day.literals.fold(shape.template, names, texts, self._reading(shape.unmapped))
            shape = shape._replace(slots=tuple(zip(names, found, strict=True)))
            context = self._context(day, shape)
            if context is None:
                continue
            tally = Tally({one.hour % HOURS_A_DAY: one.requests}, one.first, one.last, one.decisions)
            add_row(rows, ShapeRow(context, texts_of(shape), tally), kept_decisions(day.documents[context]))
        return rows

    def _context(self, day: _Day, shape: Shape) -> int | None:
        key = context_key(shape)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = encode_json(context_of(shape))
        if text in day.contexts:
            return day.contexts[text]
        limit = MAX_CONTEXTS_A_DAY
        if len(day.contexts) >= limit:
            slots = tuple((name, FOLDED if name in FIXED else each) for name, each in shape.slots)
            text = encode_json(context_of(shape._replace(slots=slots)))
            limit += limit // 10
        if text not in day.contexts and len(day.contexts) < limit:
            self._add_context(day, len(day.contexts) + 1, text)
        return day.contexts.get(text)

    def _cut(self, rows: dict[int, ShapeRow], stored: Mapping[int, Tally], room: int) -> int:
        """Leave out new shapes that there is no room for; return how many requests are lost."""
        new = [key for key in rows if key not in stored]
        return sum(rows.pop(key).tally.requests for key in new[max(room, 0) :])

    async def _keep(
        self, day: _Day, rows: dict[int, ShapeRow], stored: Mapping[int, Tally], contexts_before: int
    ) -> None:
        added = {number: text for text, number in day.contexts.items() if number > contexts_before}
        await self._connection.execute(
            "INSERT INTO recorded_contexts (day, tenant_id, id, document)"
            " SELECT $2, $1, r.id, r.document::json FROM unnest($3::int[], $4::text[]) AS r (id, document)",
            self._tenant,
            self._date,
            list(added),
            list(added.values()),
        )
        added_to: dict[int, int] = {}
        new: dict[int, int] = {}
        sequence: list[int] = []
        for key, row in rows.items():
            added_to[row.context] = added_to.get(row.context, 0) + row.tally.requests
            if key in stored:
                row.tally = stored[key].plus(row.tally, kept=kept_decisions(day.documents[row.context]))
            else:
                new[row.context] = new.get(row.context, 0) + 1
                day.last_seq += 1
            sequence.append(day.last_seq)
        await self._stored.put(rows, sequence)
        await self._connection.execute(
            "UPDATE recorded_contexts AS c"
            " SET requests = c.requests + r.requests, shapes = c.shapes + r.shapes"
            " FROM unnest($3::int[], $4::bigint[], $5::int[]) AS r (id, requests, shapes)"
            " WHERE c.tenant_id = $1 AND c.day = $2 AND c.id = r.id",
            self._tenant,
            self._date,
            list(added_to),
            list(added_to.values()),
            [new.get(context, 0) for context in added_to],
        )

    async def _fold(self, day: _Day, slot: Slot) -> int:
        """Fold a slot of the day as a whole, and return how many shapes fewer there are."""
        template, name = slot
        day.literals.fold_slot(slot)
        names = {
            number: document["slots"]
            for number, document in day.documents.items()
            if document["template"] == template and name in document["slots"]
        }
        kept = {number: kept_decisions(day.documents[number]) for number in names}
        day.rewrites += 1
        day.last_seq, fewer = await self._stored.refold(
            await self._stored.of_contexts(list(names)),
            lambda context, slots: tuple(
                FOLDED if each == name and text not in WORDS else text
                for each, text in zip(names[context], slots, strict=True)
            ),
            kept,
            day.last_seq,
        )
        return fewer


def kept_decisions(document: Mapping[str, Any]) -> int:
    """Return how many decisions a shape of a context keeps."""
    return KEPT_ALLOWS if document["effect"] == Effect.ALLOW else KEPT_DENIES


def _literals(folded: Any) -> DayLiterals:
    whole = {(each["template"], each["slot"]) for each in folded if each["whole"]}
    return DayLiterals(whole, {(each["template"], each["slot"]) for each in folded})


def _folded_document(literals: DayLiterals) -> list[dict[str, object]]:
    slots = sorted(literals.folded | literals.partly, key=lambda slot: (slot[0] or "", slot[1]))
    return [
        {"template": template, "slot": name, "whole": (template, name) in literals.folded}
        for template, name in slots
    ]

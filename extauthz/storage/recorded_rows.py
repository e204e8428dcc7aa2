"""The rows of recorded shapes of one tenant and day, by their keys.

A key is a hash of the context and the slots, so that equal shapes have one row. Callers hold the lock of the
day (`storage.recordings`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from extauthz.recording.tally import Tally, read_tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from extauthz.storage.pool import Connection

Fold = Callable[[int, Sequence[str]], tuple[str, ...]]
"""Returns the texts of a shape's slots, some of them folded: its context, its texts."""


@dataclass(slots=True)
class ShapeRow:
    """One shape: its context, the texts of its slots, its counts."""

    context: int
    slots: tuple[str, ...]
    tally: Tally

    @property
    def key(self) -> int:
        """The key of the row: two of a day's 200,000 shapes have the same one once in a billion days."""
        text = f"{self.context}\n{self.text}".encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)

    @property
    def text(self) -> str:
        """The slots as they are stored, a line for each."""
        return "\n".join(self.slots)


class Refolded(NamedTuple):
    """The last sequence number that was given, and how many rows fewer there are."""

    last_seq: int
    fewer: int


def add_row(rows: dict[int, ShapeRow], row: ShapeRow, kept: int) -> None:
    """Add a row to others by its key; equal ones are added up, with the `kept` latest decisions."""
    key = row.key
    known = rows.get(key)
    if known is None:
        rows[key] = row
    else:
        known.tally = known.tally.plus(row.tally, kept=kept)


class StoredRows:
    """The rows in the database."""

    def __init__(self, connection: Connection, tenant: str, day: date) -> None:
        """Take a transaction of the tenant."""
        self._connection = connection
        self._where = (tenant, day)

    async def tallies(self, keys: Iterable[int]) -> dict[int, Tally]:
        """Return the counts of those keys that have a row."""
        records = await self._connection.fetch(
            "SELECT key, counts, decisions FROM recorded_shapes"
            " WHERE tenant_id = $1 AND day = $2 AND key = ANY($3::bigint[])",
            *self._where,
            list(keys),
        )
        return {record["key"]: read_tally(record["counts"], record["decisions"]) for record in records}

    async def of_contexts(self, contexts: Sequence[int]) -> Sequence[Any]:
        """Return the rows of these contexts."""
        found: Sequence[Any] = await self._connection.fetch(
            "SELECT key, context, slots, counts, decisions FROM recorded_shapes"
            " WHERE tenant_id = $1 AND day = $2 AND context = ANY($3::int[])",
            *self._where,
            contexts,
        )
        return found

    async def with_text(self, text: str) -> Sequence[Any]:
        """Return the rows in which a slot has this text."""
        found: Sequence[Any] = await self._connection.fetch(
            "SELECT key, context, slots, counts, decisions FROM recorded_shapes"
            " WHERE tenant_id = $1 AND day = $2"
            " AND position(E'\\n' || $3 || E'\\n' IN E'\\n' || slots || E'\\n') > 0",
            *self._where,
            text,
        )
        return found

    async def put(self, rows: Mapping[int, ShapeRow], sequence: Sequence[int]) -> None:
        """Write rows; a row that exists keeps its sequence number."""
        await self._connection.execute(
            "INSERT INTO recorded_shapes (day, tenant_id, seq, context, key, slots, counts, decisions)"
            " SELECT $2, $1, r.* FROM unnest($3::int[], $4::int[], $5::bigint[], $6::text[], $7::bytea[],"
            " $8::bytea[]) AS r (seq, context, key, slots, counts, decisions)"
            " ON CONFLICT (day, tenant_id, key) DO UPDATE"
            " SET counts = excluded.counts, decisions = excluded.decisions",
            *self._where,
            list(sequence),
            [row.context for row in rows.values()],
            list(rows),
            [row.text for row in rows.values()],
            [row.tally.counts_octets() for row in rows.values()],
            [row.tally.decisions_octets() for row in rows.values()],
        )

    async def refold(
        self, records: Sequence[Any], fold: Fold, kept: Mapping[int, int], last_seq: int
    ) -> Refolded:
        """Fold slots of rows, and add up those that become equal; `kept` is by context, see `add_row`."""
        removed: list[int] = []
        rows: dict[int, ShapeRow] = {}
        balance: dict[int, int] = {}
        for record in records:
            context, before = record["context"], record["slots"].split("\n")
            slots = fold(context, before)
            if list(slots) == before:
                continue
            removed.append(record["key"])
            balance[context] = balance.get(context, 0) - 1
            tally = read_tally(record["counts"], record["decisions"])
            add_row(rows, ShapeRow(context, slots, tally), kept[context])
        await self._connection.execute(
            "DELETE FROM recorded_shapes WHERE tenant_id = $1 AND day = $2 AND key = ANY($3::bigint[])",
            *self._where,
            removed,
        )
        stored = await self.tallies(rows)
        sequence: list[int] = []
        for key, row in rows.items():
            if key in stored:
                row.tally = stored[key].plus(row.tally, kept=kept[row.context])
            else:
                balance[row.context] += 1
                last_seq += 1
            sequence.append(last_seq)
        await self.put(rows, sequence)
        await self._connection.execute(
            "UPDATE recorded_contexts AS c SET shapes = c.shapes + r.shapes"
            " FROM unnest($3::int[], $4::int[]) AS r (id, shapes)"
            " WHERE c.tenant_id = $1 AND c.day = $2 AND c.id = r.id",
            *self._where,
            list(balance),
            list(balance.values()),
        )
        return Refolded(last_seq, -sum(balance.values()))


async def forget_recordings(connection: Connection, tenant: str) -> None:
    """Delete all recordings of a tenant, day by day, because each statement has a timeout."""
    days = await connection.fetch(
        "SELECT day FROM recording_days WHERE tenant_id = $1 ORDER BY day FOR UPDATE", tenant
    )
    for table in ("recorded_shapes", "recorded_contexts", "recording_days"):
        for day in days:
            await connection.execute(
                f"DELETE FROM {table} WHERE tenant_id = $1 AND day = $2",  # noqa: S608
                tenant,
                day["day"],
            )
    await connection.execute("DELETE FROM recording_senders WHERE tenant_id = $1", tenant)

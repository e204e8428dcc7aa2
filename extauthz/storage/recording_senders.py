"""What each sender of shapes has sent: a batch that is sent again is not counted again.

Of each sender the highest number of a batch is kept, and which of those directly below it have come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.recording.documents import Counted
    from extauthz.storage.pool import Connection

_WINDOW: Final = 63
"""Numbers below the highest of which it is known whether they have come."""


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The counts of one batch for one tenant. `number` is the batch's, of the sender `instance`."""

    instance: str
    number: int
    counted: Sequence[Counted]


async def first_time(connection: Connection, tenant: str, parts: Sequence[BatchPart]) -> list[BatchPart]:
    """Return the parts of batches that have not counted yet, and note that they have."""
    records = await connection.fetch(
        "SELECT instance::text, highest, seen FROM recording_senders"
        " WHERE tenant_id = $1 AND instance = ANY($2::uuid[]) ORDER BY instance FOR UPDATE",
        tenant,
        sorted({part.instance for part in parts}),
    )
    known = {record["instance"]: (record["highest"], record["seen"]) for record in records}
    new: list[BatchPart] = []
    for part in sorted(parts, key=lambda part: (part.instance, part.number)):
        found = _counted_in(*known.get(part.instance, (0, 0)), part.number)
        if found is not None:
            known[part.instance] = found
            new.append(part)
    if new:
        await connection.execute(
            "INSERT INTO recording_senders AS s (tenant_id, instance, highest, seen)"
            " SELECT $1, r.instance, r.highest, r.seen"
            " FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS r (instance, highest, seen)"
            " ON CONFLICT (tenant_id, instance) DO UPDATE"
            " SET highest = excluded.highest, seen = excluded.seen, at = now()",
            tenant,
            list(known),
            [highest for highest, _ in known.values()],
            [seen for _, seen in known.values()],
        )
    return new


def _counted_in(highest: int, seen: int, number: int) -> tuple[int, int] | None:
    """Return the window of numbers with one more; None: it has the number, or the number is too old.

    Bit n of `seen` is the number `highest - 1 - n`.
    """
    if number > highest:
        shift = number - highest
        before = (seen << 1 | (highest > 0)) << (shift - 1) if shift <= _WINDOW else 0
        return number, before & (1 << _WINDOW) - 1
    back = highest - 1 - number
    if back < 0 or back >= _WINDOW or seen >> back & 1:
        return None
    return highest, seen | 1 << back

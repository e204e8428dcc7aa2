"""The table of faults: what was injected, how many requests were answered how, and how long recovery took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.faults.oracle import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.load import Tally


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. Counts are requests; `recovered_s` is from the end of the fault to only right answers."""

    fault: str
    requests: int
    right: int
    unavailable: int
    wrong_allow: int
    wrong_deny: int
    recovered_s: float

    @classmethod
    def counted(cls, fault: str, tallies: Sequence[Tally], recovered_s: float) -> Self:
        """Add up the phases of a fault."""
        counts = {verdict: sum(tally.verdicts[verdict] for tally in tallies) for verdict in Verdict}
        return cls(
            fault,
            sum(counts.values()),
            counts[Verdict.RIGHT],
            counts[Verdict.UNAVAILABLE],
            counts[Verdict.WRONG_ALLOW],
            counts[Verdict.WRONG_DENY],
            round(recovered_s, 2),
        )

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` returned."""
        return cls(**document)

    def document(self) -> dict[str, Any]:
        """Return the row as JSON can hold it."""
        return asdict(self)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text, with their sum."""
    names = ("fault", "requests", "right", "503", "wrong allow", "wrong deny", "recovered s")
    lines = [names, *(tuple(str(value) for value in row.document().values()) for row in rows)]
    counts = [
        sum(column) for column in zip(*(list(row.document().values())[1:6] for row in rows), strict=True)
    ]
    lines.append(("all", *map(str, counts), ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )

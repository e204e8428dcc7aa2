"""Rows that COPY sends become the documents that a query returns."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from extauthz.storage.copied_rows import BYTES_AT_ONCE, CopiedRows

ESCAPES = {"\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
TEXTS = ["", "a", "caf\u00e9", "\u20ac" * 40, "N", "\\N", "\\", "a\tb", "a\nb", "\r", "\b\f\v", "\\n", None]


def copied(rows: Sequence[Sequence[str | None]]) -> bytes:
    """Return rows in the text format, as PostgreSQL writes it."""
    lines = (
        "\t".join(r"\N" if field is None else "".join(ESCAPES.get(c, c) for c in field) for field in row)
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines).encode()


def taken(octets: Sequence[bytes]) -> CopiedRows:
    rows = CopiedRows(("id", "name"))
    for each in octets:
        asyncio.run(rows.take(each))
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_the_same_wherever_their_bytes_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    written = [(f"r{number}", rng.choice(TEXTS)) for number in range(rng.randrange(3_000))]
    octets = copied(written)
    cuts = sorted(rng.randrange(len(octets) + 1) for _ in range(rng.randrange(9)))
    parts = [octets[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    rows = taken(parts)
    assert list(rows) == [{"id": row_id, "name": name} for row_id, name in written]
    assert len(rows) == len(written)


def test_rows_are_split_in_steps_of_a_bounded_size() -> None:
    written = [(f"r{number}", "x" * 50) for number in range(20_000)]
    rows = taken([copied(written)])
    assert len(rows) == 20_000
    longest = max(len(copied([*zip(*part, strict=True)])) for part in rows.parts())
    assert longest <= BYTES_AT_ONCE + 60


def test_a_text_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        list(taken([b"r\t\xff\n"]))


def test_the_last_row_is_known_by_its_id() -> None:
    rows = taken([copied([("a", "1"), ("b", "2")])])
    assert (rows.last("id"), rows.last("name")) == ("b", "2")

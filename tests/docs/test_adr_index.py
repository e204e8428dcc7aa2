"""The index of the decision records."""

import re
from pathlib import Path
from typing import Final

ADRS: Final = Path(__file__).parents[2] / "docs" / "adr"
RECORDS: Final = sorted(ADRS.glob("[0-9]*.md"))
UNUSED: Final = {7, 8, 9, 26, 27}

_ROW: Final = re.compile(r"\| \[([0-9]+)\]\(([^)]+)\) \| (.*) \|")
_TITLE: Final = re.compile(r"# ([0-9]+)\. (.*)")


def test_the_index_lists_every_record_under_its_title() -> None:
    lines = (ADRS / "README.md").read_text().splitlines()
    listed = [row.groups() for line in lines if (row := _ROW.fullmatch(line))]
    found = []
    for record in RECORDS:
        title = _TITLE.fullmatch(record.read_text().splitlines()[0])
        assert title is not None, record
        assert record.name.startswith(f"{int(title[1]):04d}-")
        found.append((title[1], record.name, title[2]))
    assert listed == found


def test_no_number_is_assigned_twice_or_skipped_without_a_report() -> None:
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert len(set(numbers)) == len(numbers)
    assert set(range(1, max(numbers) + 1)) - set(numbers) == UNUSED

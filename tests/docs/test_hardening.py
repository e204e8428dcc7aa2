"""The hardening checklist: every line has a place that exists and a test that exists."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from extauthz.settings import variables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "hardening.md"
SETTINGS = {variable.name for variable in variables().values()}


class Line(NamedTuple):
    what: str
    where: str
    proof: str


def lines() -> list[Line]:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [Line(*row) for row in rows if row[0] not in {"what", "---"}]


LINES = [pytest.param(line, id=line.what[:60]) for line in lines()]


def test_more_than_thirty_lines_of_hardening_are_read() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES)
def test_the_file_of_each_hardening_row_exists(line: Line) -> None:
    linked = re.findall(r"\]\(\.\./([^)]+)\)", line.where)
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", line.where))

    assert linked or named or line.where == "no setting"
    assert [file for file in linked if not (ROOT / file).is_file()] == []
    assert named <= SETTINGS


@pytest.mark.parametrize("line", LINES)
def test_the_test_of_each_hardening_row_exists(line: Line) -> None:
    file, _, name = line.proof.strip("`").partition("::")

    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), line.proof

"""Reads Casbin policy files line by line: a line is a row, a rejected row, or empty.

pycasbin drops the lines of a section that it does not know, cuts `g` lines that are too long, and raises for
the whole file where one line is short. Here a line keeps its number and its own fault, so that what it could
have meant is judged where it could have mattered.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

_SEPARATORS: Final = re.compile(r"[,\[\]()]")
_POLICY_TYPE: Final = re.compile("[pg][0-9]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its number from 1, its kind (`p`, `g`, `g2`), its fields, and why it is refused (or None)."""

    line: int
    kind: str
    fields: tuple[str, ...]
    problem: str | None = None

    @property
    def complaint(self) -> str:
        """The problem with its place."""
        return f"policy line {self.line} {self.problem}"


@dataclass(frozen=True, slots=True)
class PolicyFileInvalid:
    """Why a file as a whole is not a policy file."""

    message: str


def read_rows(policy: bytes, widths: Mapping[str, int]) -> list[Row] | PolicyFileInvalid:
    """Read a policy file; `widths` are the kinds that count, each with its number of fields.

    Lines of any other numbered kind (`p2`, `g3`) are skipped: they belong to definitions that do not decide.
    """
    try:
        text = policy.decode("utf-8")
    except UnicodeDecodeError as error:
        return PolicyFileInvalid(f"is not UTF-8 at byte {error.start}")
    return list(_counting(text, widths))


def _counting(text: str, widths: Mapping[str, int]) -> Iterator[Row]:
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        row = _read(number, line)
        if row.problem is not None:
            yield row
        elif row.kind in widths:
            yield _checked(row, widths[row.kind])


def _read(number: int, line: str) -> Row:
    """Split a line at its commas; those inside of brackets belong to the field, as for pycasbin."""
    depth = start = 0
    tokens: list[str] = []
    for found in _SEPARATORS.finditer(line):
        sign = found[0]
        if sign in "[(":
            depth += 1
        elif sign in ")]":
            depth -= 1
            if depth < 0:
                kind = line.partition(",")[0].strip()
                return Row(number, kind, (), f"closes a bracket that was not opened: {sign!r}")
        elif depth == 0:
            tokens.append(line[start : found.start()].strip())
            start = found.end()
    tokens.append(line[start:].strip())
    row = Row(number, tokens[0], tuple(tokens[1:]))
    if _POLICY_TYPE.fullmatch(row.kind) is None:
        return replace(
            row, problem=f"begins with {row.kind[:32]!r}, neither a policy (p) nor a role (g) line"
        )
    return row


def _checked(row: Row, width: int) -> Row:
    if len(row.fields) != width:
        return replace(row, problem=f"has {len(row.fields)} fields, the model has {width}")
    if "" in row.fields:
        return replace(row, problem=f"has an empty field, number {row.fields.index('') + 1}")
    return row

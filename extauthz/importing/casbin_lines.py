"""Casbin policy lines, typed by the shape of their model; what cannot be typed is named.

A line that cannot be taken is left out where it only allows. A deny line, and in a model with deny lines each
role line, restricts: nothing is imported without it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extauthz.casbin_enforce.model import PlainModel
from extauthz.casbin_enforce.policy_file import PolicyFileInvalid, Row, read_rows
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD
from extauthz.importing.casbin_shape import How, ModelShape
from extauthz.importing.outcome import Consequence, Imported, NotTaken, SourceInvalid

_OTHER_KIND: Final = re.compile(r"([pg][0-9]+)[ \t]*,", re.ASCII)
_MODEL_TALK: Final = "here '*' is the wildcard, in the model it is an ordinary name"


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One `p` line; `*` in a field is the wildcard, and stands there only where the model says so."""

    place: str
    file: str
    line: int
    text: str
    sub: str
    dom: str
    obj: str
    act: str
    denies: bool


@dataclass(frozen=True, slots=True)
class RoleLine:
    """One `g` line."""

    place: str
    file: str
    line: int
    text: str
    user: str
    role: str
    dom: str


@dataclass(slots=True)
class PolicyFileLines:
    """The lines of all policy files that count."""

    policies: list[PolicyLine]
    roles: list[RoleLine]
    has_denies: bool = False
    """Whether any deny line counts, one that could not be taken included."""
    lets_superusers_pass: bool = False
    """Whether a request that matches every line is allowed, denies aside."""


def read_lines(
    files: list[tuple[str, bytes]], model: PlainModel, shape: ModelShape, imported: Imported
) -> PolicyFileLines | SourceInvalid:
    """Type the lines of policy files, given by name; what is not taken goes into `imported`."""
    rows: list[tuple[str, Row, str]] = []
    for file, data in files:
        found = read_rows(data, model.widths)
        if isinstance(found, PolicyFileInvalid):
            return SourceInvalid(file, None, found.message)
        written = data.decode("utf-8").split("\n")
        broken = next((number for number, text in enumerate(written, 1) if "\r" in text.rstrip("\r")), None)
        if broken is not None:
            return SourceInvalid(file, broken, "holds a carriage return, which ends a line for some readers")
        rows += [(file, row, written[row.line - 1].strip()) for row in found]
        for note in _other_kinds(file, written, model):
            imported.not_taken.append(note)
    lines = PolicyFileLines([], [])
    lines.has_denies = shape.can_deny and any(_may_deny(row, shape) for _, row, _ in rows)
    own = [row for _, row, _ in rows if row.kind != "g"]
    lines.lets_superusers_pass = not own or any(_allows(row, shape) for row in own)
    for file, row, text in rows:
        reader = _LineReader(file, row, text, shape, lines, imported)
        if row.kind == "g" and row.problem is None:
            reader.role_line()
        else:
            reader.policy_line()
    return lines


def _may_deny(row: Row, shape: ModelShape) -> bool:
    if row.kind == "g" and row.problem is None:
        return False
    if row.problem is not None or any('"' in each for each in row.fields):
        return True
    return shape.eft is not None and row.fields[shape.eft] == "deny"


def _allows(row: Row, shape: ModelShape) -> bool:
    return row.problem is None and (shape.eft is None or row.fields[shape.eft] == "allow")


def _other_kinds(file: str, written: list[str], model: PlainModel) -> Iterator[NotTaken]:
    seen: dict[str, tuple[int, int]] = {}
    for number, text in enumerate(written, start=1):
        found = _OTHER_KIND.match(text.strip())
        if found is not None and found[1] not in model.widths:
            first, count = seen.get(found[1], (number, 0))
            seen[found[1]] = first, count + 1
    for kind, (first, count) in seen.items():
        yield NotTaken(
            file,
            first,
            f"{count} lines {kind}",
            "",
            f"{kind} belongs to another definition of the model than [p, g, e, m], which decides only where "
            "the application asks for it",
            f"import them with a model in which they are {kind[0]}",
            Consequence.NO_EFFECT,
        )


def _no_expression(how: How) -> str:
    return f"'*' alone is not an expression for {how}, which fails on it"


class _LineReader:
    """Types one line."""

    def __init__(
        self, file: str, row: Row, text: str, shape: ModelShape, lines: PolicyFileLines, imported: Imported
    ) -> None:
        self._file, self._row, self._text = file, row, text
        self._shape, self._lines, self._imported = shape, lines, imported

    @property
    def _place(self) -> str:
        return f"{self._file}:{self._row.line}"

    def policy_line(self) -> None:
        """Read a `p` line, or a line that is not one."""
        shape, row = self._shape, self._row
        if row.problem is not None:
            self._drop("", f"the line {row.problem}", "mend the line", may_deny=shape.can_deny)
            return
        if quoted := next((each for each in row.fields if '"' in each), None):
            self._drop(
                "",
                f"quotes in {quoted!r}: implementations of Casbin read them differently",
                "write the field without quotes",
                may_deny=shape.can_deny,
            )
            return
        effect = "allow" if shape.eft is None else row.fields[shape.eft]
        if effect not in {"allow", "deny"}:
            self._drop(
                "eft",
                f"{effect!r} is neither allow nor deny, so that Casbin ignores the line",
                "write allow or deny",
                no_effect=True,
            )
            return
        denies = effect == "deny"
        if denies and not shape.denies:
            self._drop(
                "eft",
                "the effect of the model counts allow lines only, so that Casbin ignores this deny",
                "keep the model's meaning, or import with 'some(where (p.eft == allow)) && "
                "!some(where (p.eft == deny))'",
                no_effect=True,
            )
            return
        values: dict[str, str] = {}
        for known in ("sub", "dom", "obj", "act"):
            value = self._value(known, denies=denies)
            if value is None:
                return
            values[known] = value
        self._lines.policies.append(
            PolicyLine(self._place, self._file, row.line, self._text, **values, denies=denies)
        )

    def _value(self, known: str, *, denies: bool) -> str | None:
        """Return a field with `*` for every value; None where it was dropped."""
        term = self._shape.terms.get(known)
        if term is None or known not in self._shape.columns:
            return WILDCARD
        value = self._row.fields[self._shape.columns[known]]
        if value == WILDCARD:
            if term.wildcard or term.how in {How.KEY_MATCH, How.KEY_MATCH2}:
                return WILDCARD
            # The others fail on '*' alone in pycasbin, so that Casbin allows nothing.
            talk = _MODEL_TALK if term.how in {How.EQUAL, How.ROLE} else _no_expression(term.how)
            self._drop(
                known, talk, f'begin its term with p.{known} == "*" || in the matcher', may_deny=denies
            )
            return None
        if term.how in {How.EQUAL, How.ROLE} and (problem := name_problem(value)):
            self._drop(known, f"the name {problem}", "rename it", may_deny=denies)
            return None
        return value

    def role_line(self) -> None:
        """Read a `g` line."""
        row = self._row
        restricts = self._lines.has_denies
        user, role = row.fields[0], row.fields[1]
        dom = row.fields[2] if self._shape.with_domain else WILDCARD
        if self._shape.with_domain and dom == WILDCARD:
            self._drop(
                "domain",
                f"{_MODEL_TALK} (unless the application registers a matching function, which no file shows)",
                "write the line once for each domain",
                may_deny=restricts,
            )
            return
        if WILDCARD in {user, role}:
            self._drop("", _MODEL_TALK, "name a user and a role", may_deny=restricts)
            return
        for member, value in (("user", user), ("role", role), ("domain", dom)):
            problem = name_problem(value) or ("holds quotes" if '"' in value else None)
            if problem:
                self._drop(member, f"the name {problem}", "rename it", may_deny=restricts)
                return
        if user == role:
            return
        self._lines.roles.append(RoleLine(self._place, self._file, row.line, self._text, user, role, dom))

    def _drop(
        self, member: str, reason: str, instead: str, *, may_deny: bool = False, no_effect: bool = False
    ) -> None:
        effect = (
            Consequence.NO_EFFECT
            if no_effect
            else Consequence.NOTHING_IMPORTED
            if may_deny
            else Consequence.LEFT_OUT
        )
        self._imported.not_taken.append(
            NotTaken(self._file, self._row.line, self._text, member, reason, instead, effect)
        )

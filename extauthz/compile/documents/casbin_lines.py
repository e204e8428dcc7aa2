"""Role rules and role bindings as lines of Casbin's CSV, read and written.

    p,role:finance,emea,invoice:read,read,allow         p, subject, domain, object, action, effect
    p,*,*,invoice:read,read,deny
    g,user:alice,role:finance,emea                      g, member, role, domain
    g,user:bob,role:finance,emea,2027-01-31T00:00:00Z   the same with an expiry, which Casbin itself ignores

Kinds are prefixes: a role with the name `user:x` is `role:user:x`. A deny on a name of kind `any` is four
lines, `role:`, `user:`, `service:` and `workload:`. Lines end in CRLF and are quoted as in RFC 4180; LF,
white space after a comma, blank lines and comments (`#`) are read, too, as Casbin's own adapters do.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from extauthz.compile.documents.policy_documents import Reading, parse_role_binding, parse_role_rule
from extauthz.compile.roles.role_index import rule_subjects
from extauthz.domain.policy import WILDCARD, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.domain.time_text import rfc3339

CasbinLine = tuple[str, ...]
READING: Final = Reading(assigned_id="-")
"""Lines have no ids."""
_RULE_MEMBERS: Final = ("sub", "dom", "obj", "act", "effect")
_BINDING_MEMBERS: Final = ("user", "role", "dom", "expires_at")
_RULE_KINDS: Final = (SubjectKind.ROLE, SubjectKind.USER, SubjectKind.SERVICE, SubjectKind.WORKLOAD)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line: its number from 1, its fields in canonical spelling, and its rule or binding."""

    number: int
    fields: CasbinLine
    entity: RoleRule | RoleBinding


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line, the first being 1."""

    line: int
    message: str


def rule_lines(rule: RoleRule) -> Iterator[CasbinLine]:
    """Yield the lines of a role rule: one, or four for a name of kind `any`."""
    for subject in rule_subjects(rule):
        yield ("p", subject, rule.dom, rule.obj, rule.act, rule.effect.value)


def binding_line(binding: RoleBinding) -> CasbinLine:
    """Return the line of a binding."""
    line = ("g", f"{binding.user_kind.value}:{binding.user}", f"role:{binding.role}", binding.dom)
    if binding.expires_at is None:
        return line
    return (*line, rfc3339(datetime.fromtimestamp(binding.expires_at, UTC)))


class _Written(list[str]):
    write = list.append


def to_csv(lines: Iterable[CasbinLine]) -> str:
    """Return lines as CSV, each once."""
    written = _Written()
    csv.writer(written, lineterminator="\r\n").writerows(dict.fromkeys(lines))
    return "".join(written)


def read_csv(text: str) -> tuple[list[ReadLine], list[LineProblem]]:
    """Read CSV; an invalid line is a problem. Names have no line ends, so no record spans two lines."""
    found: list[ReadLine] = []
    problems: list[LineProblem] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        outcome = _read_line(line)
        if isinstance(outcome, str):
            problems.append(LineProblem(number, outcome))
        else:
            found.append(ReadLine(number, *outcome))
    return found, problems


def _read_line(line: str) -> tuple[CasbinLine, RoleRule | RoleBinding] | str:
    if "\r" in line:
        return "has a carriage return in it"
    try:
        [fields] = csv.reader([line.lstrip(" \t")], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        return "is not CSV: a quote is not closed, or stands inside a field"
    problems: list[Problem] = []
    kind, *values = (field.strip(" \t") for field in fields)
    match kind:
        case "p" if len(values) == len(_RULE_MEMBERS):
            document = _rule(values, problems)
            rule = None if problems else parse_role_rule(document, "", problems, READING)
            if rule is not None:
                return next(iter(rule_lines(rule))), rule
        case "g" if len(values) in {len(_BINDING_MEMBERS) - 1, len(_BINDING_MEMBERS)}:
            document = _binding(values, problems)
            binding = None if problems else parse_role_binding(document, "", problems, READING)
            if binding is not None:
                return binding_line(binding), binding
        case "p" | "g":
            members = "subject, domain, object, action, effect" if kind == "p" else "member, role, domain"
            return f"has {len(values)} fields after {kind!r}; needed are {members}"
        case _:
            return f"begins with {kind[:20]!a}; lines begin with 'p' or 'g'"
    return "; ".join(f"{problem.pointer.removeprefix('/')} {problem.message}".strip() for problem in problems)


def _rule(values: list[str], problems: list[Problem]) -> dict[str, object]:
    document: dict[str, object] = dict(zip(_RULE_MEMBERS, values, strict=True))
    if values[0] != WILDCARD:
        kind, document["sub"] = _parted(values[0], _RULE_KINDS, "sub", problems)
        document["sub_kind"] = kind
    return document


def _binding(values: list[str], problems: list[Problem]) -> dict[str, object]:
    document: dict[str, object] = dict(zip(_BINDING_MEMBERS, values, strict=False))
    document["user_kind"], document["user"] = _parted(values[0], _RULE_KINDS, "member", problems)
    _, document["role"] = _parted(values[1], (SubjectKind.ROLE,), "role", problems)
    return document


def _parted(
    value: str, kinds: tuple[SubjectKind, ...], member: str, problems: list[Problem]
) -> tuple[str, str]:
    kind, colon, name = value.partition(":")
    if not colon or kind not in kinds:
        wanted = " or ".join(f"'{each.value}:'" for each in kinds)
        problems.append(
            Problem(f"/{member}", f"found {value[:60]!a}, a name that begins with {wanted} is needed")
        )
    return kind, name

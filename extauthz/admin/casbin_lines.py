"""Role rules and bindings as lines of Casbin's CSV, and back (docs/reference/policy-language.md#the-model).

    p,role:finance,emea,invoice:read,read,allow         p, subject, domain, object, action, effect
    p,*,*,invoice:read,read,deny
    g,user:alice,role:finance,emea                      g, member, role, domain
    g,user:bob,role:finance,emea,2027-01-31T00:00:00Z   ... until then; Casbin itself ignores the field

Kinds are prefixes: a role that is called `user:x` is `role:user:x`. A deny on a name of kind `any` is three
lines, `role:`, `user:` and `service:`. Lines end in CRLF and quote as in RFC 4180; read are LF too, white
space after a comma, blank lines, and comments (`#`), as Casbin's own adapters do.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from extauthz.admin.problems import LineProblem
from extauthz.compile.documents import Reading, parse_role_binding, parse_role_rule
from extauthz.compile.roles import rule_subjects
from extauthz.domain.policy import WILDCARD, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.storage.rows import Document, rfc3339

MEDIA_TYPE: Final = "text/csv"
Line = tuple[str, ...]

_RULE: Final = ("sub", "dom", "obj", "act", "effect")
_BINDING: Final = ("user", "role", "dom", "expires_at")
_RULE_KINDS: Final = (SubjectKind.ROLE, SubjectKind.USER, SubjectKind.SERVICE)
_READING: Final = Reading(assigned_id="-")


@dataclass(frozen=True, slots=True)
class ReadLine:
    """One line: its number from 1, its fields in their one spelling, and the document it stands for."""

    number: int
    fields: Line
    document: Document


def rule_lines(rule: RoleRule) -> Iterator[Line]:
    """Yield the lines of a role rule: one, or three for a name of kind `any`."""
    for subject in rule_subjects(rule):
        yield ("p", subject, rule.dom, rule.obj, rule.act, rule.effect.value)


def binding_line(binding: RoleBinding) -> Line:
    """Return the line of a binding."""
    line = ("g", f"{binding.user_kind.value}:{binding.user}", f"role:{binding.role}", binding.dom)
    if binding.expires_at is None:
        return line
    return (*line, rfc3339(datetime.fromtimestamp(binding.expires_at, UTC)))


def written(lines: Iterable[Line]) -> str:
    """Return lines as CSV, each once."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(dict.fromkeys(lines))
    return text.getvalue()


def read(text: str) -> tuple[list[ReadLine], list[LineProblem]]:
    """Read CSV; every line that is none is a problem. Names hold no line ends, so no record spans two."""
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


def _read_line(line: str) -> tuple[Line, Document] | str:
    if "\r" in line:
        return "has a carriage return in it"
    try:
        [fields] = csv.reader([line.lstrip(" \t")], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        return "is not CSV: a quote is not closed, or stands inside a field"
    problems: list[Problem] = []
    kind, *values = (field.strip(" \t") for field in fields)
    match kind:
        case "p" if len(values) == len(_RULE):
            document = _rule(values, problems)
            rule = None if problems else parse_role_rule(document, "", problems, _READING)
            if rule is not None:
                return next(iter(rule_lines(rule))), document
        case "g" if len(values) in {len(_BINDING) - 1, len(_BINDING)}:
            document = _binding(values, problems)
            binding = None if problems else parse_role_binding(document, "", problems, _READING)
            if binding is not None:
                return binding_line(binding), document
        case "p" | "g":
            members = "subject, domain, object, action, effect" if kind == "p" else "member, role, domain"
            return f"has {len(values)} fields after {kind!r}; needed are {members}"
        case _:
            return f"begins with {kind[:20]!a}; lines begin with 'p' or 'g'"
    return "; ".join(f"{problem.pointer.removeprefix('/')} {problem.message}".strip() for problem in problems)


def _rule(values: list[str], problems: list[Problem]) -> Document:
    document: Document = dict(zip(_RULE, values, strict=True))
    if values[0] != WILDCARD:
        kind, document["sub"] = _parted(values[0], _RULE_KINDS, "sub", problems)
        document["sub_kind"] = kind
    return document


def _binding(values: list[str], problems: list[Problem]) -> Document:
    document: Document = dict(zip(_BINDING, values, strict=False))
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

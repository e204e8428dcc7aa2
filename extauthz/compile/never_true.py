"""Conditions that no request can make true: accepted, with a warning that says why and what to write.

What is judged is one comparison by itself, and the comparisons of one AND together. A comparison of types
that never meet is unknown for every request (docs/reference/policy-language.md#operators): an allow does
not match by it, a deny always does.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from extauthz.compile.fields import shown
from extauthz.compile.values import Kind, kind_of, parse_time
from extauthz.domain.host import canonical_host
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import All, AnyOf, AttributeName, Condition, Node, Not
from extauthz.domain.principal import PrincipalKind

_TEXTS: Final = frozenset({"contains", "startsWith", "endsWith", "matches"})
_ORDERS: Final = frozenset({"gt", "gte", "lt", "lte"})
_NEGATIVE: Final = frozenset({"neq", "notIn"})
_CHOICES: Final = frozenset({"eq", "in"})
_JSON: Final = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN, Kind.LIST})
_FIXED: Final = {
    "user.roles": Kind.LIST,
    "request.source.address": Kind.ADDRESS,
    "env.time": Kind.TIME,
    "env.hour": Kind.NUMBER,
    "env.weekday": Kind.NUMBER,
} | dict.fromkeys(
    (
        *("user.id", "user.kind", "user.domain", "user.tenant"),
        *("resource.name", "resource.service", "action"),
        *("request.method", "request.host", "request.path", "request.source.principal"),
    ),
    Kind.TEXT,
)
_NUMBERS: Final = {"env.hour": (range(24), "0 to 23"), "env.weekday": (range(1, 8), "1 (Monday) to 7")}
_ALWAYS_THERE: Final = frozenset(
    {"user.kind", "user.roles", "resource.name", "action", "env.time", "env.hour", "env.weekday"}
)
_OUTSIDE_PATHS: Final = frozenset("?#\\ \t\r\n")
Found = tuple[str, str]
"""A place in the conditions, and what is wrong there."""


def never_true(node: Node, pointer: str = "/rule_data") -> Iterator[Found]:
    """Yield each comparison that is never true, with the reason and what is right."""
    match node:
        case Condition():
            if problem := _problem(node):
                yield f"{pointer}/value", f"{_shown(node)} is never true: {problem}"
        case Not(condition):
            yield from never_true(condition, f"{pointer}/condition")
        case All(conditions):
            yield from _contradictions(conditions, pointer)
            for position, each in enumerate(conditions):
                yield from never_true(each, f"{pointer}/conditions/{position}")
        case AnyOf(conditions):
            for position, each in enumerate(conditions):
                yield from never_true(each, f"{pointer}/conditions/{position}")
        case _:
            return


def _shown(condition: Condition) -> str:
    value = condition.value
    if isinstance(value, AttributeName):
        return f"{condition.attribute} {condition.operator} {value.name}"
    quoted = f"[{', '.join(map(shown, value))[:60]}]" if isinstance(value, tuple) else shown(value)
    return f"{condition.attribute} {condition.operator} {quoted}"


def _problem(condition: Condition) -> str | None:
    if condition.operator == "exists":
        if condition.value is False and condition.attribute in _ALWAYS_THERE:
            return f"{condition.attribute} is always there"
        return None
    if condition.operator in _NEGATIVE and _is_definite(condition):
        # Without the attribute it is true.
        return None
    return _type_problem(condition) or _value_problem(condition)


def _is_definite(condition: Condition) -> bool:
    names = [condition.attribute]
    if isinstance(condition.value, AttributeName):
        names.append(condition.value.name)
    fixed = ("resource.name", "resource.service")
    return any(
        name.startswith(("request.query.", "request.headers."))
        or (name.startswith("resource.") and name not in fixed)
        for name in names
    )


def _kinds(attribute: str) -> frozenset[Kind]:
    """Return the types that an attribute can have; parameters have those of JSON in `POST /api/v1/check`."""
    if (kind := _FIXED.get(attribute)) is not None:
        return frozenset({kind})
    if attribute.startswith(("request.query.", "request.headers.")):
        return frozenset({Kind.TEXT})
    return _JSON


def _literal_kind(condition: Condition, entry: object) -> Kind | None:
    if isinstance(entry, str):
        if condition.operator in _ORDERS or condition.attribute == "env.time":
            return Kind.TIME
        if condition.operator == "cidr" or condition.attribute == "request.source.address":
            return Kind.ADDRESS
    return kind_of(entry)


def _type_problem(condition: Condition) -> str | None:
    attribute, operator, value = condition.attribute, condition.operator, condition.value
    own = _kinds(attribute)
    if operator in {"has", "hasAny", "hasAll"}:
        if Kind.LIST not in own:
            return f"{attribute} is a {_names(own)} and no list; use 'eq', 'in' or 'contains'"
        entries = value if isinstance(value, tuple) else (value,)
        if attribute == "user.roles" and not any(isinstance(each, str | AttributeName) for each in entries):
            return "roles are strings"
        return None
    if operator in _TEXTS:
        needed = frozenset({Kind.TEXT})
    elif operator == "cidr":
        needed = frozenset({Kind.ADDRESS})
    elif isinstance(value, AttributeName):
        other = _kinds(value.name)
        if operator in {"in", "notIn"}:
            return None if Kind.LIST in other else f"{value.name} is a {_names(other)} and no list"
        needed = other & {Kind.NUMBER, Kind.TIME} if operator in _ORDERS else other
        if not own & needed:
            return f"{attribute} is a {_names(own)}, {value.name} a {_names(other)}"
        return None
    else:
        listed = value if isinstance(value, tuple) and operator in {"in", "notIn"} else (value,)
        needed = frozenset(kind for each in listed if (kind := _literal_kind(condition, each)) is not None)
    return None if own & needed else _mismatch(attribute, own, needed)


def _mismatch(attribute: str, own: frozenset[Kind], needed: frozenset[Kind]) -> str:
    if attribute == "user.roles":
        return "user.roles is a list; use 'has' or 'hasAny'"
    if Kind.ADDRESS in needed:
        return f"{attribute} is never an address; only request.source.address is one"
    if Kind.TIME in needed:
        return (
            f"{attribute} is a {_names(own)}, and a string is no time; write the time as a number of seconds "
            "and compare numbers, or compare env.time"
        )
    return f"{attribute} is a {_names(own)}, and is compared with a {_names(needed)}"


def _names(kinds: frozenset[Kind]) -> str:
    return " or ".join(kind.value for kind in Kind if kind in kinds)


def _value_problem(condition: Condition) -> str | None:
    attribute, operator, value = condition.attribute, condition.operator, condition.value
    if isinstance(value, AttributeName):
        return None
    if attribute in _NUMBERS:
        numbers, described = _NUMBERS[attribute]
        if any(_holds(operator, number, value) for number in numbers):
            return None
        return f"{attribute} is an integer from {described}"
    texts = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)]
    if not texts or operator in _NEGATIVE:
        return None
    problems = [_text_problem(attribute, operator, text) for text in texts]
    return problems[0] if all(problems) else None


def _holds(operator: str, number: int, value: object) -> bool:
    entries = value if isinstance(value, tuple) else (value,)
    match operator:
        case "eq" | "in":
            return number in entries
        case "neq" | "notIn":
            return number not in entries
        case _ if isinstance(value, int | Decimal):
            outcomes = {
                "gt": number > value,
                "gte": number >= value,
                "lt": number < value,
                "lte": number <= value,
            }
            return outcomes.get(operator, True)
        case _:
            return True


def _text_problem(attribute: str, operator: str, text: str) -> str | None:
    whole, part = operator in _CHOICES, operator in {"contains", "startsWith", "endsWith"}
    match attribute:
        case "user.kind" if whole and text not in list(PrincipalKind):
            return f"it is one of {', '.join(PrincipalKind)}"
        case "user.domain" if whole and text == "*":
            return "no principal has the domain '*'; leave the condition out to mean every domain"
        case "request.method" if whole and text == "HEAD":
            return "HEAD is decided as GET; write 'GET'"
        case "request.method" if (whole or part) and text != text.upper():
            return f"methods are upper-case; write {shown(text.upper())}"
        case "request.host" if whole and canonical_host(text) != text:
            return _canonical_host(text)
        case "request.host" if part and text != text.lower():
            return f"hosts are lower-case; write {shown(text.lower())}"
        case "request.path" if whole:
            return _path_problem(text)
        case "request.path" if operator == "startsWith" and text and not text.startswith("/"):
            return f"paths start with '/'; write {shown('/' + text)}"
        case "request.path" if part and not _OUTSIDE_PATHS.isdisjoint(text):
            return "a path has no query, fragment, backslash or blank; use request.query.<name>"
        case _:
            return None


def _canonical_host(text: str) -> str:
    found = canonical_host(text)
    if isinstance(found, str):
        return f"hosts are canonical, without a port; write {shown(found)}"
    return "no request has this host"


def _path_problem(text: str) -> str | None:
    path = CanonicalPath.parse(text)
    if not isinstance(path, CanonicalPath):
        return "no request has this path"
    return None if path.text == text else f"paths are canonical; write {shown(path.text)}"


def _contradictions(conditions: Sequence[Node], pointer: str) -> Iterator[Found]:
    """Yield the comparisons of an AND that exclude one before them, on the same attribute."""
    choices: dict[str, set[tuple[object, object]]] = {}
    bounds: dict[tuple[str, bool], _Bound] = {}
    for position, each in enumerate(conditions):
        if not isinstance(each, Condition) or isinstance(each.value, AttributeName):
            continue
        place, attribute = f"{pointer}/conditions/{position}/value", each.attribute
        if each.operator in _CHOICES:
            listed = each.value if each.operator == "in" and isinstance(each.value, tuple) else (each.value,)
            wanted: set[tuple[object, object]] = {(kind_of(entry), entry) for entry in listed}
            both = choices.get(attribute, wanted) & wanted
            if not both:
                yield place, f"{_shown(each)} excludes another condition of this AND; use OR, or 'in'"
            choices[attribute] = both or wanted
        elif each.operator in _ORDERS and (bound := _bound(each)) is not None:
            is_lower = each.operator in {"gt", "gte"}
            known = bounds.get((attribute, is_lower), bound)
            tighter = max if is_lower else min
            bounds[attribute, is_lower] = tighter(known, bound) if _comparable(known, bound) else bound
            lowest, highest = bounds.get((attribute, True)), bounds.get((attribute, False))
            if lowest and highest and _comparable(lowest, highest) and lowest > highest:
                yield place, f"{_shown(each)} excludes another condition of this AND; use OR"
                del bounds[attribute, is_lower]


_Bound = tuple[Any, int]
"""A time or a number, and 0 where it is within the bound itself, else 1 (lower bound) or -1 (upper bound)."""


def _bound(condition: Condition) -> _Bound | None:
    value = condition.value
    strict = {"gt": 1, "lt": -1}.get(condition.operator, 0)
    if isinstance(value, str):
        moment = parse_time(value)
        return None if moment is None else (moment, strict)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return value, strict


def _comparable(one: _Bound, other: _Bound) -> bool:
    return isinstance(one[0], datetime) is isinstance(other[0], datetime)

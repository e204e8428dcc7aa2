"""Conditions that no request can make true: accepted, with a warning that says why and what to write.

What is judged is one comparison by itself, and the comparisons of one AND together. A comparison of types
that never meet is unknown for every request (docs/reference/policy-language.md#operators): an allow does
not match by it, a deny always does.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from extauthz.compile.conditions.attribute_names import attribute_named
from extauthz.compile.conditions.attributes import Attribute, WhenAbsent
from extauthz.compile.conditions.operators import OPERATORS, Bound, Operator
from extauthz.compile.conditions.values import Kind, kind_of
from extauthz.compile.fields import shown
from extauthz.domain.host import canonical_host
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import All, AnyOf, AttributeName, Condition, Node, Not
from extauthz.domain.principal import PrincipalKind
from extauthz.domain.time_text import parse_time

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
    operator = OPERATORS[condition.operator]
    if operator.reads_presence:
        never_absent = attribute_named(condition.attribute).absent is WhenAbsent.NEVER
        return f"{condition.attribute} is always there" if condition.value is False and never_absent else None
    if operator.is_negative and _can_be_absent(condition):
        # Without the attribute it is true.
        return None
    return _type_problem(condition) or _value_problem(condition)


def _can_be_absent(condition: Condition) -> bool:
    """Tell whether absence of an operand is definite, in a deny at least."""
    names = [condition.attribute]
    if isinstance(condition.value, AttributeName):
        names.append(condition.value.name)
    definite = {WhenAbsent.DEFINITE, WhenAbsent.DEFINITE_IN_DENY}
    return any(attribute_named(name).absent in definite for name in names)


def _literal_kind(operator: Operator, attribute: Attribute, entry: object) -> Kind | None:
    if isinstance(entry, str):
        if operator.bound is not None:
            return Kind.TIME
        if attribute.read_text is not None:
            return next(iter(attribute.kinds))
    return kind_of(entry)


def _type_problem(condition: Condition) -> str | None:
    name, value = condition.attribute, condition.value
    operator, attribute = OPERATORS[condition.operator], attribute_named(name)
    own = attribute.kinds
    if operator.is_of_lists:
        if Kind.LIST not in own:
            return f"{name} is a {_names(own)}, not a list; use 'eq', 'in' or 'contains'"
        entries = value if isinstance(value, tuple) else (value,)
        if name == "user.roles" and not any(isinstance(each, str | AttributeName) for each in entries):
            return "roles are strings"
        return None
    if operator.kinds is not None and operator.bound is None:
        needed = operator.kinds
    elif isinstance(value, AttributeName):
        other = attribute_named(value.name).kinds
        if operator.takes_list:
            return None if Kind.LIST in other else f"{value.name} is a {_names(other)}, not a list"
        needed = other if operator.kinds is None else other & operator.kinds
        if not own & needed:
            return f"{name} is a {_names(own)}, {value.name} a {_names(other)}"
        return None
    else:
        listed = value if isinstance(value, tuple) and operator.takes_list else (value,)
        kinds = (_literal_kind(operator, attribute, each) for each in listed)
        needed = frozenset(kind for kind in kinds if kind is not None)
    return None if own & needed else _mismatch(name, own, needed)


def _mismatch(attribute: str, own: frozenset[Kind], needed: frozenset[Kind]) -> str:
    if attribute == "user.roles":
        return "user.roles is a list; use 'has' or 'hasAny'"
    if Kind.ADDRESS in needed:
        return (
            f"{attribute} is never an address; read it as one ('as': 'ip'), only request.source.address is "
            "one by itself"
        )
    if Kind.TIME in needed:
        return (
            f"{attribute} is a {_names(own)}, and a string is not a time; read it as one ('as': 'time'), or "
            "compare env.time"
        )
    return f"{attribute} is a {_names(own)}, and is compared with a {_names(needed)}"


def _names(kinds: frozenset[Kind]) -> str:
    return " or ".join(kind.value for kind in Kind if kind in kinds)


def _value_problem(condition: Condition) -> str | None:
    name, value = condition.attribute, condition.value
    operator, attribute = OPERATORS[condition.operator], attribute_named(name)
    if isinstance(value, AttributeName):
        return None
    if attribute.integers is not None:
        holds = operator.test(attribute, value)
        if any(holds(number) is not False for number in attribute.integers):
            return None
        return f"{name} is an integer from {attribute.integers_described}"
    texts = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)]
    if not texts or operator.is_negative:
        return None
    problems = [_text_problem(name, operator, text) for text in texts]
    return problems[0] if all(problems) else None


def _text_problem(attribute: str, operator: Operator, text: str) -> str | None:
    whole, part = operator.is_choice, operator.is_part_of_text
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
        case "request.path" if operator.name == "startsWith" and text and not text.startswith("/"):
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
        place, attribute, operator = (
            f"{pointer}/conditions/{position}/value",
            each.attribute,
            OPERATORS[each.operator],
        )
        if operator.is_choice:
            listed = each.value if operator.takes_list and isinstance(each.value, tuple) else (each.value,)
            wanted: set[tuple[object, object]] = {(kind_of(entry), entry) for entry in listed}
            both = choices.get(attribute, wanted) & wanted
            if not both:
                yield place, f"{_shown(each)} excludes another condition of this AND; use OR, or 'in'"
            choices[attribute] = both or wanted
        elif operator.bound is not None and (bound := _bound(operator.bound, each.value)) is not None:
            is_lower = operator.bound.is_lower
            known = bounds.get((attribute, is_lower), bound)
            tighter = max if is_lower else min
            bounds[attribute, is_lower] = tighter(known, bound) if _comparable(known, bound) else bound
            lowest, highest = bounds.get((attribute, True)), bounds.get((attribute, False))
            if lowest and highest and _comparable(lowest, highest) and lowest > highest:
                yield place, f"{_shown(each)} excludes another condition of this AND; use OR"
                del bounds[attribute, is_lower]


_Bound = tuple[Any, int]
"""A time or a number, and 0 where it is within the bound itself, else 1 (lower bound) or -1 (upper bound)."""


def _bound(of: Bound, value: object) -> _Bound | None:
    strict = 0 if not of.is_strict else 1 if of.is_lower else -1
    if isinstance(value, str):
        moment = parse_time(value)
        return None if moment is None else (moment, strict)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return value, strict


def _comparable(one: _Bound, other: _Bound) -> bool:
    return isinstance(one[0], datetime) is isinstance(other[0], datetime)

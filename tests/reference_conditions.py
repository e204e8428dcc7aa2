"""Conditions, read plainly from the policy language: three truth values, typed comparison, attributes.

Truth values are True, False and None (unknown).
"""

import operator as compare_with
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, TypeAlias

import re2

from tests.reference_bodies import UnsureError, comparable, member
from tests.reference_routes import Document, Target

Truth: TypeAlias = bool | None


class NoValue(Enum):
    """What an attribute reads as when there is nothing to compare."""

    ABSENT = "nothing there: unknown"
    DEFINITELY_ABSENT = "nothing there, and that is known"
    UNREADABLE = "there, but not as one readable value: unknown"
    UNSURE = "perhaps there: unknown, for exists too"


@dataclass(frozen=True)
class Principal:
    kind: str
    id: str | None
    tenant: str | None
    domain: str | None
    roles: frozenset[str]
    claims: Document


@dataclass(frozen=True)
class Facts:
    """All that a condition can ask about."""

    principal: Principal
    roles: frozenset[str]
    target: Target
    request: Document | None
    now: datetime


def evaluate(node: Document, facts: Facts, effect: str) -> Truth:
    match node["type"]:
        case "ALWAYS":
            return True
        case "NOT":
            return negation(evaluate(node["condition"], facts, effect))
        case "AND":
            return conjunction(evaluate(child, facts, effect) for child in node["conditions"])
        case "OR":
            return disjunction(evaluate(child, facts, effect) for child in node["conditions"])
    operator, value = node["operator"], node["value"]
    left = operand(node, facts, effect)
    if operator == "exists":
        if left is NoValue.UNSURE:
            return None
        present = left not in (NoValue.ABSENT, NoValue.DEFINITELY_ABSENT)
        return present is value
    if isinstance(value, Mapping):
        right = operand(value, facts, effect)
        if operator == "cidr" and not isinstance(right, NoValue):
            right = NoValue.UNREADABLE  # networks are written in the policy, text is not one
    else:
        right = literal(READ_LIKE.get(node.get("as", ""), str(node["attribute"])), operator, value)
    sides = (left, right)
    unknown = (NoValue.ABSENT, NoValue.UNREADABLE, NoValue.UNSURE)
    if any(side in unknown for side in sides if isinstance(side, NoValue)):
        return None
    if any(side is NoValue.DEFINITELY_ABSENT for side in sides):
        return operator in {"neq", "notIn"}
    return OPERATORS[operator](left, right)


def negation(truth: Truth) -> Truth:
    return None if truth is None else not truth


def conjunction(truths: Iterable[Truth]) -> Truth:
    seen = set(truths)
    return False if False in seen else None if None in seen else True


def disjunction(truths: Iterable[Truth]) -> Truth:
    return negation(conjunction(negation(truth) for truth in truths))


READ_LIKE: Final = {"time": "env.time", "ip": "request.source.address"}
TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def operand(side: Document, facts: Facts, effect: str) -> Any:
    """Read one side: an attribute, perhaps as a time, an address or words."""
    value, reading = attribute(side["attribute"], facts, effect), side.get("as")
    if reading is None or isinstance(value, NoValue):
        return value
    if not isinstance(value, str):
        return NoValue.UNREADABLE
    if reading == "words":
        return (
            NoValue.UNREADABLE if re.search(r"[^\S ]", value) else [word for word in value.split(" ") if word]
        )
    if reading == "ip":
        return NoValue.UNREADABLE if "%" in value else address(value)
    found = TIME.fullmatch(value)
    try:
        return instant(f"{found[1]}T{found[2]}{found[3].upper()}") if found else NoValue.UNREADABLE
    except ValueError:
        return NoValue.UNREADABLE


def attribute(name: str, facts: Facts, effect: str) -> Any:
    area, _, rest = name.partition(".")
    principal, target = facts.principal, facts.target
    value: Any
    match area:
        case "action" if not rest:
            return target.action
        case "action":
            value = claim(target.action_properties, rest.removeprefix("properties."))
        case "context":
            value = claim(target.context, rest)
        case "user":
            if rest == "roles":
                return sorted(facts.roles)
            if rest in {"id", "kind", "tenant", "domain"}:
                value = getattr(principal, rest)
            else:
                value = claim(principal.claims, rest)
        case "resource":
            if rest in {"name", "service"}:
                value = target.resource if rest == "name" else target.service
            else:
                value = claim(target.parameters, rest.removeprefix("parameters."))
                if value is None and effect == "deny":
                    return NoValue.DEFINITELY_ABSENT
        case "request":
            return request_attribute(rest, facts.request)
        case _:
            now = facts.now
            return {"time": now, "hour": now.hour, "weekday": now.isoweekday()}[rest]
    return NoValue.ABSENT if value is None else value


def claim(claims: Document, path: str) -> Any:
    """Read a claim of that very name, else follow the dots."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def request_attribute(name: str, request: Document | None) -> Any:
    area, _, key = name.partition(".")
    if area == "query":
        values = {} if request is None else request["query"]
        if values is None:
            return NoValue.UNREADABLE
        return single(values.get(key))
    if area == "headers":
        return single(None if request is None else request["headers"].get(key))
    if area == "body":
        return part_of_body(None if request is None else request["body"], key)
    if request is None:
        return NoValue.ABSENT
    if name == "source.address":
        return NoValue.ABSENT if request["address"] is None else address(request["address"])
    value = request["principal" if name == "source.principal" else name]
    return NoValue.ABSENT if value is None else value


def part_of_body(body: Any, path: str) -> Any:
    try:
        value = member(body, path)
    except UnsureError:
        return NoValue.UNSURE
    if value is None:
        return NoValue.ABSENT
    return value if comparable(value) else NoValue.UNREADABLE


def single(value: Any) -> Any:
    if value is None or value == []:
        return NoValue.DEFINITELY_ABSENT
    values = value if isinstance(value, list) else [value]
    return values[0] if len(values) == 1 else NoValue.UNREADABLE


def literal(name: str, operator: str, value: Any) -> Any:
    """Read a literal of a policy: text compared with a time is a time, with an address an address."""
    convert: Callable[[str], Any] | None = None
    if name == "env.time" and operator in {"eq", "neq", "in", "notIn", "gt", "gte", "lt", "lte"}:
        convert = instant
    if name == "request.source.address" and operator in {"eq", "neq", "in", "notIn"}:
        convert = address
    if convert is None:
        return value
    if isinstance(value, list):
        return [convert(item) if isinstance(item, str) else item for item in value]
    return convert(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@lru_cache(maxsize=4096)
def address(text: str) -> IPv4Address | IPv6Address | NoValue:
    try:
        found = ip_address(text)
    except ValueError:
        return NoValue.UNREADABLE
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def kind_of(value: object) -> str | None:
    """Return the type that decides what may be compared; None compares with nothing."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | Decimal):
        return "number"
    if isinstance(value, IPv4Address | IPv6Address):
        return "address"
    names = {str: "string", list: "list", datetime: "time"}
    return names.get(type(value))


def equal(left: Any, right: Any) -> Truth:
    kind = kind_of(left)
    if kind is None or kind != kind_of(right):
        return None
    if kind == "list":
        return len(left) == len(right) and conjunction(map(equal, left, right))
    return bool(left == right)


def is_in(left: Any, right: Any) -> Truth:
    # What compares with nothing is wrongly typed, also where there is nothing to compare it with.
    if kind_of(left) is None or not isinstance(right, list):
        return None
    return disjunction(equal(left, item) for item in right)


def has(left: Any, right: Any) -> Truth:
    return is_in(right, left)


def has_any(left: Any, right: Any) -> Truth:
    both = isinstance(left, list) and isinstance(right, list)
    return disjunction(has(left, item) for item in right) if both else None


def has_all(left: Any, right: Any) -> Truth:
    both = isinstance(left, list) and isinstance(right, list)
    return conjunction(has(left, item) for item in right) if both else None


def ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Truth]:
    def order(left: Any, right: Any) -> Truth:
        comparable = kind_of(left) == kind_of(right) and kind_of(left) in {"number", "time"}
        return compare(left, right) if comparable else None

    return order


def textual(compare: Callable[[str, str], bool]) -> Callable[[Any, Any], Truth]:
    def text(left: Any, right: Any) -> Truth:
        return compare(left, right) if isinstance(left, str) and isinstance(right, str) else None

    return text


@lru_cache(maxsize=1024)
def pattern(text: str) -> Any:
    return re2.compile(text)


@lru_cache(maxsize=1024)
def network(text: str) -> Any:
    return ip_network(text)


def in_networks(left: Any, right: Any) -> Truth:
    if kind_of(left) != "address":
        return None
    return any(left in network(text) for text in (right if isinstance(right, list) else [right]))


OPERATORS: Final[Mapping[str, Callable[[Any, Any], Truth]]] = {
    "eq": equal,
    "neq": lambda left, right: negation(equal(left, right)),
    "gt": ordered(compare_with.gt),
    "gte": ordered(compare_with.ge),
    "lt": ordered(compare_with.lt),
    "lte": ordered(compare_with.le),
    "in": is_in,
    "notIn": lambda left, right: negation(is_in(left, right)),
    "contains": textual(lambda left, right: right in left),
    "startsWith": textual(str.startswith),
    "endsWith": textual(str.endswith),
    "has": has,
    "hasAny": has_any,
    "hasAll": has_all,
    "matches": textual(lambda left, right: pattern(right).fullmatch(left) is not None),
    "cidr": in_networks,
}

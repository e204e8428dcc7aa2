"""Random condition trees: some likely true or false, some mostly unknown, every operator."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from tests.property.vocabulary import (
    ACTIONS,
    ADDRESSES,
    ATTRIBUTES,
    DOMAINS,
    INSTANTS,
    LIST_ATTRIBUTES,
    LISTS,
    NETWORKS,
    NUMBER_ATTRIBUTES,
    NUMBERS,
    PATTERNS,
    RESOURCES,
    ROLES,
    SIMPLE_OPERATORS,
    STRINGS,
    USERS,
)

Document = dict[str, Any]


def random_node(rng: random.Random, depth: int) -> Document:
    drawn = rng.random()
    if depth and drawn < 0.15:
        return {"type": "NOT", "condition": random_node(rng, depth - 1)}
    if depth and drawn < 0.45:
        children = [random_node(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        return {"type": "AND" if drawn < 0.3 else "OR", "conditions": children}
    if drawn > 0.96:
        return {"type": "ALWAYS"}
    return rng.choice(_CONDITIONS)(rng)


def _condition(attribute: str, operator: str, value: object) -> Document:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def _matching_condition(rng: random.Random) -> Document:
    """Draw a comparison that random requests make true and false about equally often."""
    attribute, values = rng.choice(_LIKELY)
    if rng.random() < 0.5:
        return _condition(attribute, rng.choice(["in", "notIn"]), rng.sample(values, 2))
    return _condition(attribute, rng.choice(["eq", "neq"]), rng.choice(values))


_LIKELY: Final[list[tuple[str, list[Any]]]] = [
    ("user.id", USERS),
    ("user.kind", ["user", "service", "workload", "anonymous"]),
    ("user.domain", DOMAINS),
    ("user.tenant", ["default", "acme"]),
    ("resource.name", RESOURCES),
    ("resource.x", ["a", "b", "1", "x y", "café"]),
    ("resource.parameters.name", ["a", "b", "1"]),
    ("action", ACTIONS),
    ("action.properties.soft", ["a", "abc", "3"]),
    ("context.c", ["a", "abc", "3", ""]),
    ("request.method", ["GET", "POST", "HEAD", "DELETE"]),
    ("request.host", ["h.example", "a.h.example"]),
    ("request.path", ["/a", "/a/b", "/a/x%20y", "/"]),
    ("request.query.q", ["a", "abc", "3", ""]),
    ("request.headers.x-a", ["a", "abc", "3", ""]),
    ("request.body.a", ["a", "abc", "3", ""]),
    ("request.body.o.b", ["a", "3", ""]),
    ("request.source.address", ADDRESSES),
    ("env.time", INSTANTS),
    ("env.hour", [10, 9, 0]),
    ("env.weekday", [1, 7]),
]


def _mixed_condition(rng: random.Random) -> Document:
    """Draw an equality between anything and anything: mostly unknown."""
    attribute, operator = rng.choice(ATTRIBUTES), rng.choice(SIMPLE_OPERATORS)
    if operator in {"in", "notIn"}:
        literal: Any = rng.choice(LISTS)
    else:
        literal = rng.choice([rng.choice(STRINGS), rng.choice(NUMBERS), True, False, rng.choice(LISTS)])
    if attribute == "env.time":
        literal = INSTANTS[:2] if isinstance(literal, list) else rng.choice(INSTANTS)
    if attribute == "request.source.address":
        literal = ADDRESSES[1:3] if isinstance(literal, list) else rng.choice(ADDRESSES)
    return _condition(attribute, operator, literal)


def _ordered_condition(rng: random.Random) -> Document:
    operator = rng.choice(["gt", "gte", "lt", "lte"])
    if rng.random() < 0.3:
        return _condition("env.time", operator, rng.choice(INSTANTS))
    return _condition(rng.choice(NUMBER_ATTRIBUTES), operator, rng.choice(NUMBERS))


def _text_condition(rng: random.Random) -> Document:
    operator = rng.choice(["contains", "startsWith", "endsWith", "matches"])
    return _condition(
        rng.choice(ATTRIBUTES), operator, rng.choice(PATTERNS if operator == "matches" else STRINGS)
    )


def _list_condition(rng: random.Random) -> Document:
    operator = rng.choice(["has", "hasAny", "hasAll"])
    attribute = rng.choice(LIST_ATTRIBUTES if rng.random() < 0.8 else ATTRIBUTES)
    if operator == "has":
        return _condition(attribute, operator, rng.choice([*ROLES[:3], "a", 1, Decimal("0.1"), True]))
    return _condition(attribute, operator, rng.choice(LISTS))


def _network_condition(rng: random.Random) -> Document:
    attribute = rng.choice(["request.source.address", "request.source.address", "user.c"])
    networks = rng.choice(NETWORKS) if rng.random() < 0.5 else rng.sample(NETWORKS, 2)
    return _condition(attribute, "cidr", networks)


def _read_condition(rng: random.Random) -> Document:
    """Draw a comparison of a text that is read as another kind of value."""
    reading = rng.choice(["time", "ip", "words"])
    attribute = {"attribute": rng.choice(["user.r", "user.r", "user.s", "request.query.q", "resource.x"])}
    read = attribute | {"as": reading}
    other: Any = rng.choice([read | {"attribute": "user.s"}, {"attribute": _LIKE[reading]}])
    if rng.random() < 0.2:
        return _condition(_LIKE[reading], rng.choice(["eq", "neq", "lt", "has", "in"]), read)
    match reading:
        case "time":
            operator = rng.choice(["eq", "neq", "gt", "gte", "lt", "lte", "in", "notIn"])
            literal: Any = rng.choice(INSTANTS)
        case "ip":
            operator = rng.choice(["eq", "neq", "in", "notIn", "cidr", "cidr"])
            literal = rng.choice(NETWORKS if operator == "cidr" else ADDRESSES)
        case _:
            operator = rng.choice(["has", "has", "hasAny", "hasAll", "eq", "neq"])
            literal = rng.choice(["a", "b", "abc", 1])
    if operator in {"in", "notIn", "hasAny", "hasAll"}:
        values = ["a", "abc", "c"] if reading == "words" else INSTANTS if reading == "time" else ADDRESSES
        literal = rng.sample(values, 2)
    elif rng.random() < 0.3 and operator != "cidr":
        literal = other
    return {"type": "CONDITION", **read, "operator": operator, "value": literal}


_LIKE: Final = {"time": "env.time", "ip": "request.source.address", "words": "user.l"}


def _exists_condition(rng: random.Random) -> Document:
    return _condition(rng.choice(ATTRIBUTES), "exists", rng.random() < 0.5)


def _two_attributes(rng: random.Random) -> Document:
    operators = [
        *SIMPLE_OPERATORS,
        "gt",
        "lte",
        "contains",
        "startsWith",
        "endsWith",
        "has",
        "hasAny",
        "hasAll",
    ]
    left, right = (
        rng.choice(_PAIRS) if rng.random() < 0.6 else (rng.choice(ATTRIBUTES), rng.choice(ATTRIBUTES))
    )
    return _condition(left, rng.choice(operators), {"attribute": right})


_PAIRS: Final = [
    ("user.id", "resource.x"),
    ("resource.owner", "user.id"),
    ("user.c", "request.query.q"),
    ("request.query.q", "request.headers.x-a"),
    ("resource.x", "user.c"),
    ("user.c", "user.l"),
    ("user.l", "user.c"),
    ("user.l", "user.roles"),
    ("user.n", "env.hour"),
    ("user.roles", "user.l"),
    ("request.query.q", "user.l"),
]
_CONDITIONS: Final[list[Callable[[random.Random], Document]]] = [
    *[_matching_condition] * 6,
    _mixed_condition,
    _ordered_condition,
    _text_condition,
    _list_condition,
    _list_condition,
    _network_condition,
    *[_read_condition] * 3,
    _exists_condition,
    *[_two_attributes] * 2,
]

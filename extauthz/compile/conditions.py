"""Condition trees: untrusted documents become typed nodes, nodes become three-valued functions.

Parsing is iterative and bounded (depth, nodes), so that no document can exhaust the stack; what it accepts
is shallow enough to be evaluated by plain calls.
"""

import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, collapse_addresses
from typing import Any, Final

import re2

from extauthz.compile.attributes import Question, attribute_problem, presence, resolver
from extauthz.compile.fields import Fields, shown
from extauthz.compile.values import (
    ABSENT,
    UNKNOWN,
    Kind,
    Kleene,
    Missing,
    Network,
    equal,
    every,
    kind_of,
    negated,
    ordered,
    parse_address,
    parse_network,
    parse_time,
    some,
)
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Literal, Node, Not
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect

MAX_DEPTH: Final = 32
MAX_NODES: Final = 1_000
MAX_PATTERN: Final = 512

Evaluate = Callable[[Question], Kleene]

_LISTS: Final = frozenset({"in", "notIn", "hasAny", "hasAll"})
_TEXTS: Final = frozenset({"contains", "startsWith", "endsWith", "matches"})
_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_EQUALITIES: Final = frozenset({"eq", "neq", "in", "notIn"})
_LITERAL_ONLY: Final = frozenset({"matches", "cidr", "exists"})
OPERATORS: Final = _LISTS | _TEXTS | _EQUALITIES | frozenset(_ORDERS) | {"has", "cidr", "exists"}

_PATTERN_OPTIONS: Final = re2.Options()
_PATTERN_OPTIONS.log_errors = False
_PATTERN_OPTIONS.max_mem = 1 << 20


def parse_condition(
    document: object, pointer: str, problems: list[Problem], *, condition_headers: frozenset[str]
) -> Node | None:
    """Read a `rule_data` document of format `json`; None when any problem was noted."""
    return _Reader(problems, condition_headers).read(document, pointer)


class _Reader:
    def __init__(self, problems: list[Problem], condition_headers: frozenset[str]) -> None:
        self._problems = problems
        self._condition_headers = condition_headers
        self._nodes = 0

    def read(self, document: object, pointer: str) -> Node | None:
        """Walk the tree with an explicit stack; children are built before their parents."""
        before = len(self._problems)
        order: list[tuple[Fields, str, list[int]]] = []
        waiting: list[tuple[object, str, int, int | None]] = [(document, pointer, 1, None)]
        while waiting:
            item, where, depth, parent = waiting.pop()
            self._nodes += 1
            if self._nodes > MAX_NODES:
                self._problems.append(Problem(pointer, f"has more than {MAX_NODES} nodes"))
                return None
            if depth > MAX_DEPTH:
                self._problems.append(Problem(pointer, f"is nested deeper than {MAX_DEPTH} levels"))
                return None
            fields = Fields(item, where, self._problems)
            node_type = fields.get("type") if fields.is_object else ""
            children: list[int] = []
            order.append((fields, node_type if isinstance(node_type, str) else "", children))
            if parent is not None:
                order[parent][2].append(len(order) - 1)
            me = len(order) - 1
            for child, at in reversed(self._children(fields, node_type)):
                waiting.append((child, at, depth + 1, me))
        built: dict[int, Node] = {}
        for index in range(len(order) - 1, -1, -1):
            fields, node_type, children = order[index]
            node = self._build(fields, node_type, [built[child] for child in children if child in built])
            fields.done()
            if node is not None:
                built[index] = node
        return built.get(0) if len(self._problems) == before else None

    def _children(self, fields: Fields, node_type: object) -> list[tuple[object, str]]:
        if not fields.is_object:
            return []
        match node_type:
            case "AND" | "OR":
                entries = fields.items("conditions", required=True, at_least=1)
                return [(entry, f"{fields.at('conditions')}/{n}") for n, entry in enumerate(entries)]
            case "NOT":
                if not fields.has("condition"):
                    fields.note("condition", "is missing, a condition is needed")
                    return []
                return [(fields.get("condition"), fields.at("condition"))]
            case "ALWAYS":
                return []
            case "CONDITION":
                for member in ("attribute", "operator", "value"):
                    fields.get(member)
                return []
            case _:
                found = "is missing" if not fields.has("type") else f"found {shown(node_type)}"
                fields.note("type", f"{found}, one of 'AND', 'OR', 'NOT', 'ALWAYS', 'CONDITION' is needed")
                for member in ("conditions", "condition", "attribute", "operator", "value"):
                    fields.get(member)
                return []

    def _build(self, fields: Fields, node_type: str, children: list[Node]) -> Node | None:
        match node_type:
            case "AND":
                return All(tuple(children))
            case "OR":
                return AnyOf(tuple(children))
            case "NOT":
                return Not(children[0]) if children else None
            case "ALWAYS":
                return Always()
            case "CONDITION":
                return self._comparison(fields)
            case _:
                return None

    def _comparison(self, fields: Fields) -> Condition | None:
        attribute = self._attribute(fields.get("attribute"), fields, "attribute")
        word = fields.get("operator")
        if not isinstance(word, str) or word not in OPERATORS:
            found = f"found {shown(word)}" if fields.has("operator") else "is missing"
            fields.note("operator", f"{found}, one of {', '.join(sorted(OPERATORS))} is needed")
            return None
        if not fields.has("value"):
            fields.note("value", "is missing, a literal or {'attribute': name} is needed")
            return None
        raw = fields.get("value")
        if attribute is None:
            return None
        if isinstance(raw, Mapping):
            return self._comparison_of_two(fields, attribute, word, raw)
        problem = literal_problem(attribute, word, raw)
        if problem is not None:
            fields.note("value", f"found {shown(raw)}, {problem}")
            return None
        return Condition(attribute, word, _frozen(raw))

    def _comparison_of_two(
        self, fields: Fields, attribute: str, word: str, raw: Mapping[str, object]
    ) -> Condition | None:
        inner = Fields(raw, fields.at("value"), self._problems)
        other = self._attribute(inner.get("attribute"), inner, "attribute")
        inner.done()
        if word in _LITERAL_ONLY:
            fields.note("value", f"names an attribute, the operator {word} needs a literal")
            return None
        return None if other is None else Condition(attribute, word, AttributeName(other))

    def _attribute(self, name: object, fields: Fields, member: str) -> str | None:
        if not isinstance(name, str):
            found = f"found {shown(name)}" if fields.has(member) else "is missing"
            fields.note(member, f"{found}, the name of an attribute is needed")
            return None
        if problem := attribute_problem(name, self._condition_headers):
            fields.note(member, f"{shown(name)} {problem}")
            return None
        return name


def _frozen(raw: object) -> Literal:
    if isinstance(raw, list | tuple):
        return tuple(_scalar(entry) for entry in raw)
    return _scalar(raw)


def _scalar(raw: object) -> str | bool | int | Decimal:
    assert isinstance(raw, str | bool | int | Decimal)
    return raw


def literal_problem(attribute: str, word: str, raw: object) -> str | None:
    """Return why a literal does not fit the operator (POLICY.md, the operator table), None when it does."""
    entries = tuple(raw) if isinstance(raw, list | tuple) else None
    if entries is not None:
        kinds = {kind_of(entry) for entry in entries}
        if None in kinds or Kind.LIST in kinds:
            return "a list of strings, numbers or booleans is needed"
        if any(isinstance(entry, str) and _has_surrogate(entry) for entry in entries):
            return "text without lone surrogates is needed"
        if not entries:
            return "a list of one or more entries is needed"
    elif kind_of(raw) is None:
        return "a string, number, boolean, list or {'attribute': name} is needed"
    elif isinstance(raw, str) and _has_surrogate(raw):
        return "text without lone surrogates is needed"
    if word in _LISTS:
        if entries is None:
            return f"the operator {word} needs a list"
        if len({kind_of(entry) for entry in entries}) > 1:
            return "a list of one type is needed"
        return _typed_problem(attribute, word, entries)
    if word == "cidr":
        return _networks_problem(entries if entries is not None else (raw,))
    if entries is not None and word not in {"eq", "neq"}:
        return f"the operator {word} needs a single value"
    if word in _TEXTS:
        if not isinstance(raw, str):
            return f"the operator {word} needs a string"
        return _pattern_problem(raw) if word == "matches" else None
    if word == "exists":
        return None if isinstance(raw, bool) else "the operator exists needs true or false"
    if word in _ORDERS:
        if isinstance(raw, str):
            return None if parse_time(raw) else f"the operator {word} needs a number or an RFC 3339 time"
        if kind_of(raw) is not Kind.NUMBER:
            return f"the operator {word} needs a number or an RFC 3339 time"
        return None
    return _typed_problem(attribute, word, (raw,))


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _typed_problem(attribute: str, word: str, entries: tuple[object, ...]) -> str | None:
    if word not in _EQUALITIES:
        return None
    texts = [entry for entry in entries if isinstance(entry, str)]
    if attribute == "env.time" and any(parse_time(text) is None for text in texts):
        return "an RFC 3339 time such as '2026-01-31T08:00:00Z' is needed"
    if attribute == "request.source.address" and any(parse_address(text) is None for text in texts):
        return "an IP address is needed; networks go with the operator cidr"
    return None


def _networks_problem(entries: tuple[object, ...]) -> str | None:
    for entry in entries:
        if not isinstance(entry, str) or parse_network(entry) is None:
            return f"{shown(entry)} is not a network such as '10.0.0.0/8' (without host bits)"
    return None


def _pattern_problem(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN:
        return f"a pattern of at most {MAX_PATTERN} characters is needed"
    try:
        re2.compile(pattern, options=_PATTERN_OPTIONS)
    except re2.error as error:
        return f"RE2 refuses the pattern: {_detail(error)}"
    return None


def _detail(error: Exception) -> str:
    detail = error.args[0] if error.args else "unknown error"
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)


def compile_condition(node: Node, effect: Effect) -> Evaluate:
    """Turn a typed tree into a function of the question: true, false or unknown (None)."""
    match node:
        case Always():
            return lambda _question: True
        case Not(condition):
            inner = compile_condition(condition, effect)
            return lambda question: negated(inner(question))
        case All(conditions):
            if len(conditions) == 1:
                return compile_condition(conditions[0], effect)
            return _conjunction(tuple(compile_condition(condition, effect) for condition in conditions))
        case AnyOf(conditions):
            if len(conditions) == 1:
                return compile_condition(conditions[0], effect)
            return _disjunction(tuple(compile_condition(condition, effect) for condition in conditions))
        case Condition():
            return _compile_comparison(node, effect)


def _conjunction(parts: tuple[Evaluate, ...]) -> Evaluate:
    """Kleene's AND as `values.every` has it, without a generator for each request."""

    def evaluate(question: Question) -> Kleene:
        outcome: Kleene = True
        for part in parts:
            value = part(question)
            if value is False:
                return False
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _disjunction(parts: tuple[Evaluate, ...]) -> Evaluate:
    """Kleene's OR as `values.some` has it, without a generator for each request."""

    def evaluate(question: Question) -> Kleene:
        outcome: Kleene = False
        for part in parts:
            value = part(question)
            if value is True:
                return True
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _compile_comparison(condition: Condition, effect: Effect) -> Evaluate:
    if condition.operator == "exists":
        there, wanted = presence(condition.attribute), condition.value
        return lambda question: there(question) is wanted
    left = resolver(condition.attribute, effect)
    when_absent = condition.operator in {"neq", "notIn"}
    if isinstance(condition.value, AttributeName):
        right = resolver(condition.value.name, effect)
        compare = _comparison(condition.operator)
        return _two_sided(left, right, compare, when_absent=when_absent)
    if (
        condition.operator == "eq"
        and isinstance(condition.value, str)
        and not _reads_typed(condition.attribute)
    ):
        return _text_equality(left, condition.value)
    return _one_sided(left, _literal_comparison(condition), when_absent=when_absent)


def _text_equality(left: Callable[[Question], object], wanted: str) -> Evaluate:
    """The commonest condition, without the general comparison's calls."""

    def evaluate(question: Question) -> Kleene:
        value = left(question)
        if type(value) is str:
            return value == wanted
        return False if value is ABSENT else None

    return evaluate


def _one_sided(
    left: Callable[[Question], object], holds: Callable[[object], Kleene], *, when_absent: bool
) -> Evaluate:
    def evaluate(question: Question) -> Kleene:
        value = left(question)
        if isinstance(value, Missing):
            return when_absent if value is ABSENT else None
        return holds(value)

    return evaluate


def _two_sided(
    left: Callable[[Question], object],
    right: Callable[[Question], object],
    holds: Callable[[object, object], Kleene],
    *,
    when_absent: bool,
) -> Evaluate:
    def evaluate(question: Question) -> Kleene:
        ours, theirs = left(question), right(question)
        if ours is UNKNOWN or theirs is UNKNOWN:
            return None
        if ours is ABSENT or theirs is ABSENT:
            return when_absent
        return holds(ours, theirs)

    return evaluate


def _reads_typed(attribute: str) -> bool:
    return attribute in {"env.time", "request.source.address"}


def _literal_comparison(condition: Condition) -> Callable[[object], Kleene]:
    value = condition.value
    if condition.operator == "matches":
        pattern = re2.compile(value, options=_PATTERN_OPTIONS)
        return lambda found: pattern.fullmatch(found) is not None if type(found) is str else None
    if condition.operator == "cidr":
        return _network_test(value if isinstance(value, tuple) else (value,))
    typed = _typed_literal(condition)
    if condition.operator in {"in", "notIn"} and isinstance(typed, tuple):
        members = _Members(typed)
        if condition.operator == "in":
            return members.has
        return lambda found: negated(members.has(found))
    compare = _comparison(condition.operator)
    return lambda found: compare(found, typed)


def _network_test(texts: tuple[object, ...]) -> Callable[[object], Kleene]:
    """Compile networks to sorted, disjoint ranges: any number of them costs one bisection."""
    networks = [network for text in texts if (network := parse_network(str(text))) is not None]
    ranges = {
        version: sorted(
            (int(network.network_address), int(network.broadcast_address))
            for network in _collapsed(network for network in networks if network.version == version)
        )
        for version in (4, 6)
    }

    def inside(found: object) -> Kleene:
        if not isinstance(found, IPv4Address | IPv6Address):
            return None
        candidates, number = ranges[found.version], int(found)
        at = bisect_right(candidates, number, key=_first) - 1
        return at >= 0 and number <= candidates[at][1]

    return inside


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _collapsed(networks: Iterable[Network]) -> Iterable[Network]:
    return collapse_addresses(networks)  # type: ignore[type-var]  # one IP version at a time


def _typed_literal(condition: Condition) -> object:
    """Read text literals as the type that the attribute has, or that the operator orders."""
    value = condition.value

    def typed(entry: object) -> object:
        if not isinstance(entry, str):
            return entry
        if condition.operator in _ORDERS or condition.attribute == "env.time":
            return parse_time(entry) or entry
        if condition.attribute == "request.source.address":
            return parse_address(entry) or entry
        return entry

    return tuple(typed(entry) for entry in value) if isinstance(value, tuple) else typed(value)


def _comparison(word: str) -> Callable[[object, object], Kleene]:
    if word in _ORDERS:
        holds = _ORDERS[word]
        return lambda left, right: ordered(left, right, holds)
    return _COMPARISONS[word]


class _Members:
    """The entries of a list, ready for many membership tests: each is Kleene's OR of `equal` over them."""

    __slots__ = ("_entries", "_kinds", "_seen")

    def __init__(self, entries: tuple[object, ...]) -> None:
        self._entries = entries
        self._kinds = {kind_of(entry) for entry in entries}
        self._seen = {(kind_of(entry), entry) for entry in entries if kind_of(entry) in _HASHED}

    def has(self, needle: object) -> Kleene:
        kind = kind_of(needle)
        if kind is None:
            return None
        if kind is Kind.LIST:
            # INVARIANT: bounded work; lists inside long lists are unknown instead of compared pair by pair.
            return some(equal(needle, entry) for entry in self._entries) if len(self._entries) <= 64 else None
        if (kind, needle) in self._seen:
            return True
        return False if self._kinds <= {kind} else None


_HASHED: Final = frozenset(Kind) - {Kind.LIST}


def _member(needle: object, haystack: object) -> Kleene:
    return _Members(haystack).has(needle) if type(haystack) is tuple else None


def _has_any(found: object, wanted: object) -> Kleene:
    if type(found) is not tuple or type(wanted) is not tuple:
        return None
    members = _Members(found)
    return some(members.has(entry) for entry in wanted)


def _has_all(found: object, wanted: object) -> Kleene:
    if type(found) is not tuple or type(wanted) is not tuple:
        return None
    members = _Members(found)
    return every(members.has(entry) for entry in wanted)


def _text(holds: Callable[[str, str], bool]) -> Callable[[object, object], Kleene]:
    def compare(left: object, right: object) -> Kleene:
        if type(left) is not str or type(right) is not str:
            return None
        return holds(left, right)

    return compare


_COMPARISONS: Final[dict[str, Callable[[object, object], Kleene]]] = {
    "eq": equal,
    "neq": lambda left, right: negated(equal(left, right)),
    "in": _member,
    "notIn": lambda left, right: negated(_member(left, right)),
    "contains": _text(lambda left, right: right in left),
    "startsWith": _text(str.startswith),
    "endsWith": _text(str.endswith),
    "has": lambda left, right: _member(right, left),
    "hasAny": _has_any,
    "hasAll": _has_all,
}

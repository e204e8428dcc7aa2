"""Typed condition trees become three-valued functions of a request (`ConditionInput`)."""

import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, collapse_addresses
from typing import Any, Final

from extauthz.compile.attributes import ConditionInput, presence, resolver
from extauthz.compile.conditions import compile_pattern
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
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Node, Not, Unreadable
from extauthz.domain.reasons import Effect

Evaluate = Callable[[ConditionInput], Kleene]

_ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def compile_condition(node: Node, effect: Effect) -> Evaluate:
    """Turn a typed tree into a function of the condition input: true, false or unknown (None)."""
    match node:
        case Always():
            return lambda _facts: True
        case Unreadable():
            return lambda _facts: None
        case Not(condition):
            inner = compile_condition(condition, effect)
            return lambda facts: negated(inner(facts))
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

    def evaluate(facts: ConditionInput) -> Kleene:
        outcome: Kleene = True
        for part in parts:
            value = part(facts)
            if value is False:
                return False
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _disjunction(parts: tuple[Evaluate, ...]) -> Evaluate:
    """Kleene's OR as `values.some` has it, without a generator for each request."""

    def evaluate(facts: ConditionInput) -> Kleene:
        outcome: Kleene = False
        for part in parts:
            value = part(facts)
            if value is True:
                return True
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _compile_comparison(condition: Condition, effect: Effect) -> Evaluate:
    if condition.operator == "exists":
        there, wanted = presence(condition.attribute), condition.value
        return lambda facts: there(facts) is wanted
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
    test = _text_test_of(condition)
    if test is not None:
        return _text_test(left, test, when_absent=when_absent)
    return _one_sided(left, _literal_comparison(condition), when_absent=when_absent)


def _text_test_of(condition: Condition) -> Callable[[str], bool] | None:
    """Return the comparison where it is one of text with text, None where it is not."""
    value = condition.value
    if condition.operator in {"in", "notIn"} and isinstance(value, tuple):
        if _reads_typed(condition.attribute) or not all(isinstance(entry, str) for entry in value):
            return None
        entries = frozenset(value)
        return entries.__contains__ if condition.operator == "in" else lambda text: text not in entries
    if not isinstance(value, str):
        return None
    match condition.operator:
        case "contains":
            return lambda text: value in text
        case "startsWith":
            return lambda text: text.startswith(value)
        case "endsWith":
            return lambda text: text.endswith(value)
        case _:
            return None


def _text_test(
    left: Callable[[ConditionInput], object], holds: Callable[[str], bool], *, when_absent: bool
) -> Evaluate:
    """A comparison of text alone; any other type is unknown."""

    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if type(value) is str:
            return holds(value)
        return when_absent if value is ABSENT else None

    return evaluate


def _text_equality(left: Callable[[ConditionInput], object], wanted: str) -> Evaluate:
    """The commonest condition, without the general comparison's calls."""

    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if type(value) is str:
            return value == wanted
        return False if value is ABSENT else None

    return evaluate


def _one_sided(
    left: Callable[[ConditionInput], object], holds: Callable[[object], Kleene], *, when_absent: bool
) -> Evaluate:
    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if isinstance(value, Missing):
            return when_absent if value is ABSENT else None
        return holds(value)

    return evaluate


def _two_sided(
    left: Callable[[ConditionInput], object],
    right: Callable[[ConditionInput], object],
    holds: Callable[[object, object], Kleene],
    *,
    when_absent: bool,
) -> Evaluate:
    def evaluate(facts: ConditionInput) -> Kleene:
        ours, theirs = left(facts), right(facts)
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
        return _pattern_test(compile_pattern(str(value)))
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


def _pattern_test(pattern: Any) -> Callable[[object], Kleene]:
    def matches(found: object) -> Kleene:
        if type(found) is not str:
            return None
        try:
            return pattern.fullmatch(found) is not None
        except UnicodeEncodeError:  # a lone surrogate is no text
            return None

    return matches


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
        if condition.operator in _ORDERINGS or condition.attribute == "env.time":
            return parse_time(entry) or entry
        if condition.attribute == "request.source.address":
            return parse_address(entry) or entry
        return entry

    return tuple(typed(entry) for entry in value) if isinstance(value, tuple) else typed(value)


def _comparison(word: str) -> Callable[[object, object], Kleene]:
    if word in _ORDERINGS:
        holds = _ORDERINGS[word]
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

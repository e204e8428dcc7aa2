"""What operators do with values: comparisons of two values, and literals compiled for many requests.

A comparison of kinds that do not go together is unknown, written None (`values.py`).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, collapse_addresses
from typing import Any, Final

from extauthz.compile.conditions.literals import compile_pattern
from extauthz.compile.conditions.values import (
    ORDERED_TYPES,
    Kind,
    Kleene,
    Network,
    equal,
    every,
    kind_of,
    negated,
    ordered,
    parse_network,
    some,
)
from extauthz.domain.policy import Literal

Compare = Callable[[object, object], Kleene]
Test = Callable[[object], Kleene]
"""A comparison whose second operand, a literal, is fixed."""
TextTest = Callable[[str], bool]
ReadText = Callable[[str], object]
"""Reads a text of a literal as the kind that the attribute has."""

MAX_LISTS_COMPARED: Final = 64
"""Lists inside a longer list are unknown instead of compared pair by pair."""


def text(holds: Callable[[str, str], bool]) -> Callable[[object, object], Kleene]:
    """Compare text with text; another kind is unknown."""

    def compare(left: object, right: object) -> Kleene:
        if type(left) is not str or type(right) is not str:
            return None
        return holds(left, right)

    return compare


def order(holds: Callable[[Any, Any], bool]) -> Callable[[object, object], Kleene]:
    """Compare two numbers, or two times."""
    return lambda left, right: ordered(left, right, holds)


def order_to(holds: Callable[[Any, Any], bool]) -> Callable[[Literal, ReadText], Test]:
    """Compare numbers, or times, with a literal, without asking for its kind each time."""

    def prepare(literal: Literal, read: ReadText) -> Test:
        wanted = typed(literal, read)
        types = ORDERED_TYPES.get(type(wanted), frozenset())

        def test(found: object) -> Kleene:
            return holds(found, wanted) if type(found) in types else None

        return test

    return prepare


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
            # INVARIANT: bounded work.
            if len(self._entries) > MAX_LISTS_COMPARED:
                return None
            return some(equal(needle, entry) for entry in self._entries)
        if (kind, needle) in self._seen:
            return True
        return False if self._kinds <= {kind} else None


_HASHED: Final = frozenset(Kind) - {Kind.LIST}


def member(needle: object, haystack: object) -> Kleene:
    """Tell whether the list `haystack` has an entry that equals `needle`."""
    return _Members(haystack).has(needle) if type(haystack) is tuple else None


def has_any(found: object, wanted: object) -> Kleene:
    """Tell whether the list `found` has one of `wanted`."""
    if type(found) is not tuple or type(wanted) is not tuple:
        return None
    members = _Members(found)
    return some(members.has(entry) for entry in wanted)


def has_all(found: object, wanted: object) -> Kleene:
    """Tell whether the list `found` has all of `wanted`."""
    if type(found) is not tuple or type(wanted) is not tuple:
        return None
    members = _Members(found)
    return every(members.has(entry) for entry in wanted)


# A literal, compiled once for many requests.


def typed(literal: Literal, read: ReadText) -> object:
    """Return the literal with its texts read as the kind that the attribute has."""
    if isinstance(literal, tuple):
        return tuple(read(entry) if isinstance(entry, str) else entry for entry in literal)
    return read(literal) if isinstance(literal, str) else literal


def one_of(literal: Literal, read: ReadText) -> Test:
    """Test for the entries of a list."""
    entries = typed(literal, read)
    assert isinstance(entries, tuple)
    return _Members(entries).has


def none_of(literal: Literal, read: ReadText) -> Test:
    """Test for everything but the entries of a list."""
    test = one_of(literal, read)
    return lambda found: negated(test(found))


def matches(literal: Literal, _: ReadText) -> Test:
    """Test for a whole match of an RE2 pattern."""
    pattern = compile_pattern(str(literal))

    def test(found: object) -> Kleene:
        if type(found) is not str:
            return None
        try:
            return pattern.fullmatch(found) is not None
        except UnicodeEncodeError:  # a lone surrogate is not text
            return None

    return test


def in_networks(literal: Literal, _: ReadText) -> Test:
    """Compile networks to sorted, disjoint ranges: any number of them costs one bisection."""
    texts = literal if isinstance(literal, tuple) else (literal,)
    networks = [network for text in texts if (network := parse_network(str(text))) is not None]
    ranges = {
        version: sorted(
            (int(network.network_address), int(network.broadcast_address))
            for network in _collapsed(network for network in networks if network.version == version)
        )
        for version in (4, 6)
    }

    def test(found: object) -> Kleene:
        if not isinstance(found, IPv4Address | IPv6Address):
            return None
        candidates, number = ranges[found.version], int(found)
        at = bisect_right(candidates, number, key=_first) - 1
        return at >= 0 and number <= candidates[at][1]

    return test


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _collapsed(networks: Iterable[Network]) -> Iterable[Network]:
    return collapse_addresses(networks)  # type: ignore[type-var]  # one IP version at a time


# Literals of text, which is compared without asking for kinds.


def _texts(literal: Literal) -> frozenset[str] | None:
    if isinstance(literal, tuple) and all(isinstance(entry, str) for entry in literal):
        return frozenset(str(entry) for entry in literal)
    return None


def equals_text(literal: Literal) -> Callable[[str], bool] | None:
    """Test for one text."""
    return literal.__eq__ if isinstance(literal, str) else None


def one_of_texts(literal: Literal) -> Callable[[str], bool] | None:
    """Test for the texts of a list."""
    entries = _texts(literal)
    return None if entries is None else entries.__contains__


def none_of_texts(literal: Literal) -> Callable[[str], bool] | None:
    """Test for every text but those of a list."""
    entries = _texts(literal)
    return None if entries is None else lambda text: text not in entries


def contains_text(literal: Literal) -> Callable[[str], bool] | None:
    """Test for a substring."""
    return (lambda text: literal in text) if isinstance(literal, str) else None


def starts_with_text(literal: Literal) -> Callable[[str], bool] | None:
    """Test for a prefix."""
    return (lambda text: text.startswith(literal)) if isinstance(literal, str) else None


def ends_with_text(literal: Literal) -> Callable[[str], bool] | None:
    """Test for a suffix."""
    return (lambda text: text.endswith(literal)) if isinstance(literal, str) else None

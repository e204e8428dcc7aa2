"""Finds denies that would hold for requests of the mesh because no such request has what they ask about.

`action.properties.*` and `context.*` exist in questions by name only. In the mesh a comparison with one of
them is unknown, and an unknown deny matches; an `exists` of one of them is false.
"""

from enum import Enum
from functools import reduce
from itertools import product
from typing import Final

from extauthz.compile.conditions.attributes import NOT_IN_MESH
from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.conditions.readings import reading_of
from extauthz.domain.policy import (
    All,
    Always,
    AnyOf,
    Condition,
    Node,
    Not,
    UnreadableCondition,
)


class _Truth(Enum):
    """What a node comes out as in the mesh; absence has made three of the outcomes."""

    FALSE = 0
    ABSENT_SO_FALSE = 1
    UNKNOWN = 2
    ABSENT_SO_TRUE = 3
    TRUE = 4


_Outcomes = frozenset[_Truth]
_EITHER: Final = frozenset({_Truth.FALSE, _Truth.TRUE})
_NOT: Final = {truth: _Truth(4 - truth.value) for truth in _Truth}
_BY_ABSENCE: Final = frozenset({_Truth.UNKNOWN, _Truth.ABSENT_SO_TRUE})


def asked_in_vain(condition: Node) -> list[str]:
    """Return the attributes because of which a deny with the condition can hold for requests of the mesh."""
    if not _outcomes(condition) & _BY_ABSENCE:
        return []
    return sorted(set(_names(condition)))


def _outcomes(node: Node) -> _Outcomes:
    """Return every outcome in the mesh, where all other attributes may have any value."""
    match node:
        case Always() | UnreadableCondition():
            return frozenset({_Truth.TRUE})
        case Not(condition):
            return frozenset(_NOT[each] for each in _outcomes(condition))
        case All(conditions):
            return reduce(_least, map(_outcomes, conditions))
        case AnyOf(conditions):
            negated = (frozenset(_NOT[each] for each in _outcomes(part)) for part in conditions)
            return frozenset(_NOT[each] for each in reduce(_least, negated))
        case Condition(attribute, "exists", value) if _is_foreign(attribute):
            return frozenset({_Truth.ABSENT_SO_FALSE if value else _Truth.ABSENT_SO_TRUE})
        case Condition():
            return frozenset({_Truth.UNKNOWN}) if _names(node) else _EITHER


def _least(one: _Outcomes, other: _Outcomes) -> _Outcomes:
    # Kleene's AND is the least of its parts. True of itself gives way to what absence made true.
    return frozenset(min(pair, key=lambda truth: truth.value) for pair in product(one, other))


def _names(node: Node) -> list[str]:
    return [name for name in attribute_names(node) if _is_foreign(name)]


def _is_foreign(name: str) -> bool:
    return reading_of(name)[1].startswith(tuple(NOT_IN_MESH))

"""The values that a condition requires because it compares for equality or membership.

docs/reference/policy-language.md#operators has the operators.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from extauthz.compile.conditions.attribute_names import attribute_named
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.values import Kind, kind_of
from extauthz.domain.policy import All, AnyOf, AttributeName, Condition, Node, Scalar

TYPES: Final[dict[Kind, frozenset[type]]] = {
    Kind.TEXT: frozenset({str}),
    Kind.NUMBER: frozenset({int, Decimal}),
    Kind.BOOLEAN: frozenset({bool}),
}
"""The types of the values of a kind. Values of one kind that are equal have the same hash."""

MAX_VALUES: Final = 1_000
"""A condition that is satisfied by more values requires none of them here: an index of them takes memory."""


class Lookup(NamedTuple):
    """An attribute, the kind of value that it is compared with, and whether it has to list the value."""

    attribute: str
    kind: Kind
    lists: bool


@dataclass(frozen=True, slots=True)
class RequiredValues:
    """Values of one kind, of which the attribute must have (or list) one.

    INVARIANT: the condition is false where the attribute is definitely absent; where it has another value of
    that kind; and where it is a list of values of that kind alone with none of these, if `lists`. In every
    other case it may be true or unknown.
    """

    lookup: Lookup
    values: frozenset[Scalar]


def required_values(node: Node) -> tuple[RequiredValues, ...]:
    """Return what the condition requires: each entry on its own, none where nothing certain is known."""
    match node:
        case Condition():
            return _of_comparison(node)
        case All(conditions):
            # Kleene's AND is false when one part is, whatever the others are.
            return tuple(required for part in conditions for required in required_values(part))
        case AnyOf(conditions):
            return _of_alternatives([required_values(part) for part in conditions])
        case _:
            return ()


def _of_comparison(condition: Condition) -> tuple[RequiredValues, ...]:
    operator, value = OPERATORS[condition.operator], condition.value
    if operator.required is None or isinstance(value, AttributeName):
        return ()
    if attribute_named(condition.attribute).read_text is not None:
        # Times and addresses have several spellings.
        return ()
    return _required(condition.attribute, operator.required(value), lists=operator.is_of_lists)


def _required(attribute: str, values: tuple[Scalar, ...], *, lists: bool) -> tuple[RequiredValues, ...]:
    kinds = {kind_of(value) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in TYPES or len(values) > MAX_VALUES:
        return ()
    return (RequiredValues(Lookup(attribute, kind, lists), frozenset(values)),)


def _of_alternatives(parts: list[tuple[RequiredValues, ...]]) -> tuple[RequiredValues, ...]:
    """Kleene's OR is false when all parts are: what all of them look up requires the values of all."""
    first, *others = (_fewest_by_lookup(part) for part in parts)
    shared = [lookup for lookup in first if all(lookup in other for other in others)]
    unions = (
        RequiredValues(lookup, first[lookup].union(*(other[lookup] for other in others))) for lookup in shared
    )
    return tuple(union for union in unions if len(union.values) <= MAX_VALUES)


def _fewest_by_lookup(part: Iterable[RequiredValues]) -> dict[Lookup, frozenset[Scalar]]:
    found: dict[Lookup, frozenset[Scalar]] = {}
    for required in part:
        known = found.get(required.lookup)
        if known is None or len(required.values) < len(known):
            found[required.lookup] = required.values
    return found

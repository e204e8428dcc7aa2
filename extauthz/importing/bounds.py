"""Conditions between which the meaning of a condition of another system lies.

`inner` is true only where the source is true, `outer` wherever the source is true; both are the same where
the meaning can be held exactly. An allow is written with the inner one, a deny with the outer one, so that
neither ever allows what the source does not. Each side that is not exact says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

ConditionDocument = Mapping[str, object]
"""A condition tree as documents have it."""

ALWAYS: Final[ConditionDocument] = {"type": "ALWAYS"}


@dataclass(frozen=True, slots=True)
class Inexact:
    """Why a value of the source has no exact equal: its place, why, and what to write."""

    line: int
    member: str
    reason: str
    instead: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """The two conditions; None where there is none, which means never (`inner`) and always (`outer`)."""

    inner: ConditionDocument | None
    outer: ConditionDocument | None
    inner_gaps: tuple[Inexact, ...] = ()
    outer_gaps: tuple[Inexact, ...] = ()

    def negated(self) -> "Bounds":
        """Return the bounds of the opposite."""
        return Bounds(_not(self.outer), _not(self.inner), self.outer_gaps, self.inner_gaps)


def exactly(node: ConditionDocument) -> Bounds:
    """Return the bounds of a meaning that a condition holds exactly."""
    return Bounds(node, node)


def unheld(gap: Inexact) -> Bounds:
    """Return the bounds of a meaning that no condition holds."""
    return Bounds(None, None, (gap,), (gap,))


def all_of(parts: Sequence[Bounds]) -> Bounds:
    """Return the bounds of `AND`."""
    inner, outer = [part.inner for part in parts], [part.outer for part in parts]
    return Bounds(_joined("AND", inner), _joined("AND", outer), *_gaps(parts))


def any_of(parts: Sequence[Bounds]) -> Bounds:
    """Return the bounds of `OR`: without a part that has no inner condition the others still hold."""
    inner = [part.inner for part in parts if part.inner is not None]
    outer = [part.outer for part in parts]
    return Bounds(_joined("OR", inner) if inner else None, _joined("OR", outer), *_gaps(parts))


def condition(attribute: str, operator: str, value: object) -> ConditionDocument:
    """Return one comparison."""
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def both(*nodes: ConditionDocument) -> ConditionDocument:
    """Return `AND` of conditions."""
    return _join("AND", nodes)


def either(*nodes: ConditionDocument) -> ConditionDocument:
    """Return `OR` of conditions."""
    return _join("OR", nodes)


def present(attribute: str, node: ConditionDocument) -> ConditionDocument:
    """Return a condition that is false, not unknown, where the attribute is absent."""
    return both(condition(attribute, "exists", True), node)


def _gaps(parts: Iterable[Bounds]) -> tuple[tuple[Inexact, ...], tuple[Inexact, ...]]:
    parts = tuple(parts)
    return (
        tuple(gap for part in parts for gap in part.inner_gaps),
        tuple(gap for part in parts for gap in part.outer_gaps),
    )


def _joined(word: str, nodes: Sequence[ConditionDocument | None]) -> ConditionDocument | None:
    found = [node for node in nodes if node is not None]
    return None if len(found) < len(nodes) else _join(word, found)


def _join(word: str, nodes: Sequence[ConditionDocument]) -> ConditionDocument:
    """Return the nodes joined; `ALWAYS` and single nodes need no tree."""
    if word == "AND":
        nodes = [node for node in nodes if node != ALWAYS] or [ALWAYS]
    elif ALWAYS in nodes:
        return ALWAYS
    flat = [inner for node in nodes for inner in (_conditions(node) if node["type"] == word else [node])]
    unique = list({repr(node): node for node in flat}.values())
    if word == "OR":
        unique = _values_together(_guards_together(unique))
    return unique[0] if len(unique) == 1 else {"type": word, "conditions": unique}


def _guards_together(nodes: Sequence[ConditionDocument]) -> list[ConditionDocument]:
    """Write `(exists A and x) or (exists A and y)` as `exists A and (x or y)`: the same for Kleene."""
    guarded: dict[str, list[ConditionDocument]] = {}
    places: dict[str, int] = {}
    found: list[ConditionDocument | None] = []
    for node in nodes:
        parts = _conditions(node) if node["type"] == "AND" else []
        attribute = str(parts[0].get("attribute")) if len(parts) == 2 else ""
        if len(parts) != 2 or parts[0] != condition(attribute, "exists", True):
            found.append(node)
            continue
        if attribute not in guarded:
            places[attribute] = len(found)
            found.append(None)
        guarded.setdefault(attribute, []).append(parts[1])
    for attribute, inner in guarded.items():
        found[places[attribute]] = present(attribute, _join("OR", inner))
    return [node for node in found if node is not None]


def _values_together(nodes: Sequence[ConditionDocument]) -> list[ConditionDocument]:
    """Write several `eq` on an attribute as one `in`, and several networks as one list."""
    operators = {"eq": "in", "cidr": "cidr"}
    values: dict[tuple[object, str], list[object]] = {}
    found: list[ConditionDocument] = []
    for node in nodes:
        operator = operators.get(str(node.get("operator")))
        if operator is None or "as" in node or isinstance(node["value"], Mapping):
            found.append(node)
            continue
        key = node["attribute"], operator
        if key not in values:
            found.append({"key": key})
        value = node["value"]
        values.setdefault(key, []).extend(value if isinstance(value, list) else [value])
    return [_of_values(node["key"], values) if "key" in node else node for node in found]


def _of_values(key: object, values: Mapping[tuple[object, str], Sequence[object]]) -> ConditionDocument:
    attribute, operator = cast("tuple[str, str]", key)
    given = values[attribute, operator]
    if len(given) > 1:
        return condition(attribute, operator, list(given))
    return condition(attribute, "eq" if operator == "in" else operator, given[0])


def _conditions(node: ConditionDocument) -> Sequence[ConditionDocument]:
    return cast("Sequence[ConditionDocument]", node["conditions"])


def _not(node: ConditionDocument | None) -> ConditionDocument | None:
    return None if node is None else {"type": "NOT", "condition": node}

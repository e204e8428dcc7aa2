"""Looks up the attribute that a name stands for, and makes the functions that read it in a check.

Input: names of attributes, plain or with a reading (`time(user.until)`). Output: a row of `attributes`, its
functions for the rest of the name, or the text of what is wrong with a name. Errors: AssertionError from
`resolver` and `presence` for a name that `attribute_problem` refuses.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from extauthz.compile.conditions.attributes import ATTRIBUTES, Attribute, Shown
from extauthz.compile.conditions.condition_input import ConditionInput, Resolver
from extauthz.compile.conditions.readings import AttributeReading, converting, reading_of
from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Kind, Kleene
from extauthz.domain.names import name_problem
from extauthz.domain.reasons import Effect

_MAX_NAME: Final = 256
_FAMILIES: Final = tuple(row for row in ATTRIBUTES.values() if row.is_family)
_CLAIMS: Final = ATTRIBUTES["user."]


def _known_names() -> str:
    prefixes = tuple(row.name for row in _FAMILIES)
    return ", ".join(
        f"{row.name}*" if row.is_family else row.name
        for row in ATTRIBUTES.values()
        if not any(row.name.startswith(prefix) and row.name != prefix for prefix in prefixes)
    )


_NOT_AN_ATTRIBUTE: Final = f"is not an attribute; known are {_known_names()}"


def _found(name: str) -> tuple[Attribute, str] | None:
    """Return the row of a name, which may have a reading, and the rest of the name after the row's."""
    reading, plain = reading_of(name)
    found = _plain(plain)
    if reading is None or found is None:
        return found
    row, rest = found
    return _read_by(reading, row), rest


def _read_by(reading: AttributeReading, row: Attribute) -> Attribute:
    return replace(
        row,
        read=lambda rest, effect: converting(reading, row.read(rest, effect)),
        kinds=frozenset({reading.kind}),
        read_text=reading.literal,
        text_needed=reading.literal_needed,
        integers=None,
    )


def _plain(name: str) -> tuple[Attribute, str] | None:
    row = ATTRIBUTES.get(name)
    if row is not None and not row.is_family:
        return row, ""
    for family in _FAMILIES:
        if name.startswith(family.name) and len(name) > len(family.name):
            return family, name[len(family.name) :]
    return None


def attribute_named(name: str) -> Attribute:
    """Return the row of an attribute; a name that `attribute_problem` refuses has the row of claims."""
    found = _found(name)
    return _CLAIMS if found is None else found[0]


def attribute_problem(name: str, condition_headers: frozenset[str]) -> str | None:
    """Return why no attribute has this name, None when one has."""
    found = _plain(name)
    if found is not None and not found[0].is_family:
        return None
    # INVARIANT: no two attributes have names that look alike.
    if name and (problem := name_problem(name, max_length=_MAX_NAME)):
        return problem
    if found is None:
        return _NOT_AN_ATTRIBUTE
    row, rest = found
    return None if row.rest_problem is None else row.rest_problem(rest, condition_headers)


def reading_problem(name: str, reading: str) -> str | None:
    """Return why an attribute cannot be read in this way, None when it can."""
    kinds = attribute_named(name).kinds
    if Kind.TEXT in kinds:
        return None
    return f"is a {' or '.join(sorted(kind.value for kind in kinds))}; {reading!r} reads a string"


def resolver(name: str, effect: Effect) -> Resolver:
    """Return the function that reads the attribute, for a rule of this effect."""
    found = _found(name)
    assert found is not None, name
    row, rest = found
    return row.read(rest, effect)


def presence(name: str) -> Callable[[ConditionInput], Kleene]:
    """Return the function that tells whether the attribute is there (operator `exists`).

    It is unknown for parts of a body that cannot be read, and never else.
    """
    found = _found(name)
    assert found is not None, name
    row, rest = found
    if row.is_present is not None:
        return row.is_present(rest)
    read = row.read(rest, Effect.DENY)
    return lambda facts: read(facts) not in (ABSENT, UNKNOWN)


def shown(name: str) -> Shown | None:
    """Return what the decision log shows of the attribute, None for nothing."""
    found = _found(name)
    if found is None or found[0].logged is None:
        return None
    row, rest = found
    assert row.logged is not None
    return row.logged(rest)

"""Readings of a string as another kind of value: `time`, `ip` and `words`.

A condition on `{"attribute": "user.until", "as": "time"}` is one on the attribute `time(user.until)`: an
attribute of its own for all that looks up values by name, so that the index of required values never takes
one for the other. No other attribute has a name of this form.

Unknown never allows: a value that is not a string, or a string of another form, is unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.compile.conditions.condition_input import ConditionInput, Resolver
from extauthz.compile.conditions.values import UNKNOWN, Kind, Missing, parse_address
from extauthz.domain.time_text import parse_time

_LONGEST: Final = 64
"""Longer than any time or address."""


@dataclass(frozen=True, slots=True)
class AttributeReading:
    """One reading."""

    name: str
    kind: Kind
    forms: str
    """The strings that it reads, for the documentation."""
    read: Callable[[str], object]
    """Returns the value; None: the string has another form."""
    literal: Callable[[str], object] | None = None
    """Reads text of literals; None: text is compared with the entries of the value."""
    literal_needed: str = ""
    """What is needed where `literal` returns None."""


def _time(text: str) -> object:
    return parse_time(text) if len(text) <= _LONGEST else None


def _address(text: str) -> object:
    return parse_address(text) if len(text) <= _LONGEST else None


def words(text: str) -> tuple[str, ...] | None:
    """Return the words of a text, separated by spaces (RFC 6749 3.3); None where it has other blanks."""
    if not text.isprintable() or any(each.isspace() and each != " " for each in text):
        return None
    return tuple(word for word in text.split(" ") if word)


_ROWS: Final = (
    AttributeReading(
        name="time",
        kind=Kind.TIME,
        forms="an RFC 3339 time, such as `2026-01-31T08:00:00Z` or `2026-01-31T09:00:00.5+01:00`",
        read=_time,
        literal=parse_time,
        literal_needed="an RFC 3339 time such as '2026-01-31T08:00:00Z' is needed",
    ),
    AttributeReading(
        name="ip",
        kind=Kind.ADDRESS,
        forms="an IPv4 address in four decimal parts without leading zeros, or an IPv6 address "
        "(RFC 4291 2.2) without a zone; an IPv4-mapped one is its IPv4 address",
        read=_address,
        literal=parse_address,
        literal_needed="an IP address is needed; networks go with the operator cidr",
    ),
    AttributeReading(
        name="words",
        kind=Kind.LIST,
        forms="words separated by spaces, as in `scope` (RFC 6749 3.3); the empty string has none; no other "
        "blanks or control characters",
        read=words,
    ),
)
READINGS: Final[Mapping[str, AttributeReading]] = {row.name: row for row in _ROWS}
"""Every reading by its name, in the order of the documentation."""


def read_as(reading: str, attribute: str) -> str:
    """Return the name of an attribute that is read in another way."""
    return f"{reading}({attribute})"


def reading_of(name: str) -> tuple[AttributeReading | None, str]:
    """Return how the attribute is read, None for as it is, and its plain name."""
    if name.endswith(")"):
        word, bracket, rest = name.partition("(")
        if bracket and word in READINGS:
            return READINGS[word], rest[:-1]
    return None, name


def converting(reading: AttributeReading, raw: Resolver) -> Resolver:
    """Return the function that reads a value by a reading."""
    read = reading.read

    def resolve(facts: ConditionInput) -> object:
        value = raw(facts)
        if isinstance(value, Missing):
            return value
        found = read(value) if type(value) is str else None
        return UNKNOWN if found is None else found

    return resolve

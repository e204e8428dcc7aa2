"""The query of a request: names and values, each decoded once (`%XX`, `+`)."""

import re
from collections.abc import Collection
from typing import Final

from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Missing
from extauthz.domain.percent import decode_escapes

MAX_FIELDS: Final = 1_000
MAX_ESCAPES: Final = 1_000
"""A query beyond either bound is not read: decoding costs time for each field and each escape."""

_MALFORMED_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
# C0, DELETE and C1 (Unicode category Cc). Decoders that hold text as C strings end it at U+0000.
_NONE: Final = frozenset[str]()
_CONTROL: Final = re.compile("[\0-\x1f\x7f-\x9f]")


class Query:
    """A readable query."""

    __slots__ = ("_has_controls", "_in_parts", "_raw_values")

    def __init__(
        self, raw_values: dict[str, str | None], *, has_controls: bool, in_parts: frozenset[str]
    ) -> None:
        """Take the value of each name as it stood in the query, None for a repeated name.

        `has_controls` tells whether a decoded value may hold a control character; `in_parts` are names that
        other names continue with `[`: readers may find a list or an object there.
        """
        self._raw_values = raw_values
        self._in_parts = in_parts
        self._has_controls = has_controls

    @property
    def names(self) -> Collection[str]:
        """Every name that the query has."""
        return self._raw_values.keys()

    def value(self, name: str) -> str | Missing:
        """Return the decoded value of a name: `ABSENT` when it is not there.

        `UNKNOWN`: the name is repeated, the value is in parts, or holds a control character (ADR 24).
        """
        if name in self._in_parts:
            return UNKNOWN
        if name not in self._raw_values:
            return ABSENT
        raw = self._raw_values[name]
        if raw is None:
            return UNKNOWN
        value = _decoded(raw)
        return UNKNOWN if self._has_controls and _CONTROL.search(value) else value


class QueryInParts(str):
    """A query of which the values were kept, not the text, which is empty: a recorded one."""

    __slots__ = ()

    def value(self, name: str) -> object:
        """Return what `Query.value` returned of the whole text."""
        raise NotImplementedError


def read_query(raw: str) -> Query | None:
    """Read a raw query, without its question mark.

    None for a malformed escape, invalid UTF-8, a raw `;`, a control character in a name, or a query beyond
    `MAX_FIELDS` or `MAX_ESCAPES`: then every name is unknown.
    """
    if (
        ";" in raw
        or raw.count("&") >= MAX_FIELDS
        or raw.count("%") > MAX_ESCAPES
        or _MALFORMED_ESCAPE.search(raw)
    ):
        return None
    try:
        # Separators are ASCII, so that no character spans two fields: the whole is valid where each field is.
        text = decode_escapes(raw).decode("utf-8")
    except UnicodeError:
        return None
    values: dict[str, str | None] = {}
    are_escaped = "%" in raw or "+" in raw
    for field in raw.split("&"):
        name, _, value = field.partition("=")
        if are_escaped and ("%" in name or "+" in name):
            name = _decoded(name)
        values[name] = None if name in values else value
    has_controls = _CONTROL.search(text) is not None
    if has_controls and any(map(_CONTROL.search, values)):
        # A reader that ends the name there, or drops the character, finds another name.
        return None
    return Query(values, has_controls=has_controls, in_parts=_in_parts(values) if "[" in text else _NONE)


def _in_parts(names: Collection[str]) -> frozenset[str]:
    """Return what PHP, Ruby's Rack and Node's qs make a list or an object of: `a`, where there is `a[]`.

    To qs `[a]` is `a`, too, and what follows the last bracket says nothing.
    """
    found: set[str] = set()
    for name in names:
        if "[" in name:
            whole, _, rest = name.partition("[")
            part, bracket, more = rest.partition("]")
            found.add(whole or part)
            if more:
                found.add(f"{whole}[{part}{bracket}")
    return frozenset(found)


def _decoded(text: str) -> str:
    return decode_escapes(text.replace("+", " ")).decode("utf-8")

"""The body of a request as conditions read it: the members of a JSON object, or the fields of a form.

INVARIANT: what the workload could read in another way is unknown. Readers of JSON differ in which of two
members they take, in whether they compare names exactly (Go, .NET and protobuf's JSON do not), in how many
digits of a number they keep (RFC 8259 6), and in what they make of control characters (ADR 24).
"""

import re
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import Final

from extauthz.compile.conditions.fast_json import exact, read_fast
from extauthz.compile.conditions.mcp_message import (
    NO_HEADERS,
    McpHeaders,
    ordinary_message,
    other_message,
    said_again,
)
from extauthz.compile.conditions.member_names import (
    CONTROL,
    MAX_MEMBERS,
    MESSAGE_NAMES,
    Names,
    is_json_text,
    known_names,
    names_of,
    steps_of,
)
from extauthz.compile.conditions.query import Query, read_query
from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Kleene
from extauthz.domain.content_type import BodyForm
from extauthz.domain.folded_names import are_comparable, folded
from extauthz.domain.mcp import McpMessage
from extauthz.domain.strict_json import JsonRejected, read_object

__all__ = ["MAX_DEPTH", "MAX_ENTRIES", "MAX_MEMBERS", "FormBody", "JsonBody", "WholeBody", "read_body"]

MAX_DEPTH: Final = 32
"""Levels of objects and lists; a body that is nested deeper is not read."""

MAX_ENTRIES: Final = 1_000
"""Of a list, lists in it included; one with more is not compared: each entry costs time."""

MAX_BRACKETS: Final = 8
"""Of the name of a form's field; a form with more in one is not read."""

_FORM: Final = BodyForm.FORM  # looked up in its class, a member of an enumeration costs a call
_NOT_ASKED: Final = object()
_LARGEST_INTEGER: Final = 2**53 - 1
"""RFC 8259 6: integers that every reader agrees about."""
_INTO: Final = re.compile(r"[\[.]")
_STEP: Final = "\0"
# Some readers take what begins so for JSON, whatever the content type.
_JSON_BEGIN: Final = re.compile(rb"""[ \t\n\r]*["\[{]""")


def read_body(content: bytes, form: BodyForm, headers: McpHeaders = NO_HEADERS) -> "WholeBody | None":
    """Read a whole body; None for one that is not of the form, or that two readers could read differently.

    `headers` are those that say again which message of the Model Context Protocol it is.
    """
    if form is _FORM:
        if _JSON_BEGIN.match(content):
            return None
        try:
            query = read_query(content.decode("ascii"))
        except UnicodeDecodeError:
            return None
        return FormBody(query) if query is not None and _are_comparable_fields(query.names) else None
    quickly = read_fast(content, MAX_DEPTH)
    if quickly is not None:
        return JsonBody(quickly, headers)
    members = read_object(content, max_depth=MAX_DEPTH)
    return None if isinstance(members, JsonRejected) else JsonBody(members, headers)


class JsonBody:
    """A JSON object. A path is member names with dots between them; a name with a dot in it has no path."""

    __slots__ = ("_found", "_headers", "_members", "_names")

    def __init__(self, members: dict[str, object], headers: McpHeaders = NO_HEADERS) -> None:
        """Take the members, and the headers of its message."""
        self._members = members
        self._headers = headers
        self._names: dict[int, Names | None] = {}
        self._found: dict[str, object] = {}

    def message(self) -> McpMessage | None:
        """Return the message that the object is; None where it is not one, or a header says otherwise."""
        message = ordinary_message(self._members) or other_message(self)
        if self._headers == NO_HEADERS:
            return message
        return said_again(message, self.value("method"), self._headers)

    def release(self) -> None:
        """Do nothing: this body belongs to no check."""

    def value(self, path: str) -> object:
        """Return the value at a path.

        `UNKNOWN`: it is not there, or null, or an object, or readers may differ about it.
        """
        found = self._found.get(path, _NOT_ASKED)
        if found is _NOT_ASKED:
            found = self._found[path] = self._followed(path)
        return UNKNOWN if found is ABSENT or found is None else _comparable(found)

    def exists(self, path: str) -> Kleene:
        """Tell whether a value is at the path; null is absent. None where readers may differ."""
        found = self._found.get(path, _NOT_ASKED)
        if found is _NOT_ASKED:
            found = self._found[path] = self._followed(path)
        if found is UNKNOWN:
            return None
        return found is not ABSENT and found is not None

    def _followed(self, path: str) -> object:
        here: object = self._members
        for step in steps_of(path):
            name = step[0]
            if type(here) is not dict:
                # Some readers read text as JSON again, and take a list for its entry.
                return UNKNOWN if isinstance(here, str | list) else ABSENT
            is_there = name in here
            if not (is_there and MESSAGE_NAMES.issuperset(here)):
                names = known_names(here) or self._names_of(here)
                if names is None:
                    return UNKNOWN
                if not (is_there and names.are_distinct) and not names.is_plain(step, is_there=is_there):
                    return UNKNOWN
                if not is_there:
                    return ABSENT
            here = here[name]
        return UNKNOWN if type(here) is str and is_json_text(here) else here

    def _names_of(self, members: dict[str, object]) -> Names | None:
        # The members live as long as the body, so that no other object has the id.
        key = id(members)
        if key not in self._names:
            self._names[key] = names_of(members)
        return self._names[key]


def _comparable(value: object) -> object:
    kind = type(value)
    if kind is str:
        assert isinstance(value, str)
        # What is printable has no control character, and is told faster.
        return value if value.isprintable() or not CONTROL.search(value) else UNKNOWN
    if kind is bool:
        return value
    if kind is int:
        assert isinstance(value, int)
        return value if -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER else UNKNOWN
    if kind is float or kind is Decimal:
        assert isinstance(value, float | Decimal)
        number = exact(value) if isinstance(value, float) else value
        if not -_LARGEST_INTEGER <= number <= _LARGEST_INTEGER:
            return UNKNOWN
        # A double keeps what the text says, so every reader has the same number.
        return number if Decimal(repr(float(number))) == number else UNKNOWN
    if kind is list:
        assert isinstance(value, list)
        if _is_long(value):
            return UNKNOWN
        entries = tuple(map(_comparable, value))
        return UNKNOWN if UNKNOWN in entries else entries
    # An object; or null as an entry of a list: compared with nothing.
    return UNKNOWN


def _is_long(entries: list[object]) -> bool:
    """Tell whether a list has more than `MAX_ENTRIES` entries, those of lists in it included."""
    waiting, count = [entries], 0
    while waiting:
        entries = waiting.pop()
        count += len(entries)
        if count > MAX_ENTRIES:
            return True
        waiting.extend(entry for entry in entries if isinstance(entry, list))
    return False


class FormBody:
    """The fields of `application/x-www-form-urlencoded`, read as those of a query."""

    __slots__ = ("_counts", "_parts", "_query")

    def __init__(self, query: Query) -> None:
        """Take the fields."""
        self._query = query
        self._counts = Counter(map(folded, query.names))
        self._parts = {name: _part(name) for name in query.names if _INTO.search(name)}

    def message(self) -> None:
        """Return nothing: a form is not a message."""

    def release(self) -> None:
        """Do nothing: this body belongs to no check."""

    def value(self, name: str) -> object:
        """Return the value of a field; `UNKNOWN`: not there, repeated, or readers may differ about it."""
        found = self._at(name)
        return UNKNOWN if found is ABSENT else found

    def exists(self, name: str) -> Kleene:
        """Tell whether the field is there. None where readers may differ."""
        found = self._at(name)
        return None if found is UNKNOWN else found is not ABSENT

    def _at(self, name: str) -> object:
        found = self._query.value(name)
        if self._counts[folded(name)] != (found is not ABSENT):
            return UNKNOWN
        # `a[b]` or `a.b` is a part of `a` to PHP, Ruby's Rack, Node's qs and Spring.
        part = _part(name)
        inside = part + _STEP
        for other, read in self._parts.items():
            if other != name and (read == part or read.startswith(inside)):
                return UNKNOWN
        is_part = any(folded(name[: step.start()]) in self._counts for step in _INTO.finditer(name))
        return UNKNOWN if is_part else found


def _are_comparable_fields(names: Collection[str]) -> bool:
    return are_comparable("".join(names)) and all(name.count("[") <= MAX_BRACKETS for name in names)


def _part(name: str) -> str:
    """Return the name of a field with `_STEP` where `[` or `.` lead into a value, folded otherwise.

    What stands between `]` and the next `[` says nothing.
    """
    whole, *parts = name.split("[")
    steps = _STEP.join((whole, *(part.partition("]")[0] for part in parts)))
    return folded(steps.replace(".", _STEP)).strip(_STEP)


WholeBody = JsonBody | FormBody

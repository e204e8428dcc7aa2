"""The body of a request as conditions read it: the members of a JSON object, or the fields of a form.

INVARIANT: what the workload could read in another way is unknown. Readers of JSON differ in which of two
members they take, in whether they compare names exactly (Go, .NET and protobuf's JSON do not), in how many
digits of a number they keep (RFC 8259 6), and in what they make of control characters (ADR 24).
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from extauthz.compile.conditions.mcp_message import NO_HEADERS, McpHeaders, read_message
from extauthz.compile.conditions.query import Query, read_query
from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Kleene
from extauthz.domain.content_type import BodyForm
from extauthz.domain.folded_names import are_comparable, folded
from extauthz.domain.mcp import McpMessage
from extauthz.domain.strict_json import JsonRejected, read_object

MAX_DEPTH: Final = 32
"""Levels of objects and lists; a body that is nested deeper is not read."""

MAX_MEMBERS: Final = 1_000
"""Of an object that a path leads through; with more its members are unknown: each name costs time."""

_LARGEST_INTEGER: Final = 2**53 - 1
"""RFC 8259 6: integers that every reader agrees about."""
_INTO: Final = re.compile(r"[\[.]")
_STEP: Final = "\0"
_NONE: Final = frozenset[str]()
# JavaScript makes the members of one the object's own when it copies objects; JSON.NET replaces the object.
_REFERENCES: Final = frozenset(("__proto__", "$ref"))
_CONTROL: Final = re.compile("[\0-\x1f\x7f-\x9f]")
# What may be an object, a list or null. The Python SDK of MCP reads text once more as JSON for an argument of
# another type than `str`.
_JSON_TEXT: Final = re.compile(
    r"""[ \t\n\r]*(null|\{[ \t\n\r]*(\}|".*\})|\[[ \t\n\r]*(\]|["\[{0-9tfnNI-].*\]))[ \t\n\r]*""", re.DOTALL
)
# Some readers take what begins so for JSON, whatever the content type.
_JSON_BEGIN: Final = re.compile(rb"""[ \t\n\r]*["\[{]""")


def read_body(content: bytes, form: BodyForm, headers: McpHeaders = NO_HEADERS) -> "WholeBody | None":
    """Read a whole body; None for one that is not of the form, or that two readers could read differently.

    `headers` are those that say again which message of the Model Context Protocol it is.
    """
    if form is BodyForm.FORM:
        if _JSON_BEGIN.match(content):
            return None
        try:
            query = read_query(content.decode("ascii"))
        except UnicodeDecodeError:
            return None
        return None if query is None or not are_comparable("".join(query.names)) else FormBody(query)
    members = read_object(content, max_depth=MAX_DEPTH)
    return None if isinstance(members, JsonRejected) else JsonBody(members, headers)


class _Names(NamedTuple):
    """The member names of an object as readers that do not compare them exactly see them."""

    written: Collection[str]
    """What names are without case and separators."""
    repeated: frozenset[str]
    """What several names are."""
    with_dots: tuple[str, ...]
    """The names that contain a dot, in that form: to some readers they are paths."""

    @classmethod
    def of(cls, members: Mapping[str, object]) -> "_Names | None":
        """Read the names of an object; None where readers may find other ones, or there are too many."""
        together = "".join(members)
        if together.isascii() and together.isalpha() and together.islower() and len(members) <= MAX_MEMBERS:
            # Names are in that form already, which is the usual case.
            return cls(members, _NONE, ())
        if len(members) > MAX_MEMBERS or _CONTROL.search(together) or not are_comparable(together):
            return None
        if not _REFERENCES.isdisjoint(members):
            return None
        counts = Counter(map(folded, members))
        repeated = frozenset(name for name, count in counts.items() if count > 1)
        return cls(counts, repeated, tuple(folded(name) for name in members if "." in name))

    def is_plain(self, name: str, rest: str, *, is_there: bool) -> bool:
        """Tell whether every reader takes the member `name`, and none another one with dots in its name."""
        plain = folded(name)
        if (plain in self.written) is not is_there or plain in self.repeated:
            return False
        return not self.with_dots or not folded(rest).startswith(self.with_dots)


class JsonBody:
    """A JSON object. A path is member names with dots between them; a name with a dot in it has no path."""

    __slots__ = ("_found", "_headers", "_members", "_names")

    def __init__(self, members: dict[str, object], headers: McpHeaders = NO_HEADERS) -> None:
        """Take the members, and the headers of its message."""
        self._members = members
        self._headers = headers
        self._names: dict[int, _Names | None] = {}
        self._found: dict[str, object] = {}

    def message(self) -> McpMessage | None:
        """Return the message that the object is; None where it is not one, or a header says otherwise."""
        return read_message(self, self._headers)

    def release(self) -> None:
        """Do nothing: this body belongs to no check."""

    def value(self, path: str) -> object:
        """Return the value at a path.

        `UNKNOWN`: it is not there, or null, or an object, or readers may differ about it.
        """
        found = self._at(path)
        return UNKNOWN if found is ABSENT or found is None else _comparable(found)

    def exists(self, path: str) -> Kleene:
        """Tell whether a value is at the path; null is absent. None where readers may differ."""
        found = self._at(path)
        if found is UNKNOWN:
            return None
        return found is not ABSENT and found is not None

    def _at(self, path: str) -> object:
        if path not in self._found:
            self._found[path] = self._followed(path)
        return self._found[path]

    def _followed(self, path: str) -> object:
        here: object = self._members
        rest = path
        while rest:
            if not isinstance(here, dict):
                # Some readers read text as JSON again, and take a list for its entry.
                return UNKNOWN if isinstance(here, str | list) else ABSENT
            name, _, after = rest.partition(".")
            names = self._names_of(here)
            if names is None or not names.is_plain(name, rest, is_there=name in here):
                return UNKNOWN
            if name not in here:
                return ABSENT
            here, rest = here[name], after
        return UNKNOWN if isinstance(here, str) and _JSON_TEXT.fullmatch(here) else here

    def _names_of(self, members: dict[str, object]) -> _Names | None:
        # The members live as long as the body, so that no other object has the id.
        key = id(members)
        if key not in self._names:
            self._names[key] = _Names.of(members)
        return self._names[key]


def _comparable(value: object) -> object:
    match value:
        case bool():
            return value
        case str():
            return UNKNOWN if _CONTROL.search(value) else value
        case int() | Decimal() if not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
            return UNKNOWN
        case int():
            return value
        case Decimal():
            # A double keeps what the text says, so every reader has the same number.
            return value if Decimal(repr(float(value))) == value else UNKNOWN
        case list():
            entries = tuple(map(_comparable, value))
            return UNKNOWN if UNKNOWN in entries else entries
        case _:
            # An object or null as an entry of a list: compared with nothing.
            return UNKNOWN


class FormBody:
    """The fields of `application/x-www-form-urlencoded`, read as those of a query."""

    __slots__ = ("_counts", "_parts", "_query")

    def __init__(self, query: Query) -> None:
        """Take the fields."""
        self._query = query
        self._counts = Counter(map(folded, query.names))
        self._parts = tuple(_part(name) for name in query.names if _INTO.search(name))

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
        inside = _part(name) + _STEP
        if any(part.startswith(inside) for part in self._parts):
            return UNKNOWN
        is_part = any(folded(name[: step.start()]) in self._counts for step in _INTO.finditer(name))
        return UNKNOWN if is_part else found


def _part(name: str) -> str:
    """Return the name of a field with `_STEP` where `[` or `.` lead into a value, folded otherwise."""
    return folded(_INTO.sub(_STEP, name)).rstrip(_STEP)


WholeBody = JsonBody | FormBody

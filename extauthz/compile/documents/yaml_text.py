"""YAML read as its JSON-like core, in one pass over the parser's events.

No node tree, resolver or constructor of PyYAML is used: each event becomes a part of a document at once, so
that depth, aliases, tags and repeated members are judged before anything is built of them. The events come
from libyaml where PyYAML was built with it, else from PyYAML's own parser, which is slower.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

import yaml

from extauthz.domain.problem import Problem

MAX_DEPTH: Final = 128
MAX_VALUES: Final = 1_000_000
"""How many values a text with aliases may stand for: a small text can stand for billions."""

Parser: TypeAlias = "type[yaml.CSafeLoader] | type[yaml.SafeLoader]"
PARSER: Final[Parser] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# YAML 1.1 5.1, without the byte order mark: it begins a text, and parsers differ in what it is elsewhere.
_NOT_PRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_PART: Final = 65_536
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_NUMBER_STARTS: Final = frozenset("-+0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,307})")
_FRACTION: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class YamlDocuments:
    """The documents of a text; `first_alias` is the line of the first alias, None where there is none."""

    documents: list[object]
    first_alias: int | None


def read_yaml(text: str, *, aliases: bool, parser: Parser = PARSER) -> YamlDocuments | Problem:
    """Read every document of a text, which may use YAML aliases only when asked.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    begin = 1 if text.startswith("\ufeff") else 0
    # In parts: one search through a large text would keep every other thread waiting.
    for part in range(begin, len(text), _PART):
        unprintable = _NOT_PRINTABLE.search(text, part, part + _PART)
        if unprintable is not None:
            return _unprintable(text, unprintable.start())
    reader = _Reader(aliases=aliases)
    try:
        for event in yaml.parse(text, Loader=parser):
            _TAKE[type(event)](reader, event)
    except _InvalidError as refused:
        return Problem("", str(refused))
    return YamlDocuments(reader.documents, reader.first_alias)


def alias_refused(line: int) -> str:
    """Return what is said of the first alias of a text that may have none."""
    return f"line {line}: aliases are not part of policies"


def scalar_value(text: str) -> object:
    """Return what a plain scalar stands for: null, a boolean, an integer, a `Decimal`, else its text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FRACTION.fullmatch(text):
            return Decimal(text)
    return text


def _unprintable(text: str, at: int) -> Problem:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return Problem("", f"line {line}, column {column}: not YAML: found the character U+{ord(text[at]):04X}")


class _InvalidError(Exception):
    """Ends the reading; the text says what was found, and where."""


class _OpenMapping:
    """A mapping whose end has not been read; `name` is the member whose value comes next."""

    __slots__ = ("members", "name")

    def __init__(self) -> None:
        self.members: dict[str, object] = {}
        self.name: str | None = None


_Open = _OpenMapping | list[object]
_NOT_READ: Final = object()
"""Stands for an anchored collection whose end has not been read."""


class _Reader:
    """Takes events in order. `documents` holds every document that is complete."""

    def __init__(self, *, aliases: bool) -> None:
        self.documents: list[object] = []
        self.first_alias: int | None = None
        self._aliases = aliases
        self._values = 0
        self._begun: list[int] = []
        self._sizes: dict[str, int] = {}
        self._open: list[_Open] = []
        self._names: list[str | None] = []
        self._anchors: dict[str, object] = {}

    def begin_document(self, _event: yaml.Event) -> None:
        self._anchors = {}
        self._sizes = {}

    def pass_over(self, _event: yaml.Event) -> None:
        pass

    def take_scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag is not None or event.anchor is not None:
            self._begin_anchor(event)
        value = scalar_value(event.value) if event.implicit[0] else event.value
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        self._add(value, event)

    def take_alias(self, event: yaml.AliasEvent) -> None:
        if not self._aliases:
            raise _InvalidError(alias_refused(_line(event)))
        if self.first_alias is None:
            self.first_alias = _line(event)
        if event.anchor not in self._anchors:
            raise _InvalidError(f"{_place(event)}: the alias {event.anchor!r} names no anchor before it")
        value = self._anchors[event.anchor]
        if value is _NOT_READ:
            raise _InvalidError(f"{_place(event)}: the alias {event.anchor!r} is inside of what it names")
        self._values += self._sizes.get(event.anchor, 0)
        if self._values > MAX_VALUES:
            raise _InvalidError(f"{_place(event)}: aliases make more than {MAX_VALUES} values of this text")
        self._add(value, event)

    def begin_mapping(self, event: yaml.CollectionStartEvent) -> None:
        self._begin(_OpenMapping(), event)

    def begin_list(self, event: yaml.CollectionStartEvent) -> None:
        self._begin([], event)

    def end_collection(self, event: yaml.Event) -> None:
        ended = self._open.pop()
        value = ended.members if isinstance(ended, _OpenMapping) else ended
        anchor = self._names.pop()
        begun = self._begun.pop()
        if anchor is not None:
            self._anchors[anchor] = value
            self._sizes[anchor] = self._values - begun
        self._add(value, event)

    def _begin(self, collection: _Open, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None or event.anchor is not None:
            self._begin_anchor(event)
        if len(self._open) == MAX_DEPTH:
            raise _InvalidError(f"line {_line(event)}: is nested deeper than {MAX_DEPTH} levels")
        parent = self._open[-1] if self._open else None
        if isinstance(parent, _OpenMapping) and parent.name is None:
            raise _InvalidError(f"{_place(event)}: a member name is a string")
        self._open.append(collection)
        self._names.append(event.anchor)
        self._begun.append(self._values)

    def _begin_anchor(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise _InvalidError(f"line {_line(event)}: tags are not part of policies, found {event.tag!r}")
        if event.anchor is not None:
            if event.anchor in self._anchors:
                raise _InvalidError(f"{_place(event)}: the anchor {event.anchor!r} occurs twice")
            self._anchors[event.anchor] = _NOT_READ

    def _add(self, value: object, event: yaml.Event) -> None:
        self._values += 1
        if not self._open:
            self.documents.append(value)
            return
        parent = self._open[-1]
        if isinstance(parent, list):
            parent.append(value)
        elif parent.name is not None:
            parent.members[parent.name] = value
            parent.name = None
        elif not isinstance(value, str):
            raise _InvalidError(f"{_place(event)}: a member name is a string")
        elif value in parent.members:
            raise _InvalidError(f"{_place(event)}: the member {value!r} occurs twice")
        else:
            parent.name = value


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _place(event: yaml.Event) -> str:
    assert event.start_mark is not None
    return f"line {_line(event)}, column {event.start_mark.column + 1}"


_TAKE: Final[dict[type[yaml.Event], Callable[[_Reader, Any], None]]] = {
    yaml.StreamStartEvent: _Reader.pass_over,
    yaml.StreamEndEvent: _Reader.pass_over,
    yaml.DocumentStartEvent: _Reader.begin_document,
    yaml.DocumentEndEvent: _Reader.pass_over,
    yaml.ScalarEvent: _Reader.take_scalar,
    yaml.AliasEvent: _Reader.take_alias,
    yaml.MappingStartEvent: _Reader.begin_mapping,
    yaml.MappingEndEvent: _Reader.end_collection,
    yaml.SequenceStartEvent: _Reader.begin_list,
    yaml.SequenceEndEvent: _Reader.end_collection,
}

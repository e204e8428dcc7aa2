"""Parses configuration files into trees in which every value has its file and line.

Input: the bytes of a YAML file (one or more documents) or of a JSON file. Aliases and merge keys are resolved
up to `MAX_DEPTH` and `MAX_VALUES`; tags are not executed. Output: `YamlValue` trees, and `InvalidDocument`
for what cannot be parsed. A lookup finds a name in either spelling of protobuf's JSON mapping:
`failure_mode_allow`, `failureModeAllow`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import yaml

from extauthz.compile.documents.yaml_text import PARSER

MAX_DEPTH: Final = 128
MAX_VALUES: Final = 200_000
MAX_BYTES: Final = 8 * 1024 * 1024

_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_TABS: Final = re.compile(r"^\t+", re.MULTILINE)
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "n"})


@dataclass(frozen=True, slots=True)
class YamlValue:
    """A mapping, a list or a scalar of a file. `text` is the scalar as written, without quotes."""

    file: str
    line: int
    entries: dict[str, "YamlValue"] | None = None
    members: tuple["YamlValue", ...] | None = None
    text: str | None = None
    flag: bool | None = None
    is_block: bool = False

    def at(self, *names: str) -> "YamlValue | None":
        """Return the value at a path of member names in snake case; None if it does not exist."""
        found: YamlValue | None = self
        for name in names:
            if found is None or found.entries is None:
                return None
            found = found.entries.get(name) or _other_spelling(found.entries, name)
        return found

    def given(self, *names: str) -> "YamlValue | None":
        """Return the value at a path; None also for null, which protobuf's JSON mapping reads as absent."""
        found = self.at(*names)
        return None if found is None or found.is_null else found

    @property
    def is_null(self) -> bool:
        """Return whether the value is null."""
        return self.entries is None and self.members is None and self.text is None

    @property
    def truth(self) -> bool | None:
        """Return the boolean as Envoy reads it, also from a quoted string; None if it is not a boolean."""
        word = (self.text or "").lower()
        return True if word in _TRUE else False if word in _FALSE else None

    def is_true(self, *names: str) -> bool:
        """Return whether the value at a path is the boolean true."""
        found = self.at(*names)
        return found is not None and found.truth is True

    def unless_false(self, *names: str) -> "YamlValue | None":
        """Return the value at a path unless it is absent, null or the boolean false."""
        found = self.given(*names)
        return None if found is None or found.truth is False else found

    def word(self, *names: str) -> str | None:
        """Return the text of the scalar at a path; None if there is no scalar."""
        found = self.at(*names)
        return None if found is None else found.text

    def list(self, *names: str) -> tuple["YamlValue", ...]:
        """Return the members of the list at a path; empty if there is no list."""
        found = self.at(*names)
        return () if found is None or found.members is None else found.members

    def items(self) -> Iterator[tuple[str, "YamlValue"]]:
        """Yield the entries of a mapping; nothing for a list or a scalar."""
        yield from (self.entries or {}).items()

    def walk(self) -> Iterator["YamlValue"]:
        """Yield this value and every value below it, in the order of the file."""
        pending = [self]
        while pending:
            value = pending.pop()
            yield value
            pending += reversed((*(value.entries or {}).values(), *(value.members or ())))


@lru_cache(maxsize=16_384)
def snake_case(name: str) -> str:
    """Return a name as its .proto file spells it: `http_filters` for `httpFilters`."""
    return _CAPITAL.sub(r"_\1", name).lower()


def _other_spelling(entries: dict[str, YamlValue], name: str) -> YamlValue | None:
    for key, value in entries.items():
        if snake_case(key) == name:
            return value
    return None


def seconds(value: YamlValue) -> float | None:
    """Return a duration such as `0.2s`, `200ms` or `10m0s` in seconds; None if it is not a duration."""
    text = value.text or ""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True, slots=True)
class InvalidDocument:
    """Why a text could not be parsed, and at which line. `problem` never quotes a value of the text."""

    file: str
    line: int
    problem: str


@dataclass(slots=True)
class _Reading:
    file: str
    first_line: int
    left: int = MAX_VALUES
    problems: list[InvalidDocument] = field(default_factory=list)


def read_text(
    text: bytes, file: str, *, first_line: int = 1
) -> tuple[tuple[YamlValue, ...], list[InvalidDocument]]:
    """Return the documents of a text, and its problems; `first_line` is the number of its first line.

    A text that cannot be parsed has no documents. Duplicate members are problems of a text that can.
    """
    reading = _Reading(file, first_line)
    plain = ""
    try:
        if len(text) > MAX_BYTES:
            raise _InvalidDocumentError(first_line, f"it is larger than {MAX_BYTES} bytes")
        # JSON allows tabs as indentation, YAML does not. A string of JSON cannot contain a line break.
        plain = _TABS.sub(lambda tabs: " " * len(tabs[0]), text.decode("utf-8-sig"))
        _check_depth(plain, reading)
        nodes = list(yaml.compose_all(plain, Loader=PARSER))
        values = tuple(_value(node, reading, 0) for node in nodes)
    except _InvalidDocumentError as invalid:
        return (), [InvalidDocument(file, invalid.line, str(invalid))]
    except UnicodeDecodeError as error:
        line = first_line + text.count(b"\n", 0, error.start)
        return (), [InvalidDocument(file, line, "it is not UTF-8")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = first_line if mark is None else mark.line + first_line
        # PyYAML's `problem` can quote a character, never a value.
        return (), [InvalidDocument(file, line, f"it is not YAML: {error.problem or 'malformed'}")]
    except yaml.YAMLError as error:
        line = first_line + plain.count("\n", 0, getattr(error, "position", 0))
        return (), [InvalidDocument(file, line, "it is not YAML: it holds a character that YAML forbids")]
    return values, reading.problems


class _InvalidDocumentError(Exception):
    """Ends the parsing of a text; the message says why."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def _check_depth(text: str, reading: _Reading) -> None:
    # yaml.compose_all recurses, so the depth is bounded before it runs; yaml.parse does not recurse.
    depth = 0
    for event in yaml.parse(text, Loader=PARSER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = _line(event, reading)
            raise _InvalidDocumentError(line, f"it is nested deeper than {MAX_DEPTH} levels")


def _line(found: yaml.Node | yaml.Event, reading: _Reading) -> int:
    mark = found.start_mark
    assert mark is not None
    return mark.line + reading.first_line


def _value(node: yaml.Node, reading: _Reading, depth: int) -> YamlValue:
    line = _line(node, reading)
    reading.left -= 1
    if reading.left < 0 or depth > MAX_DEPTH:
        raise _InvalidDocumentError(
            line, f"its aliases expand to more than {MAX_VALUES} values or {MAX_DEPTH} levels"
        )
    match node:
        case yaml.MappingNode():
            return YamlValue(reading.file, line, entries=_entries(node, reading, depth))
        case yaml.SequenceNode():
            members = tuple(_value(member, reading, depth + 1) for member in node.value)
            return YamlValue(reading.file, line, members=members)
    assert isinstance(node, yaml.ScalarNode)
    flag = node.value.lower() in {"true", "yes", "on"} if node.tag.endswith(":bool") else None
    text = None if node.tag.endswith(":null") else str(node.value)
    return YamlValue(reading.file, line, text=text, flag=flag, is_block=node.style in {"|", ">"})


def _entries(node: yaml.MappingNode, reading: _Reading, depth: int) -> dict[str, YamlValue]:
    merged: dict[str, YamlValue] = {}
    own: dict[str, YamlValue] = {}
    for key, below in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        value = _value(below, reading, depth + 1)
        if key.tag.endswith(":merge"):
            for source in value.members or (value,):
                merged = dict(source.items()) | merged
        elif not isinstance(key, yaml.ScalarNode):
            # `name: {{ .Values.name }}` is valid YAML: a mapping whose key is a mapping.
            line = _line(key, reading)
            reading.problems.append(
                InvalidDocument(reading.file, line, "the name of a member is not a string")
            )
        elif name in own:
            line = _line(key, reading)
            reading.problems.append(InvalidDocument(reading.file, line, f"the member {name!r} occurs twice"))
        else:
            own[name] = value
    return merged | own

"""Where the parts of a document stand in its text: RFC 6901 pointers to lines and columns.

Only asked of texts that were read before, so every text has the form that its reader accepts. A second pass
over the text is made where places are needed: most files have no problem, and need none.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import yaml

from extauthz.compile.documents.yaml_text import MAX_DEPTH, PARSER
from extauthz.domain.problem import pointer_token


class TextPlace(NamedTuple):
    """A line and a column, both counted from 1."""

    line: int
    column: int


START: Final = TextPlace(1, 1)
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_CONSTANTS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_SAID_PLACE: Final = re.compile(r"line ([0-9]+)(?:, column ([0-9]+))?: ")


def said_place(message: str) -> tuple[TextPlace | None, str]:
    """Return the place that a message begins with, and the message without it."""
    found = _SAID_PLACE.match(message)
    if found is None:
        return None, message
    return TextPlace(int(found[1]), int(found[2] or 1)), message[found.end() :]


class Places:
    """The places of a text, by pointer. Of several documents a pointer begins with the number of one."""

    def __init__(self, text: str, *, is_json: bool) -> None:
        """Read the places of a text; of one that cannot be read there are none after the fault."""
        self._places: dict[str, TextPlace] = {}
        try:
            nodes = list(_json_nodes(text) if is_json else _yaml_nodes(text))
        except yaml.YAMLError:
            nodes = []
        several = any(number > 0 for number, _, _ in nodes)
        for number, pointer, place in nodes:
            self._places.setdefault(f"/{number}{pointer}" if several else pointer, place)

    def of(self, pointer: str) -> TextPlace:
        """Return the place of a part, or of the nearest part around it that is there."""
        while pointer and pointer not in self._places:
            pointer = pointer.rpartition("/")[0]
        return self._places.get(pointer, START)


def json_fault(text: str) -> tuple[TextPlace, str] | None:
    """Return where a refused text is not strict JSON, and what is wrong there; None where unknown."""
    if _too_deep(text):
        return None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return TextPlace(error.lineno, error.colno), f"not JSON: {error.msg}"
    except ValueError:
        # A number of thousands of digits.
        return None
    seen: set[str] = set()
    for _, pointer, place in _json_nodes(text):
        if pointer in seen:
            return place, f"the member {pointer.rpartition('/')[2]!r} occurs twice"
        seen.add(pointer)
    for found in _JSON_TOKEN.finditer(text):
        if found[0] in _CONSTANTS:
            line = text.count("\n", 0, found.start()) + 1
            return TextPlace(
                line, found.start() - text.rfind("\n", 0, found.start())
            ), f"{found[0]} is not JSON"
    return None


def _too_deep(text: str) -> bool:
    depth = 0
    for found in _JSON_TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False


class _Open:
    """A collection that is being read: the pointer of it, and of the part that comes next."""

    __slots__ = ("is_list", "name", "next", "pointer")

    def __init__(self, pointer: str, *, is_list: bool) -> None:
        self.pointer = pointer
        self.is_list = is_list
        self.next = 0
        self.name: str | None = None


def _yaml_nodes(text: str) -> Iterator[tuple[int, str, TextPlace]]:
    opened: list[_Open] = []
    number = -1
    for event in yaml.parse(text, Loader=PARSER):
        if isinstance(event, yaml.DocumentStartEvent):
            number += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
        elif isinstance(event, yaml.NodeEvent):
            pointer, is_name = _next(opened, event)
            mark = event.start_mark
            assert mark is not None
            if is_name or not opened or opened[-1].is_list:
                yield number, pointer, TextPlace(mark.line + 1, mark.column + 1)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(opened) == MAX_DEPTH:
                    # Pointers of what no reader accepts would fill the memory.
                    return
                opened.append(_Open(pointer, is_list=isinstance(event, yaml.SequenceStartEvent)))


def _next(opened: list[_Open], event: yaml.NodeEvent) -> tuple[str, bool]:
    """Return the pointer of a node, and whether it is the name of a member."""
    if not opened:
        return "", False
    parent = opened[-1]
    if parent.is_list:
        parent.next += 1
        return f"{parent.pointer}/{parent.next - 1}", False
    if parent.name is None:
        parent.name = event.value if isinstance(event, yaml.ScalarEvent) else ""
        return f"{parent.pointer}/{pointer_token(parent.name)}", True
    name, parent.name = parent.name, None
    return f"{parent.pointer}/{pointer_token(name)}", False


def _json_nodes(text: str) -> Iterator[tuple[int, str, TextPlace]]:
    opened: list[_Open] = []
    line, line_start, counted = 1, 0, 0
    for found in _JSON_TOKEN.finditer(text):
        piece, at = found[0], found.start()
        line += text.count("\n", counted, at)
        if (newline := text.rfind("\n", counted, at)) >= 0:
            line_start = newline + 1
        counted = at
        if piece in "]}":
            opened.pop()
            continue
        if piece in ",:":
            continue
        parent = opened[-1] if opened else None
        pointer, named = "", True
        if parent is not None and parent.is_list:
            pointer = f"{parent.pointer}/{parent.next}"
            parent.next += 1
        elif parent is not None and parent.name is None:
            parent.name = json.loads(piece)
            pointer = f"{parent.pointer}/{pointer_token(str(parent.name))}"
        elif parent is not None:
            pointer, named = f"{parent.pointer}/{pointer_token(str(parent.name))}", False
            parent.name = None
        if named:
            yield 0, pointer, TextPlace(line, at - line_start + 1)
        if piece in "[{":
            if len(opened) == MAX_DEPTH:
                return
            opened.append(_Open(pointer, is_list=piece == "["))

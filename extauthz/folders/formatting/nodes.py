"""A YAML text as nodes with their comments.

Structure comes from the parser's events, comments from the text between its tokens, where there is nothing
else but white space. A comment belongs to the entry whose line it ends, else to the entry that follows it,
else to the end of the collection that it is indented like.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from extauthz.compile.documents.yaml_text import PARSER

BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_COMMENT: Final = re.compile("#[^\n\r\x85\u2028\u2029]*")
_BLOCK_HEADER: Final = re.compile("[|>][-+0-9]*[ \t]+(#[^\n\r\x85\u2028\u2029]*)")
_MARKS: Final = re.compile(r"[ \t?-]*")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of the source; `blank_before`: the line before it is empty.

    `ends_line`: it stands behind something on its line; `opener`: what stands there only begins what follows.
    """

    text: str
    index: int
    column: int
    ends_line: bool
    opener: bool
    blank_before: bool


@dataclass(slots=True)
class YamlNode:
    """A scalar, an alias or a collection. `column` is where it begins, `source` the text of a scalar."""

    kind: str
    column: int = 0
    anchor: str | None = None
    value: str = ""
    plain: bool = False
    style: str | None = None
    source: str = ""
    flow: bool = False
    entries: list["YamlEntry"] = field(default_factory=list)
    footer: list[Comment] = field(default_factory=list)

    @property
    def is_collection(self) -> bool:
        """Whether it is a mapping or a list."""
        return self.kind in {"map", "list"}


@dataclass(slots=True)
class YamlEntry:
    """A list item or a mapping member. `head` ends the line of the key, `after` that of the value."""

    before: list[Comment]
    blank_before: bool
    key: YamlNode | None = None
    value: YamlNode | None = None
    head: list[Comment] = field(default_factory=list)
    after: list[Comment] = field(default_factory=list)


@dataclass(slots=True)
class YamlDocument:
    """One document: an entry without a key, and the comments that follow it."""

    root: YamlEntry
    footer: list[Comment] = field(default_factory=list)


def comments_of(text: str) -> list[Comment]:
    """Return every comment of a text. Raises yaml.YAMLError."""
    lines = BREAK.split(text)
    found: list[Comment] = []
    end, line, before = 0, 0, ""
    counted = 0
    for token in yaml.scan(text, Loader=PARSER):
        assert token.start_mark is not None
        assert token.end_mark is not None
        begin = token.start_mark.index
        for match in _COMMENT.finditer(text, end, begin) if begin > end else ():
            line += len(BREAK.findall(text, counted, match.start()))
            counted = match.start()
            found.append(_comment(match, line, lines, before))
        if token.end_mark.index > end:
            end = token.end_mark.index
            if token.start_mark.index < token.end_mark.index:
                before = type(token).__name__
            header = _BLOCK_HEADER.match(text, begin) if _is_block(token) else None
            if header is not None:
                place = header.start(1)
                found.append(Comment(header[1].rstrip(), place, 0, True, False, False))
    for match in _COMMENT.finditer(text, end):
        line += len(BREAK.findall(text, counted, match.start()))
        counted = match.start()
        found.append(_comment(match, line, lines, before))
    return found


def _is_block(token: yaml.Token) -> bool:
    return isinstance(token, yaml.ScalarToken) and token.style in {"|", ">"}


_OPENERS: Final = frozenset(
    {"BlockEntryToken", "FlowSequenceStartToken", "FlowMappingStartToken", "DocumentStartToken", "KeyToken"}
)


def _comment(match: re.Match[str], line: int, lines: list[str], before: str) -> Comment:
    own = lines[line]
    ends_line = not own.lstrip().startswith("#")
    column = len(own) - len(own.lstrip())
    blank = line > 0 and not lines[line - 1].strip()
    return Comment(match[0].rstrip(), match.start(), column, ends_line, before in _OPENERS, blank)


def nodes_of(text: str) -> list[YamlDocument]:
    """Return the documents of a text. Raises yaml.YAMLError."""
    return _Builder(text).documents


class _Builder:
    """Takes the events in order, and each comment with the event that follows it."""

    def __init__(self, text: str) -> None:
        self.documents: list[YamlDocument] = []
        self._text = text
        self._lines = BREAK.split(text)
        self._comments = comments_of(text)
        self._next = 0
        self._open: list[YamlNode] = []
        self._last: YamlEntry | None = None
        self._last_is_key = False
        self._carried: list[Comment] = []
        for event in yaml.parse(text, Loader=PARSER):
            self._take(event)
        if self._next < len(self._comments):
            if not self.documents:
                self.documents.append(YamlDocument(YamlEntry([], False, value=YamlNode("scalar"))))
            self.documents[-1].footer += self._comments[self._next :]

    def _pending(self, until: int) -> Iterator[Comment]:
        while self._next < len(self._comments) and self._comments[self._next].index < until:
            yield self._comments[self._next]
            self._next += 1

    def _take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        assert mark is not None
        if isinstance(event, yaml.NodeEvent):
            self._add(self._node(event), self._before(mark.index), mark.line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(mark.index)
        elif isinstance(event, yaml.DocumentEndEvent):
            self.documents[-1].footer += self._before(mark.index)
            self._last = None

    def _before(self, until: int) -> list[Comment]:
        """Return the comments before an event that stand for themselves; give others to what they follow."""
        leading: list[Comment] = []
        for comment in self._pending(until):
            if leading or not self._ends_last(comment):
                leading.append(comment)
        return leading

    def _ends_last(self, comment: Comment) -> bool:
        if not comment.ends_line or comment.opener or self._last is None:
            return False
        (self._last.head if self._last_is_key else self._last.after).append(comment)
        return True

    def _node(self, event: yaml.NodeEvent) -> YamlNode:
        assert event.start_mark is not None
        assert event.end_mark is not None
        column, anchor = event.start_mark.column, event.anchor
        if isinstance(event, yaml.AliasEvent):
            return YamlNode("alias", column, value=str(anchor))
        if isinstance(event, yaml.ScalarEvent):
            source = self._text[event.start_mark.index : event.end_mark.index]
            return YamlNode(
                "scalar",
                column,
                anchor,
                value=event.value,
                plain=bool(event.implicit[0]),
                style=event.style,
                source=source,
            )
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        return YamlNode(kind, column, anchor, flow=bool(event.flow_style))  # type: ignore[attr-defined]  # both have it

    def _add(self, node: YamlNode, before: list[Comment], line: int) -> None:
        parent = self._open[-1] if self._open else None
        # The end of a text without a last line break is a line that is not there.
        own = self._lines[line] if line < len(self._lines) else ""
        begins_line = _MARKS.fullmatch(own[: node.column]) is not None
        blank = begins_line and line > 0 and not self._lines[line - 1].strip()
        before, self._carried = [*self._carried, *before], []
        if parent is None:
            self._last = YamlEntry(before, blank, value=node)
            self.documents.append(YamlDocument(self._last))
        elif parent.kind == "list":
            self._last = YamlEntry(before, blank, value=node)
            parent.entries.append(self._last)
        elif not parent.entries or parent.entries[-1].value is not None:
            self._last = YamlEntry(before, blank, key=node)
            parent.entries.append(self._last)
            self._last_is_key = True
            return
        else:
            self._last = parent.entries[-1]
            self._last.value = node
            if node.is_collection and not node.flow:
                # Comments between a key and the first entry of its value are those of that entry.
                self._carried = before
            else:
                self._last.head += before
        self._last_is_key = False
        if node.is_collection:
            self._open.append(node)

    def _close(self, until: int) -> None:
        node = self._open.pop()
        parent = self._open[-1] if self._open else None
        if node.flow:
            node.footer += self._before(until)
            self._last = parent.entries[-1] if parent is not None else self.documents[-1].root
            self._last_is_key = False
            return
        least = node.column
        if parent is not None and node.kind == "list" and parent.kind == "map" and parent.column == least:
            # A list that is not indented below its key: a comment in its column is about the next member.
            least += 1
        while self._next < len(self._comments) and self._comments[self._next].index < until:
            comment = self._comments[self._next]
            if not self._ends_last(comment):
                if comment.column < least or comment.ends_line:
                    return
                node.footer.append(comment)
            self._next += 1

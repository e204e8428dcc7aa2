"""Writes nodes in one form: two spaces a level, lists indented below their keys, one empty line at most.

A collection in brackets stays in brackets while it fits on its line and has no comment; otherwise each of its
entries has lines of its own. The order of everything stays.
"""

from typing import Final

from extauthz.folders.formatting.nodes import Comment, YamlDocument, YamlEntry, YamlNode
from extauthz.folders.formatting.scalars import Block, written

WIDTH: Final = 120
_STEP: Final = 2


def text_of(documents: list[YamlDocument]) -> str:
    """Return the text of documents."""
    writer = _Writer()
    for number, document in enumerate(documents):
        if number:
            writer.lines.append("---")
        writer.document(document)
    return "\n".join(writer.lines) + "\n" if writer.lines else ""


def _flat(node: YamlNode) -> str | None:
    """Return a node on one line, None where it has comments or lines of its own."""
    anchor = "" if node.anchor is None or node.kind == "alias" else f"&{node.anchor} "
    if node.kind == "alias":
        return f"*{node.value}"
    if node.kind == "scalar":
        text = written(node, in_block=False)
        assert isinstance(text, str)
        return anchor + text
    if not node.flow or node.footer:
        return None
    parts: list[str] = []
    for entry in node.entries:
        if entry.before or entry.head or entry.after or entry.value is None:
            return None
        value = _flat(entry.value)
        if value is None:
            return None
        parts.append(value if entry.key is None else f"{_key(entry.key)} {value}")
    inside = ", ".join(parts)
    return f"{anchor}{{{inside}}}" if node.kind == "map" else f"{anchor}[{inside}]"


def _key(node: YamlNode) -> str:
    text = _flat(node)
    assert text is not None, "a member name is a scalar"
    # An alias would take the colon for a part of its name.
    return f"{text} :" if node.kind == "alias" else f"{text}:"


class _Writer:
    """Collects lines; one that is begun by a dash is finished by the first entry below it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._dashes = ""

    def document(self, document: YamlDocument) -> None:
        root = document.root
        assert root.value is not None
        is_empty = root.value.kind == "scalar" and not root.value.source and root.value.anchor is None
        if is_empty:
            self._comments([*root.before, *root.head, *root.after], 0)
        else:
            self._entry(root, 0, first=True)
        self._comments(document.footer, 0)

    def _comments(self, comments: list[Comment], indent: int, *, first: bool = False) -> None:
        for comment in comments:
            self._blank(comment.blank_before and not first)
            self.lines.append(" " * indent + comment.text)
            first = False

    def _blank(self, wanted: bool) -> None:
        if wanted and self.lines and self.lines[-1] not in {"", "---"}:
            self.lines.append("")

    def _line(self, text: str, indent: int, comments: list[Comment]) -> None:
        behind = "".join(f"  {comment.text}" for comment in comments)
        margin = self._dashes or " " * indent
        self.lines.append(f"{margin}{text}{behind}")
        self._dashes = ""

    def _entry(self, entry: YamlEntry, indent: int, *, first: bool) -> None:
        """Write an entry that begins at `indent`, or behind the dashes of a line that is begun."""
        node = entry.value
        assert node is not None
        key = "" if entry.key is None else f"{_key(entry.key)} "
        flat = _flat(node)
        if node.is_collection and (flat is None or len(flat) + len(key) + indent > WIDTH) and node.entries:
            self._lead(entry.before, entry, indent, first=first)
            self._collection(entry, node, key, indent)
            return
        if flat is None:
            # Brackets with nothing but comments between them.
            entry.head += node.footer
            flat = "{}" if node.kind == "map" else "[]"
        block = written(node, in_block=True) if node.kind == "scalar" else flat
        ends = [*entry.head, *entry.after]
        self._lead([*entry.before, *ends[:-1]], entry, indent, first=first)
        if isinstance(block, Block):
            anchor = "" if node.anchor is None else f"&{node.anchor} "
            self._line(f"{key}{anchor}{block.header}", indent, ends[-1:])
            # Two columns more than the key, or than the dash, which is before `indent`.
            margin = " " * (indent if entry.key is None and self._is_item else indent + _STEP)
            self.lines += [f"{margin}{line}" if line else "" for line in block.lines]
        else:
            self._line(f"{key}{flat}", indent, ends[-1:])

    def _lead(self, comments: list[Comment], entry: YamlEntry, indent: int, *, first: bool) -> None:
        if self._dashes:
            # They stand before the dash: their order stays, and nothing is between them.
            dashes, self._dashes = self._dashes, ""
            at = len(dashes) - len(dashes.lstrip(" "))
            self._comments(comments, at, first=True)
            self._dashes = dashes
            return
        self._comments(comments, indent, first=first)
        self._blank(entry.blank_before and not (first and not comments))

    def _collection(self, entry: YamlEntry, node: YamlNode, key: str, indent: int) -> None:
        """Write the entries of a collection on lines of their own."""
        below = indent if entry.key is None else indent + _STEP
        carried = entry.head
        anchor = "" if node.anchor is None else f"&{node.anchor}"
        if entry.key is not None or anchor:
            self._line(f"{key}{anchor}".rstrip(), indent, entry.head[:1])
            carried = entry.head[1:]
        first = True
        for each in node.entries:
            each.before[:0] = carried
            carried = []
            if node.kind == "list":
                self._item(each, below, first=first)
            else:
                self._entry(each, below, first=first)
            first = False
        self._comments([*node.footer, *entry.after], below)

    _is_item = False

    def _item(self, entry: YamlEntry, indent: int, *, first: bool) -> None:
        node = entry.value
        assert node is not None
        self._lead(entry.before, entry, indent, first=first)
        entry.before = []
        self._dashes = (self._dashes or " " * indent) + "- "
        was, self._is_item = self._is_item, True
        self._entry(entry, indent + _STEP, first=True)
        self._is_item = was

"""Rows of a table whose columns are all texts, of which a tenant may have a million, as COPY TO sends them.

Decoding a record of a query costs PostgreSQL's client several times what splitting these texts costs. Input:
the bytes of the text format (PostgreSQL, "COPY", File Formats). Output: columns of some rows at a time, or
documents one by one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

Document = dict[str, object]
CopiedText = str | None

BYTES_AT_ONCE: Final = 32 * 1024
"""About this much is split in one step. It takes a fifth of a millisecond."""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL: Final = r"\N"


class CopiedRows:
    """The rows of one table, in columns.

    `parts` has the columns of some rows at a time, one for each of `members`, all equally long.
    """

    def __init__(self, members: Sequence[str]) -> None:
        """Name the member of a document that each column holds."""
        self.members = tuple(members)
        self.parts: list[list[list[CopiedText]]] = []
        self._rest = b""

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(part[0]) for part in self.parts)

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents of all rows."""
        for part in self.parts:
            yield from self.documents(part)

    def documents(self, part: Sequence[Sequence[CopiedText]]) -> Iterator[Document]:
        """Yield the documents of one of the parts."""
        for row in zip(*part, strict=True):
            yield dict(zip(self.members, row, strict=True))

    async def take(self, octets: bytes) -> None:
        """Take what COPY sent next. Raises ValueError for a text that is not UTF-8."""
        octets = self._rest + octets if self._rest else octets
        begin = 0
        while end := octets.find(b"\n", begin + BYTES_AT_ONCE - 1) + 1:
            self._split(octets[begin:end])
            begin = end
        self._rest = octets[begin:]

    def end(self) -> None:
        """Take the last rows. Raises ValueError for a text that is not UTF-8."""
        if self._rest:
            self._split(self._rest)
            self._rest = b""

    def last(self, member: str) -> CopiedText:
        """Return a member of the last row. Raises IndexError without rows."""
        return self.parts[-1][self.members.index(member)][-1]

    def _split(self, octets: bytes) -> None:
        text = octets.decode()
        fields: list[CopiedText] = [*text.replace("\n", "\t").split("\t")]
        fields.pop()
        if "\\" in text:
            fields = [_read(field) for field in fields]
        count = len(self.members)
        self.parts.append([fields[column::count] for column in range(count)])


def _read(field: CopiedText) -> CopiedText:
    if field is None or field == _NULL:
        return None
    return _ESCAPED.sub(lambda found: _CONTROLS.get(found[1], found[1]), field)

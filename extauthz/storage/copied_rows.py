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
    """The rows of one table. What takes long is done where the rows are read, not where they arrive.

    `texts` has what COPY sent, each with some whole rows.
    """

    def __init__(self, members: Sequence[str]) -> None:
        """Name the member of a document that each column holds."""
        self.members = tuple(members)
        self.texts: list[bytes] = []
        self._rest = b""
        self._count = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents of all rows. Raises ValueError for a text that is not UTF-8."""
        for part in self.parts():
            yield from self.documents(part)

    def parts(self) -> Iterator[list[list[CopiedText]]]:
        """Yield the columns of some rows at a time, one for each of `members`, all equally long.

        Raises:
            ValueError: a text is not UTF-8.
        """
        for octets in self.texts:
            begin = 0
            while begin < len(octets):
                end = octets.find(b"\n", begin + BYTES_AT_ONCE - 1) + 1 or len(octets)
                yield self._columns(octets[begin:end])
                begin = end

    def documents(self, part: Sequence[Sequence[CopiedText]]) -> Iterator[Document]:
        """Yield the documents of one of the parts."""
        for row in zip(*part, strict=True):
            yield dict(zip(self.members, row, strict=True))

    async def take(self, octets: bytes) -> None:
        """Take what COPY sent next; the end of it may be in the middle of a row."""
        end = octets.rfind(b"\n") + 1
        if not end:
            self._rest += octets
            return
        self.texts.append(self._rest + octets[:end] if self._rest else octets[:end])
        self._rest = octets[end:]
        self._count += octets.count(b"\n")

    def last(self, member: str) -> CopiedText:
        """Return a member of the last row. Raises IndexError without rows."""
        text = self.texts[-1]
        row = text[text.rfind(b"\n", 0, -1) + 1 :]
        return self._columns(row)[self.members.index(member)][0]

    def _columns(self, octets: bytes) -> list[list[CopiedText]]:
        text = octets.decode()
        fields: list[CopiedText] = [*text.replace("\n", "\t").split("\t")]
        fields.pop()
        if "\\" in text:
            fields = [_read(field) for field in fields]
        count = len(self.members)
        return [fields[column::count] for column in range(count)]


def _read(field: CopiedText) -> CopiedText:
    if field is None or field == _NULL:
        return None
    return _ESCAPED.sub(lambda found: _CONTROLS.get(found[1], found[1]), field)

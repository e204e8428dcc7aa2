"""The query of a request, decoded once as a whole; looking a name up costs a search, never a parse.

A hostile query of ten thousand parameters is cheap, because nothing here loops over them.
"""

import re
from typing import Final

from extauthz.compile.values import ABSENT, UNKNOWN, Missing

# Octets that UTF-8 never contains stand for the separators while escapes are decoded, so that `%26` and `%3D`
# stay text; an escape of them is invalid UTF-8 in any case.
_PAIR: Final = b"\xfe"
_EQUALS: Final = b"\xff"
_ESCAPED_SEPARATOR: Final = re.compile(b"%[Ff][EeFf]")
_AS_SEPARATORS: Final = bytes.maketrans(b"+&=", b" " + _PAIR + _EQUALS)
_AS_TEXT: Final = bytes.maketrans(_PAIR + _EQUALS, b"&=")


class Query:
    """A readable query: names and values decoded once (`%XX`, `+`)."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        """Take the decoded pairs in UTF-8, each led by `_PAIR`, the last followed by one."""
        self._octets = octets

    def value(self, name: str) -> str | Missing:
        """Return the value of a name: `ABSENT` when it is not there, `UNKNOWN` when it is repeated."""
        pair = _PAIR + name.encode("utf-8", "surrogatepass")
        if pair not in self._octets:
            return ABSENT
        with_value = pair + _EQUALS
        found = self._octets.count(with_value) + self._occurrences(pair + _PAIR)
        if found != 1:
            return UNKNOWN if found else ABSENT
        start = self._octets.find(with_value)
        if start < 0:
            return ""
        start += len(with_value)
        return self._octets[start : self._octets.index(_PAIR, start)].replace(_EQUALS, b"=").decode("utf-8")

    def _occurrences(self, alone: bytes) -> int:
        first = self._octets.find(alone)
        # The separator behind one pair leads the next, so `count` would miss every second of `a&a`.
        return 0 if first < 0 else 1 + (self._octets.find(alone, first + len(alone) - 1) >= 0)


def read_query(raw: str) -> Query | None:
    """Read a raw query; None for a malformed escape, invalid UTF-8 or a raw `;`."""
    if ";" in raw:
        return None
    try:
        octets = raw.encode("utf-8").translate(_AS_SEPARATORS)
        if "%" in raw:
            if (b"F" in octets or b"f" in octets) and _ESCAPED_SEPARATOR.search(octets):
                return None
            # No backslash is left, so that Python's own \x escapes decode at C speed; malformed ones raise.
            escaped = octets.replace(b"\\", b"%5C").replace(b"%", b"\\x")
            octets = escaped.decode("unicode_escape").encode("latin-1")
        octets.translate(_AS_TEXT).decode("utf-8")
    except UnicodeError:
        return None
    return Query(b"".join((_PAIR, octets, _PAIR)))

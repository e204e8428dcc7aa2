"""The query of a request, decoded once as a whole; looking a name up costs a search, never a parse.

A hostile query of ten thousand parameters is cheap, because nothing here loops over them.
"""

import re
from typing import Final

from extauthz.compile.values import ABSENT, UNKNOWN, Missing

# Octets that UTF-8 never contains stand for the separators while escapes are decoded, so that `%26` and `%3D`
# stay text; an escape of them is invalid UTF-8 in any case.
_UNREADABLE_ESCAPE: Final = re.compile("%(?:[Ff][EeFf]|(?![0-9A-Fa-f]{2}))")
_PAIR: Final = "\udcfe"
_EQUALS: Final = "\udcff"


class Query:
    """A readable query: names and values decoded once (`%XX`, `+`)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take the decoded pairs, each led by `_PAIR`, the text ending with one."""
        self._text = text

    def value(self, name: str) -> str | Missing:
        """Return the value of a name: `ABSENT` when it is not there, `UNKNOWN` when it is repeated."""
        with_value, alone = f"{_PAIR}{name}{_EQUALS}", f"{_PAIR}{name}{_PAIR}"
        found = self._text.count(with_value) + self._occurrences(alone)
        if found != 1:
            return UNKNOWN if found else ABSENT
        start = self._text.find(with_value)
        if start < 0:
            return ""
        start += len(with_value)
        return self._text[start : self._text.index(_PAIR, start)].replace(_EQUALS, "=")

    def _occurrences(self, alone: str) -> int:
        first = self._text.find(alone)
        # The separator behind one pair leads the next, so `count` would miss every second of `a&a`.
        return 0 if first < 0 else 1 + (self._text.find(alone, first + len(alone) - 1) >= 0)


def read_query(raw: str) -> Query | None:
    """Read a raw query; None for a malformed escape, invalid UTF-8 or a raw `;`."""
    if ";" in raw or ("%" in raw and _UNREADABLE_ESCAPE.search(raw)):
        return None
    try:
        octets = raw.encode("utf-8").replace(b"+", b" ").replace(b"&", b"\xfe").replace(b"=", b"\xff")
        if "%" in raw:
            # No backslash is left, so that Python's own \x escapes decode at C speed.
            escaped = octets.replace(b"\\", b"%5C").replace(b"%", b"\\x")
            octets = escaped.decode("unicode_escape").encode("latin-1")
        octets.replace(b"\xfe", b"&").replace(b"\xff", b"=").decode("utf-8")
    except UnicodeError:
        return None
    return Query(f"{_PAIR}{octets.decode('utf-8', 'surrogateescape')}{_PAIR}")

"""The query of a request, decoded once as a whole; looking a name up costs a search, never a parse.

A hostile query of ten thousand parameters is cheap, because nothing here loops over them.
"""

import re
from typing import Final

from extauthz.compile.values import ABSENT, UNKNOWN, Missing

_MALFORMED_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Octets that UTF-8 never contains stand for the separators while escapes are decoded, so that `%26` and `%3D`
# stay text; an escape of them is invalid UTF-8 in any case.
_ESCAPED_SEPARATOR: Final = re.compile("%[Ff][EeFf]")
_PAIR: Final = "\udcfe"
_EQUALS: Final = "\udcff"
_INVALID: Final = re.compile("[\udc80-\udcfd]")


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
    if ";" in raw or _MALFORMED_ESCAPE.search(raw) or _ESCAPED_SEPARATOR.search(raw):
        return None
    if not raw.isascii():
        try:
            raw = "".join(char if char.isascii() else _escaped(char) for char in raw)
        except UnicodeEncodeError:
            return None
    marked = raw.replace("\\", "%5C").replace("+", " ").replace("&", "\xfe").replace("=", "\xff")
    # No backslash is left, so that Python's own \x escapes decode at C speed.
    octets = marked.replace("%", "\\x").encode("latin-1").decode("unicode_escape").encode("latin-1")
    text = octets.decode("utf-8", "surrogateescape")
    return None if _INVALID.search(text) else Query(f"{_PAIR}{text}{_PAIR}")


def _escaped(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8"))

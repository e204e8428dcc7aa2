"""The query of a request, decoded once as a whole; looking a name up costs a search, never a parse.

A hostile query of ten thousand parameters is cheap, because nothing here loops over them.
"""

import re
from binascii import a2b_qp
from typing import Final

from extauthz.compile.values import ABSENT, UNKNOWN, Missing

# Octets that UTF-8 never contains stand for the separators while escapes are decoded, so that `%26` and `%3D`
# stay text; an escape of them is invalid UTF-8 in any case. `=` stands for `%` meanwhile, which makes a query
# quoted-printable (RFC 2045 6.7): the one encoding of octets by hexadecimal digits that Python decodes in C
# without looking at each of ten thousand escapes in turn.
_PAIR: Final = b"\xfe"
_EQUALS: Final = b"\xff"
_AS_QUOTED: Final = bytes.maketrans(b"+&=%", b" " + _PAIR + _EQUALS + b"=")
# An escape of a separator, and the soft line break (6.7, rule 5), which is no escape here.
_REFUSED_ESCAPE: Final = re.compile(b"=(?:[Ff][EeFf]|[\r\n])")
_IN_REFUSED_ESCAPES: Final = (b"F", b"f", b"\r", b"\n")
_AS_TEXT: Final = bytes.maketrans(_PAIR + _EQUALS, b"&=")
# C0, DELETE and C1 (two octets in UTF-8). Decoders that hold text as C strings end it at U+0000.
_CONTROL: Final = re.compile(b"[\0-\x1f\x7f]|\xc2[\x80-\x9f]")
_CONTROL_IN_NAME: Final = re.compile(_PAIR + b"[^\xfe\xff]*?(?:" + _CONTROL.pattern + b")")


class Query:
    """A readable query: names and values decoded once (`%XX`, `+`)."""

    __slots__ = ("_has_controls", "_octets")

    def __init__(self, octets: bytes, *, has_controls: bool) -> None:
        """Take the decoded pairs in UTF-8, each led by `_PAIR`, the last followed by one.

        `has_controls` tells whether a value holds a control character.
        """
        self._octets = octets
        self._has_controls = has_controls

    def value(self, name: str) -> str | Missing:
        """Return the value of a name: `ABSENT` when it is not there.

        `UNKNOWN`: the name is repeated, or the value holds a control character.
        """
        pair = _PAIR + name.encode("utf-8", "surrogatepass")
        if pair not in self._octets:
            return ABSENT
        with_value = pair + _EQUALS
        start, alone = self._octets.find(with_value), self._octets.find(pair + _PAIR)
        if start < 0:
            if alone < 0:
                return ABSENT
            # The separator behind one pair leads the next.
            return "" if self._octets.find(pair + _PAIR, alone + len(pair)) < 0 else UNKNOWN
        start += len(with_value)
        if alone >= 0 or self._octets.find(with_value, start) >= 0:
            return UNKNOWN
        octets = self._octets[start : self._octets.index(_PAIR, start)]
        if self._has_controls and _CONTROL.search(octets):
            return UNKNOWN
        return octets.replace(_EQUALS, b"=").decode("utf-8")


def read_query(raw: str) -> Query | None:
    """Read a raw query.

    None for a malformed escape, invalid UTF-8, a raw `;` or a control character in a name.
    """
    if ";" in raw:
        return None
    try:
        quoted = raw.encode("utf-8").translate(_AS_QUOTED)
        octets = _unquoted(quoted) if "%" in raw else quoted
        if octets is None:
            return None
        octets.translate(_AS_TEXT).decode("utf-8")
    except UnicodeError:
        return None
    octets = b"".join((_PAIR, octets, _PAIR))
    has_controls = _CONTROL.search(octets) is not None
    if has_controls and _CONTROL_IN_NAME.search(octets):
        # A reader that ends the name there, or drops the character, finds another name.
        return None
    return Query(octets, has_controls=has_controls)


def _unquoted(quoted: bytes) -> bytes | None:
    """Decode the escapes; None when one is malformed or means a separator."""
    if any(octet in quoted for octet in _IN_REFUSED_ESCAPES) and _REFUSED_ESCAPE.search(quoted):
        return None
    octets = a2b_qp(quoted)
    # INVARIANT: a well-formed escape shrinks by two octets. The decoder lets malformed ones pass, and none of
    # them by as much: `=zz` stays as it is, `==` and a `=` at the end shrink by one.
    return octets if len(quoted) - len(octets) == 2 * quoted.count(b"=") else None

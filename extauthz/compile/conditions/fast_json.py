"""Reads a JSON body with orjson, where that is proven to read what `domain.strict_json` does.

orjson is many times faster. Of what the strict reader refuses it takes two members of one name, of which it
keeps the last, more levels, and numbers that a double makes zero; and it rounds numbers. Two proofs rule that
out:

- *Counted*: the text has no more quotes than the strings that were read need. So no member is missing, and no
  quote stands inside of a string: what is outside of strings is known, and with it every number.
- *Written again*: what orjson writes of the value is the text, blanks aside. So both have the same tokens,
  and each number of the text is one that orjson keeps.

INVARIANT: None is returned where neither proves it; then the strict reader reads, and it alone refuses.
tests/property/test_fast_json.py compares both, and has what is relied on in orjson.
"""

import sys
from decimal import Decimal
from typing import Any, Final

import orjson

from extauthz.domain.strict_json import brackets_of, is_deeper, is_shallow

_BLANKS: Final = b" \t\n\r"
_SMALL: Final = 1024
"""Octets up to which it takes less time to write a value again than to count its strings."""
_FEW: Final = 32
"""Entries of objects and lists of which the strings are counted first."""
_NOT_STRUCTURE: Final = bytes(octet for octet in range(256) if octet not in b'[]{}"')
_AS_DIGITS: Final = bytes(
    ord("0") if octet in b".0123456789" else ord("e") if octet in b"eE" else ord(" ") for octet in range(256)
)
_MINUS: Final = b"-"
_LONG: Final = b"0" * 16
_SMALLEST: Final = b"e000"
"""Numbers that a double may not keep: of more than 15 digits (DBL_DIG of C), or near zero. orjson refuses one
that is too large."""


def read_fast(content: bytes, max_depth: int) -> dict[str, object] | None:
    """Read a JSON object; None where that is not proven to be what the strict reader makes of it.

    A fraction is a `float` that stands for the number which `exact` returns.
    """
    try:
        value = orjson.loads(content)
    except ValueError:
        return None
    if type(value) is not dict:
        return None
    if (
        (len(content) > _SMALL and _is_counted(content, value, max_depth, _FEW))
        or _is_written_again(content, value, max_depth)
        or _is_counted(content, value, max_depth, sys.maxsize)
    ):
        return value
    return None


def exact(fraction: float) -> Decimal:
    """Return the number that the text has where a fraction was read."""
    return Decimal(orjson.dumps(fraction).decode())


def _is_counted(content: bytes, value: dict[str, object], max_depth: int, most: int) -> bool:
    """Prove it by the strings of the value, which has at most `most` entries in objects and lists."""
    strings = 0
    fractions = False
    waiting: list[Any] = [value]
    # The list grows while it is read.
    for container in waiting:
        most -= len(container)
        if most < 0:
            return False
        if type(container) is dict:
            strings += len(container)
            entries = container.values()
        else:
            entries = container
        for entry in entries:
            kind = type(entry)
            if kind is str:
                strings += 1
            elif kind is dict or kind is list:
                waiting.append(entry)
            elif kind is float:
                fractions = True
    # INVARIANT: a member that is missing had a name, and an escaped quote is one more; nothing makes it less.
    quotes = 2 * strings
    if quotes << 5 < len(content):
        # From one to the next by `memchr`, no further than the first beyond; `count` looks at each octet.
        if len(content) - len(content.replace(b'"', b"", quotes + 1)) != quotes:
            return False
    elif content.count(b'"') != quotes:
        return False
    if not fractions and len(waiting) <= max_depth:
        return True
    outside = b"".join(content.split(b'"')[::2])
    if fractions:
        numbers = outside.translate(_AS_DIGITS, _MINUS)
        if _LONG in numbers or _SMALLEST in numbers:
            return False
    brackets = brackets_of(outside)
    return len(brackets) <= 2 * max_depth or is_shallow(brackets, max_depth)


def _is_written_again(content: bytes, value: dict[str, object], max_depth: int) -> bool:
    try:
        written = orjson.dumps(value)
    except TypeError:  # nested deeper than it writes
        return False
    # INVARIANT: no two tokens have only a blank between them, so that each is known without blanks.
    if written != content and written.translate(None, _BLANKS) != content.translate(None, _BLANKS):
        return False
    # A string without brackets leaves two quotes, which go; before one with a bracket an odd number stays.
    structure = written.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if len(structure) <= 2 * max_depth:
        return True
    if b'"' not in structure and b"\\" not in written:
        return is_shallow(structure, max_depth)
    return not is_deeper(written.decode(), max_depth)

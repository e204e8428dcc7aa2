"""Reads JSON strictly: refuses what two readers could understand differently.

It refuses what Python's own reader accepts: duplicate member names (RFC 8259 4: receivers
differ in which one they take), `NaN` and `Infinity` (RFC 8259 6: not JSON), numbers beyond the range of a
double (RFC 8259 6: the interoperable range), a byte order mark (RFC 8259 8.1), bytes that are not UTF-8,
lone surrogates (RFC 8259 8.2: unpredictable receivers), and nesting deep enough to exhaust a stack
(RFC 8259 9 allows a limit). Nothing here raises for any input.
"""

import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

MAX_DEPTH: Final = 32

# The largest double has 309 digits: longer literals cannot be in range, or say nothing more.
_MAX_NUMBER_CHARACTERS: Final = 400
_SURELY_IN_RANGE: Final = 300
"""Characters of a literal without an exponent up to which a double holds its order of magnitude."""
_LARGEST: Final = int(sys.float_info.max)
_LARGEST_DECIMAL: Final = Decimal(_LARGEST)
"""The same to compare decimals with: an integer would become one each time."""
_SMALLEST: Final = Decimal(math.ulp(0.0))
_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b"[]{}")
_BACKSLASHES: Final = re.compile(r"\\+")
_PART: Final = 16_384


@dataclass(frozen=True, slots=True)
class JsonRejected:
    """Why a document was refused; safe to log, it never quotes the document."""

    problem: str


class _RejectedError(ValueError):
    """Carries a problem out of the callbacks of the standard reader; never leaves this module."""


def read_json(document: bytes, *, max_depth: int = MAX_DEPTH) -> object | JsonRejected:
    """Read one JSON text.

    Integers come back as `int`, fractions and exponents as `Decimal`, so that comparing stays exact.
    """
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError:
        return JsonRejected("not UTF-8")
    if text.startswith("\ufeff"):
        return JsonRejected("starts with a byte order mark")
    if is_deeper(text, max_depth):
        return JsonRejected(f"nested deeper than {max_depth} levels")
    try:
        value: object = _DECODER.decode(text)
    except _RejectedError as refused:
        return JsonRejected(str(refused))
    except ValueError:
        return JsonRejected("not JSON")
    # Only an escape can bring a surrogate in: the UTF-8 decoder has refused encoded ones.
    # The first search is many times faster than the second.
    if "\\" in text and "\\u" in text and any(not _is_unicode(string) for string in _strings(value)):
        return JsonRejected("a string with a lone surrogate")
    return value


def read_object(document: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, object] | JsonRejected:
    """Read one JSON text that must be an object."""
    value = read_json(document, max_depth=max_depth)
    if isinstance(value, dict | JsonRejected):
        return value
    return JsonRejected("not a JSON object")


def is_deeper(text: str, max_depth: int) -> bool:
    """Tell whether a text is nested deeper; of one that is not JSON the answer may be either."""
    if len(text) <= _PART and text.count("[") + text.count("{") <= max_depth:
        return False
    # In parts: one call over a large text would keep every other thread waiting.
    depth, begin, in_string = 0, 0, False
    while begin < len(text):
        end = _after_escape(text, begin + _PART)
        # Without its escaped quotes, every second piece between quotes is outside of strings.
        part = text[begin:end]
        if "\\" in part:
            part = part.replace("\\\\", "").replace('\\"', "")
        pieces = part.split('"')
        brackets = brackets_of("".join(pieces[in_string::2]).encode())
        if not begin and end >= len(text) and is_shallow(brackets, max_depth):
            return False
        for bracket in brackets:
            depth += 1 if bracket in b"[{" else -1
            if depth > max_depth:
                return True
        in_string ^= len(pieces) % 2 == 0
        begin = end
    return False


def brackets_of(octets: bytes) -> bytes:
    """Return the brackets of lists and objects alone."""
    return octets.translate(None, _NO_BRACKETS)


def is_shallow(brackets: bytes, max_depth: int) -> bool:
    """Tell quickly that brackets are in pairs, and nested at most `max_depth` deep; False says nothing."""
    # Each `replace` takes the innermost pairs away: one level of the one kind, and then one of the other.
    for _ in range(max_depth // 2):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return True
    return False


def _after_escape(text: str, end: int) -> int:
    """Return the first place from `end` on that no backslash is before."""
    if text[end - 1 : end] != "\\":
        return end
    run = _BACKSLASHES.match(text, end)
    return end + 1 if run is None else run.end() + 1


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    # Compared after unescaping, so "a" and "\u0061" are one name.
    if len(members) != len(pairs):
        raise _RejectedError("a member name occurs twice")
    return members


def _integer(literal: str) -> int:
    if len(literal) <= _SURELY_IN_RANGE:
        return int(literal)
    if len(literal) > _MAX_NUMBER_CHARACTERS or abs(value := int(literal)) > _LARGEST:
        raise _RejectedError("a number out of range")
    return value


def _fraction(literal: str) -> Decimal:
    if len(literal) <= _SURELY_IN_RANGE and "e" not in literal and "E" not in literal:
        return Decimal(literal)
    exponent = literal.lower().partition("e")[2]
    if len(literal) > _MAX_NUMBER_CHARACTERS or len(exponent) > 5:
        raise _RejectedError("a number out of range")
    value = Decimal(literal)
    # `abs` would round. A double rounds what is smaller to zero.
    magnitude = value.copy_abs()
    if magnitude > _LARGEST_DECIMAL or 0 < magnitude < _SMALLEST:
        raise _RejectedError("a number out of range")
    return value


def _constant(_literal: str) -> object:
    raise _RejectedError("NaN or an infinity")


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as string:
                yield string
            case dict() as members:
                yield from members
                waiting.extend(members.values())
            case list() as items:
                waiting.extend(items)
            case _:
                pass


def _is_unicode(string: str) -> bool:
    try:
        string.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)

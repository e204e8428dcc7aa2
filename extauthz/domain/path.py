"""Reads a request path as a canonical path, and refuses one that two servers could read differently.

Rules, in the order they are applied (docs/security.md has the same list as a table, with the attacks):

1. The query is split off before anything is decoded; a `#` anywhere in the target is refused.
2. A path starts with `/`; the other forms of RFC 9112 3.2 (absolute, authority, asterisk) are refused.
3. Raw characters are those of RFC 3986 `pchar` without `;`, and `/`.
4. Escapes are well-formed; those of unreserved characters are decoded, once; the others keep their
   meaning and get upper-case digits (RFC 3986 6.2.2.1, 6.2.2.2). Case is kept, nothing else is folded.
5. What remains encoded is not a slash, a backslash, a `;` or a control character.
6. Escaped bytes are UTF-8 (RFC 3629: no overlong form, no surrogate).
7. Segments are not empty, not dot segments, neither begin nor end with white space, and hold nothing that
   a second decoder would decode. This is judged on the decoded text, and with the compatibility forms of
   `/ \\ . ; %` read as what they fold to.

INVARIANT: parsing is linear, raises nothing, and `parse(parse(x).text)` is `parse(x)`.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from extauthz.domain.percent import decode_escapes

MAX_PATH_LENGTH: Final = 8192
"""In characters of the raw path: the request line that nginx and Apache httpd take by default."""


class PathProblem(StrEnum):
    """Why a path is refused: stable words, each with its row in docs/security.md."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    ASTERISK_FORM = "asterisk_form"
    ABSOLUTE_FORM = "absolute_form"
    AUTHORITY_FORM = "authority_form"
    NOT_ROOTED = "not_rooted"
    FRAGMENT = "fragment"
    RAW_NON_ASCII = "raw_non_ascii"
    CONTROL_CHARACTER = "control_character"
    ILLEGAL_CHARACTER = "illegal_character"
    BACKSLASH = "backslash"
    PATH_PARAMETER = "path_parameter"
    MALFORMED_ESCAPE = "malformed_escape"
    ENCODED_SLASH = "encoded_slash"
    DOUBLE_ENCODING = "double_encoding"
    INVALID_UTF8 = "invalid_utf8"
    EMPTY_SEGMENT = "empty_segment"
    DOT_SEGMENT = "dot_segment"
    EDGE_WHITESPACE = "edge_whitespace"
    SLASH_LOOKALIKE = "slash_lookalike"
    REPLACED_BYTE = "replaced_byte"


@dataclass(frozen=True, slots=True)
class PathRejected:
    """A path that is refused: 400 `path_ambiguous`."""

    reason: PathProblem


class CanonicalPath(NamedTuple):
    """A path that means the same to every server; its existence is the proof.

    `text` starts with `/`; unreserved characters are plain, other escapes are kept with upper-case digits.
    `segments` are the parts between the slashes, as in `text`; the last is empty for a trailing slash.
    """

    text: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, raw_path: str) -> "CanonicalPath | PathRejected":
        """Read a raw path without query, as it stood in the request line."""
        # Most paths: no escape, no empty segment, no dot segment. Few hold "/.", which costs a search.
        if (
            len(raw_path) <= MAX_PATH_LENGTH
            and _PLAIN.fullmatch(raw_path)
            and "//" not in raw_path
            and ("/." not in raw_path or not _PLAIN_DOT_SEGMENT.search(raw_path))
        ):
            return cls(raw_path, tuple(raw_path[1:].split("/")))
        text = _canonical_text(raw_path)
        if isinstance(text, PathProblem):
            return PathRejected(text)
        return cls(text, tuple(text[1:].split("/")))


def split_query(raw: str) -> tuple[str, str | None]:
    """Split a request target at its first `?` into path and raw query (None: no question mark)."""
    path, mark, query = raw.partition("?")
    return path, query if mark else None


def parse_target(raw: str) -> tuple[CanonicalPath, str | None] | PathRejected:
    """Read a whole request target, as Envoy gives it in `path`: canonical path and raw query.

    A fragment never belongs into a request target (RFC 9110 7.1), and behind a `?` it would end the query
    for some servers only, so it is refused in both parts.
    """
    raw_path, mark, query = raw.partition("?")
    if "#" in query:
        return PathRejected(PathProblem.FRAGMENT)
    path = CanonicalPath.parse(raw_path)
    if isinstance(path, PathRejected):
        return path
    return path, query if mark else None


def decode_segment(segment: str) -> str:
    """Percent-decode a canonical path or one of its segments, once."""
    return decode_escapes(segment).decode() if "%" in segment else segment


def canonical_verdict(line: bytes) -> dict[str, str]:
    """Judge one raw request target: `{"path": ...}`, or `{"rejected": ...}` with a word of PathProblem."""
    target = parse_target(line.decode("utf-8", "surrogateescape"))
    if isinstance(target, PathRejected):
        return {"rejected": target.reason.value}
    return {"path": target[0].text}


_PCHAR: Final = r"A-Za-z0-9\-._~!$&'()*+,=:@"  # RFC 3986 3.3, without ";"
_PLAIN: Final = re.compile(rf"/[{_PCHAR}/]*+")
_PLAIN_DOT_SEGMENT: Final = re.compile(r"/\.{1,2}(?:/|\Z)")

_ABSOLUTE_FORM: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+://")
_AUTHORITY_FORM: Final = re.compile(r"[^/\\\s]+:[0-9]+")
_NOT_RAW: Final = re.compile(rf"[^{_PCHAR}/%]")
_RAW_OCTETS: Final = bytes(octet for octet in range(128) if not _NOT_RAW.match(chr(octet)))
_RAW_PROBLEMS: Final = {
    "\\": PathProblem.BACKSLASH,
    "#": PathProblem.FRAGMENT,
    ";": PathProblem.PATH_PARAMETER,
}

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEX_DIGITS: Final = "0123456789ABCDEFabcdef"
# RFC 3986 6.2.2: what stands for an escape in canonical text, by its two digits.
_CANONICAL: Final = {
    high + low: char if (char := chr(int(high + low, 16))) in _UNRESERVED else f"%{high}{low}".upper()
    for high in _HEX_DIGITS
    for low in _HEX_DIGITS
}
_REFUSED_ESCAPE: Final = re.compile("%(2F|5C|3B|[01][0-9A-F]|7F)")
_ESCAPE_PROBLEMS: Final = {
    "2F": PathProblem.ENCODED_SLASH,
    "5C": PathProblem.BACKSLASH,
    "3B": PathProblem.PATH_PARAMETER,
}
# The rest is searched in decoded text. Unicode's compatibility folding (NFKC) and the best-fit tables of
# Windows code pages read these characters as ASCII; a test compares them with the Unicode database.
_C1_CONTROL: Final = re.compile("[\x80-\x9f]")
_HEX: Final = "0-9A-Fa-f\uff10-\uff19\uff21-\uff26\uff41-\uff46"
# What a second decoder would take for an escape, in the spelling of RFC 3986 or of IIS (%uXXXX).
_PERCENT: Final = re.compile("[%\uff05\ufe6a]")
_ESCAPED_ESCAPE: Final = re.compile(f"{_PERCENT.pattern}(?:[{_HEX}]{{2}}|[uU][{_HEX}]{{4}})")
# Outlined letters and digits fold into these since Unicode 16, whose tables CPython has from 3.14 on.
_LATER_FOLDS: Final = {0x1CCD6 + place: 0x41 + place for place in range(26)} | {
    0x1CCF0 + digit: 0x30 + digit for digit in range(10)
}
_SLASH_LOOKALIKES: Final = "\u2044\u2100\u2101\u2105\u2106\u2215\u2216\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c"
_FOLDED_SLASH: Final = re.compile(f"[{_SLASH_LOOKALIKES}]")
_FOLDED_SEMICOLON: Final = ";\u037e\ufe14\ufe54\uff1b"
_DOT_SEGMENT: Final = re.compile(
    rf"/(?:[.\u2024\ufe52\uff0e]{{1,2}}|[\u2025\ufe30])(?=[/{_FOLDED_SEMICOLON}]|\Z)"
)
# NFC, which file systems apply, already turns the Greek question mark into a semicolon.
_CANONICAL_SEMICOLON: Final = "\u037e"
# White_Space of Unicode, and what ECMAScript (U+FEFF) and older Unicode (U+180E, U+200B) trim as well.
_SPACE: Final = " \u00a0\u1680\u180e\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
_EDGE_SPACE: Final = re.compile(rf"/[{_SPACE}]|[{_SPACE}](?:/|\Z)")


def _canonical_text(raw: str) -> str | PathProblem:
    if len(raw) > MAX_PATH_LENGTH:
        return PathProblem.TOO_LONG
    if not raw.startswith("/"):
        return _other_form(raw)
    # A table is read four times as fast as a character class; the search finds which character it was.
    if (not raw.isascii() or raw.encode().translate(None, _RAW_OCTETS)) and (illegal := _NOT_RAW.search(raw)):
        return _raw_problem(illegal[0])
    first, *escaped = raw.split("%")
    try:
        text = "".join([first, *[_CANONICAL[piece[:2]] + piece[2:] for piece in escaped]])
    except KeyError:
        return PathProblem.MALFORMED_ESCAPE
    if "//" in raw:
        return PathProblem.EMPTY_SEGMENT
    if refused := _REFUSED_ESCAPE.search(text):
        return _ESCAPE_PROBLEMS.get(refused[1], PathProblem.CONTROL_CHARACTER)
    try:
        decoded = decode_escapes(text).decode("utf-8")
    except UnicodeDecodeError:
        return PathProblem.INVALID_UTF8
    return _decoded_problem(decoded) or text


def _other_form(raw: str) -> PathProblem:
    """Name the form of a target that is not a path (RFC 9112 3.2)."""
    if not raw:
        return PathProblem.EMPTY
    if raw == "*":
        return PathProblem.ASTERISK_FORM
    if _ABSOLUTE_FORM.match(raw):
        return PathProblem.ABSOLUTE_FORM
    if _AUTHORITY_FORM.fullmatch(raw):
        return PathProblem.AUTHORITY_FORM
    return PathProblem.NOT_ROOTED


def _raw_problem(char: str) -> PathProblem:
    if char > "\x7f":
        return PathProblem.RAW_NON_ASCII
    if char < " " or char == "\x7f":
        return PathProblem.CONTROL_CHARACTER
    return _RAW_PROBLEMS.get(char, PathProblem.ILLEGAL_CHARACTER)


def _decoded_problem(decoded: str) -> PathProblem | None:
    if decoded.isascii():
        return _decoded_ascii_problem(decoded)
    if _C1_CONTROL.search(decoded):
        return PathProblem.CONTROL_CHARACTER
    if _DOT_SEGMENT.search(decoded):
        return PathProblem.DOT_SEGMENT
    if _EDGE_SPACE.search(decoded):
        return PathProblem.EDGE_WHITESPACE
    if _FOLDED_SLASH.search(decoded):
        return PathProblem.SLASH_LOOKALIKE
    if _is_encoded_again(decoded):
        return PathProblem.DOUBLE_ENCODING
    if _CANONICAL_SEMICOLON in decoded:
        return PathProblem.PATH_PARAMETER
    return None


def _decoded_ascii_problem(decoded: str) -> PathProblem | None:
    """Find the same: of what is searched for, ASCII has only dots, the space and the percent sign."""
    if _DOT_SEGMENT.search(decoded):
        return PathProblem.DOT_SEGMENT
    if " " in decoded and _EDGE_SPACE.search(decoded):
        return PathProblem.EDGE_WHITESPACE
    if "%" in decoded and _ESCAPED_ESCAPE.search(decoded):
        return PathProblem.DOUBLE_ENCODING
    return None


def _is_encoded_again(decoded: str) -> bool:
    """Tell whether a second decoder would find an escape, also one that folds the text before it decodes.

    Superscripts, letters in circles and many more fold into hexadecimal digits, some into two at once.
    """
    return _ESCAPED_ESCAPE.search(decoded) is not None or (
        _PERCENT.search(decoded) is not None
        and _ESCAPED_ESCAPE.search(unicodedata.normalize("NFKC", decoded.translate(_LATER_FOLDS))) is not None
    )

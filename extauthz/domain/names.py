"""Canonical names: two different canonical names look different.

Names of roles, subjects, domains, resources, actions and rules are compared code point by code point, so a
name with an invisible or a non-normalised spelling would be a second name that looks like the first.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

MAX_OCTETS_OF_NAMES: Final = 2400
"""Of all names of a rule or a binding in UTF-8: the database keeps them together in one entry of an index."""

# Code points, with those that Unicode 15 to 18 assigned: the tables of `unicodedata` differ between
# interpreters, and a name has to be canonical for every process of a mesh or for none.
_REFUSED: Final = {
    "contains the control character": re.compile("[\0-\x1f\x7f-\x9f]"),
    "contains the invisible format character": re.compile(
        "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
        "\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
        "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
    ),
    "contains the line separator": re.compile("\u2028"),
    "contains the paragraph separator": re.compile("\u2029"),
    "contains the lone surrogate": re.compile("[\ud800-\udfff]"),
    # Default_Ignorable_Code_Point outside the categories above: it is not drawn, whatever it is.
    "contains the invisible character": re.compile(
        "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
        "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    ),
    # Combining marks and parts of compositions that are younger than Unicode 14, CPython 3.11's.
    "is not normalized by every supported version of Unicode because of": re.compile(
        "[\u05c8\u05c9\u0897\u1acf-\u1af0\U000105c9\U000105d2\U000105da\U000105e4\U00010d69-\U00010d6d"
        "\U00010ecb-\U00010ecf\U00010ef0-\U00010efb\U00010efd-\U00010eff\U00011382-\U00011385\U0001138b"
        "\U0001138e\U00011390\U00011391\U000113b8\U000113bb\U000113c2\U000113c5\U000113c7-\U000113c9"
        "\U000113ce-\U000113d0\U00011f41\U00011f42\U0001611e-\U00016129\U0001612f\U00016d63"
        "\U00016d67-\U00016d6a\U0001d127\U0001d128\U0001d250-\U0001d252\U0001d25b\U0001d25c\U0001d25f"
        "\U0001d280\U0001d281\U0001e08f\U0001e4ec-\U0001e4ef\U0001e5ee\U0001e5ef\U0001e6e3\U0001e6e6"
        "\U0001e6ee\U0001e6ef\U0001e6f5]"
    ),
}
_ANY_REFUSED: Final = re.compile("|".join(characters.pattern for characters in _REFUSED.values()))
# Blank for some runtimes, but neither white space nor a format character for Unicode.
_OTHER_BLANKS: Final = "\u2800"


def name_problem(value: str, *, max_length: int = 256) -> str | None:
    """Tell why a name is not canonical, as the end of a sentence about it; None when it is.

    `max_length` counts code points.
    """
    if not value:
        return "is empty"
    if len(value) > max_length:
        return f"is longer than {max_length} characters"
    if value.isascii() and value.isprintable():
        return _edge_problem(value)
    if found := _ANY_REFUSED.search(value):
        wording = next(wording for wording, characters in _REFUSED.items() if characters.match(found[0]))
        return f"{wording} {_code_point(found[0])}"
    if not unicodedata.is_normalized("NFC", value):
        return "is not in Unicode normalization form NFC"
    return _edge_problem(value)


def octets_problem(names: Mapping[str, str]) -> str | None:
    """Tell whether the names of a rule or a binding are too long together."""
    if not are_too_long(*names.values()):
        return None
    return f"{', '.join(names)} have more than {MAX_OCTETS_OF_NAMES} bytes of UTF-8 together"


def are_too_long(*names: str) -> bool:
    """Tell whether names have more than `MAX_OCTETS_OF_NAMES` together."""
    # No character has more than four bytes, so that hardly any name has to be encoded.
    return (
        4 * sum(map(len, names)) > MAX_OCTETS_OF_NAMES
        and sum(len(name.encode()) for name in names) > MAX_OCTETS_OF_NAMES
    )


def _edge_problem(value: str) -> str | None:
    if value != value.strip().strip(_OTHER_BLANKS):
        return "begins or ends with white space"
    return None


def _code_point(char: str) -> str:
    return f"U+{ord(char):04X}"

"""What a canonical name is: one that looks different from every other name that is different.

Names of roles, subjects, domains, resources, actions and rules are compared code point by code point, so a
name with an invisible or a non-normalised spelling would be a second name that looks like the first.
"""

import re
import unicodedata
from typing import Final

# Unicode's Default_Ignorable_Code_Point outside the categories below: it is not drawn, whatever it is.
_NEVER_DRAWN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CATEGORIES: Final = {
    "Cc": "contains the control character",
    "Cf": "contains the invisible format character",
    "Zl": "contains the line separator",
    "Zp": "contains the paragraph separator",
    "Cs": "contains the lone surrogate",
}
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
    for char in value:
        if wording := _CATEGORIES.get(unicodedata.category(char)):
            return f"{wording} {_code_point(char)}"
    if hidden := _NEVER_DRAWN.search(value):
        return f"contains the invisible character {_code_point(hidden[0])}"
    if not unicodedata.is_normalized("NFC", value):
        return "is not in Unicode normalization form NFC"
    return _edge_problem(value)


def _edge_problem(value: str) -> str | None:
    if value != value.strip().strip(_OTHER_BLANKS):
        return "begins or ends with white space"
    return None


def _code_point(char: str) -> str:
    return f"U+{ord(char):04X}"

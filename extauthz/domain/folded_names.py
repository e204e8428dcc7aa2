"""Names as readers see them that do not compare them exactly.

Readers that bind names to fields or variables fold case (Go's `encoding/json`, .NET, Java's
`equalsIgnoreCase`), drop what separates words, or normalize (UAX 15): Swift compares canonically equivalent
texts as equal.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

MAX_TOGETHER: Final = 1_024
"""Characters of names together of which one is not ASCII; more are not compared: normalizing takes time."""

_CACHED_LENGTH: Final = 64
# PHP makes `_` of dots, blanks and brackets in the fields of a form; Spring's markers begin with `_` and `!`.
_SEPARATORS: Final = b"-_.! []"
_INVISIBLE: Final = re.compile("[\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")


def are_comparable(together: str) -> bool:
    """Tell whether names, written one after the other, are compared."""
    return len(together) <= MAX_TOGETHER or together.isascii()


def folded(name: str) -> str:
    """Return a name without case and separators; what is not ASCII also normalized."""
    return _folded(name) if len(name) <= _CACHED_LENGTH else _folded.__wrapped__(name)


@lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    if name.isascii():
        return _without_separators(name).lower()
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", name)).casefold()
    # Each of these two letters is `i` to readers that change the case of one character after the other.
    plain = plain.replace("i\u0307", "i").replace("\u0131", "i")
    return _without_separators(unicodedata.normalize("NFKC", plain))


def _without_separators(name: str) -> str:
    # Many times faster than an expression: a name can be as long as a body.
    return name.encode().translate(None, _SEPARATORS).decode()

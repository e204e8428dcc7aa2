"""Suggests the known name that a misspelt one may stand for."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final

_WHOLE: Final = 0.85
_REST: Final = 0.6


def nearest(name: str, known: Iterable[str], *, separator: str = "_") -> str | None:
    """Return the known name that begins like `name` and resembles it most; None when none is similar.

    Of several that resemble it equally the first is returned.
    After a common first word the rest may differ more: that word is not written by accident.
    """
    close = [
        (likeness, candidate) for candidate in known if (likeness := _likeness(name, candidate, separator))
    ]
    return max(close, key=lambda found: found[0])[1] if close else None


def _likeness(name: str, candidate: str, separator: str) -> float:
    """Return how much two names resemble each other, 0 when that is not enough to mention it."""
    if name[:2].lower() != candidate[:2].lower():
        return 0.0
    whole = _ratio(name, candidate)
    word, found, rest = name.partition(separator)
    other_word, other_found, other_rest = candidate.partition(separator)
    if found and other_found and word == other_word:
        return whole if _ratio(rest, other_rest) >= _REST else 0.0
    return whole if whole >= _WHOLE else 0.0


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower(), autojunk=False).ratio()

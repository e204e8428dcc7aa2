"""Finds a claim by its path, in the same way for settings and for conditions."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal


class Absence(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absence.ABSENT


def claim_at(claims: Mapping[str, object], path: str) -> object | Literal[Absence.ABSENT]:
    """Return the claim at a path in dot notation, or `ABSENT`.

    At every object the longest member name that begins the rest of the path is taken, so that names which
    contain dots themselves (`https://example.com/roles`, RFC 7519 4.2) are found, literally and before any
    nesting. There is no backtracking: one path means one place in one token. A null there is absent: many
    encoders write null for an empty list or an unset string.
    """
    found = _followed(claims, path)
    return ABSENT if found is None or isinstance(found, _Blocked) else found


def blocked_by(claims: Mapping[str, object], path: str) -> str | None:
    """Return the kind of value that stands where the path needs an object; None without such a value.

    A null counts as absent.
    """
    found = _followed(claims, path)
    return found.kind if isinstance(found, _Blocked) else None


class _Blocked:
    """The path leads through a value that is not an object."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def _followed(claims: Mapping[str, object], path: str) -> object:
    """Follow the path; None when it leads to no value."""
    here, rest = claims, path
    while rest not in here:
        cut = rest.rfind(".")
        while cut >= 0 and rest[:cut] not in here:
            cut = rest.rfind(".", 0, cut)
        if cut < 0:
            return None
        inner = here[rest[:cut]]
        if not isinstance(inner, Mapping):
            return None if inner is None else _Blocked(value_kind(inner))
        here, rest = inner, rest[cut + 1 :]
    return here[rest]


def value_kind(value: object) -> str:
    """Return what kind of JSON value this is, with its article; safe to log, unlike the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return "a number"

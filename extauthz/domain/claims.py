"""Where a claim stands: one reading of claim paths, for settings and for conditions alike."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal


class Absence(Enum):
    """The type of `ABSENT`; None cannot say it, because JSON's null is a value."""

    ABSENT = "absent"


ABSENT: Final = Absence.ABSENT


def claim_at(claims: Mapping[str, object], path: str) -> object | Literal[Absence.ABSENT]:
    """Return the claim at a path in dot notation, or `ABSENT`.

    At every object the longest member name that begins the rest of the path is taken, so that names which
    contain dots themselves (`https://example.com/roles`, RFC 7519 4.2) are found, literally and before any
    nesting. There is no going back: one path means one place in one token.
    """
    here, rest = claims, path
    while rest not in here:
        cut = rest.rfind(".")
        while cut >= 0 and rest[:cut] not in here:
            cut = rest.rfind(".", 0, cut)
        if cut < 0:
            return ABSENT
        inner = here[rest[:cut]]
        if not isinstance(inner, Mapping):
            return ABSENT
        here, rest = inner, rest[cut + 1 :]
    return here[rest]

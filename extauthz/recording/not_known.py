"""What is not known of a recorded request: why, and the error of reading it.

INVARIANT: no value is made up. What was recorded is what the request had; everything else raises
`CannotSayError` when it is read, so that no rule is judged on a guess and none on unknown in Kleene's sense.
"""

from enum import StrEnum
from typing import Final, NamedTuple, NoReturn

CREDENTIAL: Final = "credential"
ROUTE: Final = "route"
TIME: Final = "env.time"
"""Names of what has no slot in a shape."""


class State(StrEnum):
    """Why a value is not known."""

    NOT_RECORDED = "not recorded"
    FOLDED = "folded"
    MASKED = "masked"
    WITHIN_THE_HOUR = "within the counted hour"


class NotKnown(NamedTuple):
    """What a decision would have had to read: the name of a slot, and why its value is not known."""

    slot: str
    state: State = State.NOT_RECORDED


class CannotSayError(Exception):
    """A value that was not recorded was read. It never leaves `recording.rejudge`."""

    def __init__(self, not_known: NotKnown) -> None:
        """Take what was read."""
        super().__init__(not_known.slot)
        self.not_known = not_known


def refuse(slot: str) -> NoReturn:
    """Raise CannotSayError: the slot was not recorded."""
    raise CannotSayError(NotKnown(slot))

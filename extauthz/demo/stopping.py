"""Whether the demo was asked to end: set by signal handlers, watched by every wait."""

import time
from typing import Final

_LOOK_EVERY_S: Final = 0.1


class Stopping:
    """An event that a signal handler can set at any time.

    `threading.Event` takes a lock for each call. A handler runs in the main thread, between two steps of a
    `wait` or of another handler's `set`; it would wait for ever for a lock that its own thread holds.
    """

    def __init__(self) -> None:
        """Start without being asked."""
        self._asked = False

    def set(self) -> None:
        """Ask for the end."""
        self._asked = True

    def is_set(self) -> bool:
        """Tell whether the end was asked for."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds` until the end is asked for; tell whether it was."""
        ends = time.monotonic() + seconds
        while not self._asked and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY_S))
        return self._asked

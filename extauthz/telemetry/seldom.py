"""Events that repeat many times a second are logged once in a while.

Input: a name of the event. Output: whether to log it now.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

LOG_EVERY_S: Final = 30.0
_ACCEPT_FAILED: Final = ("gRPC accept failed", "socket.accept() out of system resource")
"""How messages of libraries begin that are logged for each attempt to accept a connection."""


class Seldom:
    """Says when an event was logged long enough ago; for any thread."""

    def __init__(self, *, steady: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing logged; `steady` returns seconds that never go back."""
        self._steady = steady
        self._logged_at: dict[str, float] = {}

    def is_due(self, event: str) -> bool:
        """Return whether the event was not logged in the last `LOG_EVERY_S`; then it counts as logged now."""
        now = self._steady()
        if now - self._logged_at.get(event, now - LOG_EVERY_S) < LOG_EVERY_S:
            return False
        self._logged_at[event] = now
        return True


class SeldomAcceptFailures(logging.Filter):
    """Passes one message of a library about connections that cannot be accepted in `LOG_EVERY_S`."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        message = record.getMessage()
        return not message.startswith(_ACCEPT_FAILED) or self._seldom.is_due(record.name)

"""Counts the calls in flight of a gRPC server and notes the last arrival, for draining."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_HEARD_LATELY_S: Final = 10.0
"""The longest health-check interval for which a drain waits; a slower proxy does not learn of it in time."""


class Activity:
    """Calls in flight and the time of the last arrival; for any thread."""

    def __init__(self) -> None:
        """Begin with no call."""
        self._changed = threading.Condition()
        self._in_flight = 0
        self._last_arrival = -math.inf

    def began(self, calls: int = 1) -> None:
        """Count calls that have arrived."""
        with self._changed:
            self._in_flight += calls
            self._last_arrival = time.monotonic()

    def ended(self, calls: int = 1) -> None:
        """Count calls that have been answered."""
        with self._changed:
            self._in_flight -= calls
            if not self._in_flight:
                self._changed.notify_all()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call while it is answered."""
        self.began()
        try:
            yield
        finally:
            self.ended()

    def wait_until_idle(self, grace_s: float, *, asked_at: float, notice_s: float, quiet_s: float) -> bool:
        """Wait until no call is in flight and none has arrived for `quiet_s`; at most `grace_s` seconds.

        Callers learn of a drain from their next health check: within `notice_s`, in which quiet means nothing
        yet. When no health check (the last was at `asked_at`, monotonic seconds) and no call came lately,
        that time is not spent. Return whether the server was idle.
        """
        started = time.monotonic()
        until = started + grace_s
        with self._changed:
            heard_at = max(self._last_arrival, asked_at)
            noticed_at = started + (notice_s if started - heard_at <= _HEARD_LATELY_S else 0.0)
            while True:
                now = time.monotonic()
                quiet_at = max(noticed_at, max(started, self._last_arrival) + quiet_s)
                if not self._in_flight and now >= quiet_at:
                    return True
                if now >= until:
                    return False
                self._changed.wait(min(until, quiet_at if quiet_at > now else until) - now)

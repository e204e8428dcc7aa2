"""Takes calls from a native front in batches, each with a bound on how long its calls have waited."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront
    from pygrpc_native._native import DetailedEvent

MAX_BATCH: Final = 4096
"""Calls that are taken over from the front at once: usually all that have arrived."""

_SHORT_S: Final = 0.01
"""How long calls have waited for a shorter batch does not matter."""


class CallBatch(NamedTuple):
    """Calls in the order of their arrival, received at `received_at`, a time of the monotonic clock.

    Until then none of them has waited for longer than `waited_s`.
    """

    events: list[DetailedEvent]
    received_at: float
    waited_s: float


class Batches:
    """Takes over what has arrived at a front; for one thread.

    The front does not tell when a call arrived. What it has after a batch has waited for that batch at most.
    """

    def __init__(self, front: NativeGrpcFront) -> None:
        """Begin with a front that has just been started."""
        self._front = front
        # INVARIANT: no call that is still in the front arrived before this.
        self._emptied_at = time.monotonic()

    def next(self, *, wait: bool = True) -> CallBatch | None:
        """Return the next calls, None when the front was closed; without `wait` there may be none."""
        waited_s = time.monotonic() - self._emptied_at
        events: list[DetailedEvent] | None = []
        if waited_s > _SHORT_S or not wait:
            events = self._front.recv_batch_details(MAX_BATCH, 0)
        if events is not None and not events and wait:
            # Nothing is there: what comes next has not waited.
            waited_s, events = 0.0, self._front.recv_batch_details(MAX_BATCH)
        if events is None:
            return None
        received_at = time.monotonic()
        if len(events) < MAX_BATCH:
            self._emptied_at = received_at
        return CallBatch(events, received_at, waited_s)

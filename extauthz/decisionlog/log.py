"""The decision log of one process: slots, a queue, and the one thread that numbers and writes.

The request path takes a slot before it decides (`reserve`) and appends one tuple afterwards (`write`);
rendering and I/O happen on the writer's thread. What cannot be written is counted, never waited for.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Final, Protocol
from uuid import UUID

from extauthz.decisionlog.destination import Destination, Pace, RegularFile, open_destination
from extauthz.decisionlog.disk import low_space
from extauthz.decisionlog.lines import LineForm, Lines, LogEntry
from extauthz.decisionlog.overflow import Overflow
from extauthz.decisionlog.writer import LineWriter, app_log
from extauthz.domain.verdict import NamedVerdict, Verdict
from extauthz.settings import OverflowAction

DEFAULT_CAPACITY: Final = 16_384
"""Decisions waiting to be written; at 5,000 a second, three seconds of a disk that does not answer."""

_LOOK_EVERY_S: Final = 1.0
"""How often a log that cannot be written is tried again."""

_HEAD_EVERY_S: Final = 60.0
"""How often the application log says how far a chained log has come."""

_LARGEST_BATCH: Final = 1024


class Observer(Protocol):
    """What sees every decision that was handed to the log, on the log's thread."""

    def count(self, verdict: Verdict | NamedVerdict, ts: float, entrance: str) -> None:
        """See one decision, whether or not its line could be written."""

    def tick(self, now: float) -> None:
        """Do what is due at `now` (POSIX seconds); called every few milliseconds."""


class DecisionLog:
    """A bounded log of decisions. `reserve`, `write`, `release` and `lost` are for any thread.

    `target` is `stdout` or a path; `lock_fd` see `open_destination`. `heartbeat_s` is the time between
    heartbeats, 0 for none. `form` is what the settings demand of lines. `on_loss` is called with the number
    of decisions each time some are lost. `observer` sees each decision, on the log's thread.
    `open_with` opens another destination than a stream or file; `target` is its name then.
    """

    def __init__(
        self,
        target: str,
        *,
        worker: int,
        instance: UUID,
        capacity: int = DEFAULT_CAPACITY,
        on_overflow: OverflowAction = OverflowAction.DROP,
        lock_fd: int | None = None,
        clock: Callable[[], float] = time.time,
        heartbeat_s: float = 1.0,
        form: LineForm | None = None,
        on_loss: Callable[[int], None] | None = None,
        observer: Observer | None = None,
        open_with: Callable[[], Destination] | None = None,
    ) -> None:
        self.on_overflow = on_overflow
        self._target = target
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._on_loss = on_loss
        self._observer = observer
        # A slot is a token in a deque: taking and returning one is atomic and needs no lock.
        self._capacity = capacity
        self._slots: deque[None] = deque(repeat(None, capacity))
        self._queue: deque[LogEntry | threading.Event] = deque()
        self._lost = 0
        self._loss_lock = threading.Lock()
        self._wake = threading.Event()
        self._reopening = False
        self._closing = False
        self._ended = False
        self._low_space: str | None = None
        self._overflow = Overflow()
        self._recoveries = 0
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._open = open_with or (lambda: open_destination(target, lock_fd=lock_fd))
        self._destination: Destination
        self._pace = Pace()
        self._wake_at = self._pace.wake_at
        self._writer = LineWriter(
            target,
            Lines(instance, worker, form),
            deny=on_overflow is OverflowAction.DENY,
            clock=clock,
            lose=self.lost,
            lost=lambda: self._lost,
            give_back=self._give_back,
        )

    @property
    def decisions_lost(self) -> int:
        """How many decisions of this instance have no line and will get none."""
        return self._lost

    @property
    def full(self) -> bool:
        """Whether no decision can be taken now: lines are made faster than they are written."""
        return not self._slots

    @property
    def problem(self) -> str | None:
        """Return why lines cannot be written at the moment or soon, None while all is well."""
        if self._writer.problem is not None:
            return f"{self._target} cannot be written: {self._writer.problem}"
        if self.full:
            return f"{self._target} is full: lines are not written as fast as decisions are made"
        if self._low_space is not None:
            return f"the disk of {self._target} is almost full: {self._low_space}"
        return None

    def start(self) -> None:
        """Open the destination and start writing. Raises OSError when it cannot be opened."""
        self._destination = self._open()
        self._pace = self._destination.pace
        self._wake_at = self._pace.wake_at
        self._writer.open(self._destination)
        self._thread.start()

    def reserve(self) -> bool:
        """Take a slot for one decision; false when the log is full.

        Exactly one `write` or `release` gives a slot back. A caller without a slot calls `lost`.
        """
        try:
            self._slots.pop()
        except IndexError:
            return False
        return True

    def release(self) -> None:
        """Give a slot back: nothing was decided."""
        self._slots.append(None)

    def write(self, verdict: Verdict | NamedVerdict, ts: float, entrance: str, duration_us: int) -> None:
        """Hand over a decision for which a slot was reserved; its line is written within a second."""
        if self._ended:
            self.lost()
            return
        queue = self._queue
        queue.append((verdict, ts, entrance, duration_us))
        if len(queue) % self._wake_at == 0:
            self._wake.set()

    def lost(self, count: int = 1) -> None:
        """Count decisions that get no line."""
        if count == 0:
            return
        with self._loss_lock:
            self._lost += count
        if self._on_loss:
            self._on_loss(count)

    def reopen(self) -> None:
        """Go on in the file that now has the path; takes effect within a tick. Safe in a signal handler."""
        self._reopening = True

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed over so far is written or lost; false after `timeout` seconds."""
        reached = threading.Event()
        self._queue.append(reached)
        self._wake.set()
        return reached.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Write what is left and the stop line; false when that took longer than `timeout` seconds."""
        self._closing = True
        self._destination.hurry()
        self._wake.set()
        self._thread.join(timeout * 2 / 3)
        if self._thread.is_alive():
            # A collector that does not answer: what is left is counted as lost.
            self._destination.abort()
            self._thread.join(timeout / 3)
        if self._thread.is_alive():
            self._cut_off()
            return False
        return True

    def _cut_off(self) -> None:
        """Count what a reader that hangs has not taken, where the process ends all the same."""
        # Slots that are not back are of decisions that wait, or are being written.
        waiting = self._capacity - len(self._slots)
        self.lost(waiting)
        app_log().error(
            "decision_log_cut_off",
            target=self._target,
            decisions_lost=self._lost,
            message="the reader takes no more lines; some of these may have reached it",
        )

    def _run(self) -> None:
        self._writer.announce()
        every_s = self._heartbeat_s or math.inf
        beat = time.monotonic() + every_s
        look = time.monotonic() + _LOOK_EVERY_S
        head = time.monotonic() + _HEAD_EVERY_S
        while True:
            self._wake.wait(min(self._pace.tick_s, every_s))
            self._wake.clear()
            closing = self._closing
            if self._reopening:
                self._reopening = False
                self._writer.reopen()
            self._drain()
            if self._observer is not None:
                self._tick(self._observer)
            now = time.monotonic()
            if now >= beat:
                self._writer.heartbeat()
                # In step with the clock, unless a slow disk has made us miss beats.
                beat = max(beat, now - every_s) + every_s
            if now >= look:
                look = now + _LOOK_EVERY_S
                self._look()
            if now >= head:
                head = now + _HEAD_EVERY_S
                self._writer.tell_head()
            if closing:
                break
        self._end()

    def _drain(self) -> None:
        """Write what waits now; what arrives meanwhile is for the next tick."""
        waiting = len(self._queue)
        while waiting > 0 and self._writer.retry():
            # Small batches let requests run in between; large ones keep up when every slice is contended.
            size = min(waiting, max(self._pace.smallest_batch, min(waiting // 4, _LARGEST_BATCH)))
            waiting -= size
            self._batch(size)

    def _batch(self, size: int) -> None:
        entries: list[LogEntry] = []
        reached: list[threading.Event] = []
        for _ in range(size):
            item = self._queue.popleft()
            if isinstance(item, threading.Event):
                reached.append(item)
            else:
                entries.append(item)
        if self._observer is not None:
            for verdict, ts, entrance, _ in entries:
                self._observe(self._observer, verdict, ts, entrance)
        if self._writer.drops:
            # Until a heartbeat gets through again, rendering would be for nothing.
            self._give_back(len(entries))
            self.lost(sum(not self._writer.leaves_out(entry) for entry in entries))
        elif entries:
            self._writer.put(entries)
        if self._writer.holds:
            self._queue.extend(reached)
            return
        for event in reached:
            event.set()

    @staticmethod
    def _observe(observer: Observer, verdict: Verdict | NamedVerdict, ts: float, entrance: str) -> None:
        try:
            observer.count(verdict, ts, entrance)
        except Exception:  # noqa: BLE001  # one decision is not recorded; the log goes on
            app_log().exception("decision_not_recorded")

    def _tick(self, observer: Observer) -> None:
        try:
            observer.tick(self._clock())
        except Exception:  # noqa: BLE001  # as above
            app_log().exception("recording_not_handed_over")

    def _give_back(self, slots: int) -> None:
        self._slots.extend(repeat(None, slots))

    def _look(self) -> None:
        """Try a log again that fails, and report losses that have another cause.

        The heartbeat that gets through says how many decisions were lost meanwhile; without heartbeats it is
        the only one.
        """
        if isinstance(self._destination, RegularFile):
            self._look_at_disk()
        if self._writer.failing or self._writer.recoveries != self._recoveries:
            # The writer has told of these.
            self._recoveries = self._writer.recoveries
            self._overflow.known(self._lost)
        if self._writer.failing:
            if not 0 < self._heartbeat_s <= _LOOK_EVERY_S:
                self._writer.heartbeat()
        else:
            self._overflow.look(self._target, self._lost, full=self.full)

    def _look_at_disk(self) -> None:
        before, self._low_space = self._low_space, low_space(self._target)
        if self._low_space is not None and before is None:
            app_log().warning("decision_log_disk_low", target=self._target, space=self._low_space)
        if self._low_space is None and before is not None:
            app_log().warning("decision_log_disk_recovered", target=self._target)

    def _end(self) -> None:
        self._ended = True
        self._drain()
        if self._observer is not None:
            self._tick(self._observer)
        self.lost(sum(not isinstance(item, threading.Event) for item in self._queue))
        self._writer.end()

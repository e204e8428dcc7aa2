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

import structlog

from extauthz.decisionlog.destination import Destination, RegularFile, open_destination
from extauthz.decisionlog.disk import low_space
from extauthz.decisionlog.lines import Entry, LineForm, Lines, LogPosition
from extauthz.decisionlog.overflow import Overflow
from extauthz.domain.verdict import NamedVerdict, Verdict
from extauthz.settings import OverflowAction

DEFAULT_CAPACITY: Final = 16_384
"""Decisions waiting to be written; at 5,000 a second, three seconds of a disk that does not answer."""

_TICK_S: Final = 0.05
_WAKE_AT: Final = 16
"""Number of waiting decisions that wakes the writer before its tick. At 3,000 a second a tick's worth is
half a millisecond of rendering, in which every request under way waits for the interpreter: it was the 99th
percentile."""

_LOOK_EVERY_S: Final = 1.0
"""How often a log that cannot be written is tried again."""

_HEAD_EVERY_S: Final = 60.0
"""How often the application log says how far a chained log has come."""

_SMALLEST_BATCH: Final = 16
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
    ) -> None:
        self.on_overflow = on_overflow
        self._target = target
        self._lock_fd = lock_fd
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._on_loss = on_loss
        self._observer = observer
        self._lines = Lines(instance, worker, form)
        # A slot is a token in a deque: taking and returning one is atomic and needs no lock.
        self._slots: deque[None] = deque(repeat(None, capacity))
        self._queue: deque[Entry | threading.Event] = deque()
        self._unwritten: list[bytes] = []
        self._held_from = LogPosition()
        self._lost = 0
        self._loss_lock = threading.Lock()
        self._wake = threading.Event()
        self._reopening = False
        self._closing = False
        self._ended = False
        self._announced = False
        self._failing = False
        self._problem: str | None = None
        self._low_space: str | None = None
        self._overflow = Overflow()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._destination: Destination

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
        if self._problem is not None:
            return f"{self._target} cannot be written: {self._problem}"
        if self.full:
            return f"{self._target} is full: lines are not written as fast as decisions are made"
        if self._low_space is not None:
            return f"the disk of {self._target} is almost full: {self._low_space}"
        return None

    def start(self) -> None:
        """Open the destination and start writing. Raises OSError when it cannot be opened."""
        self._destination = open_destination(self._target, lock_fd=self._lock_fd)
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
        if len(queue) % _WAKE_AT == 0:
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
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._announce()
        every_s = self._heartbeat_s or math.inf
        beat = time.monotonic() + every_s
        look = time.monotonic() + _LOOK_EVERY_S
        head = time.monotonic() + _HEAD_EVERY_S
        while True:
            self._wake.wait(min(_TICK_S, every_s))
            self._wake.clear()
            closing = self._closing
            if self._reopening:
                self._reopen()
            self._drain()
            if self._observer is not None:
                self._tick(self._observer)
            now = time.monotonic()
            if now >= beat:
                self._heartbeat()
                # In step with the clock, unless a slow disk has made us miss beats.
                beat = max(beat, now - every_s) + every_s
            if now >= look:
                look = now + _LOOK_EVERY_S
                self._look()
            if now >= head:
                head = now + _HEAD_EVERY_S
                self._tell_head()
            if closing:
                break
        self._end()

    def _drain(self) -> None:
        """Write what waits now; what arrives meanwhile is for the next tick."""
        waiting = len(self._queue)
        while waiting > 0 and self._retry():
            # Small batches let requests run in between; large ones keep up when every slice is contended.
            size = min(waiting, max(_SMALLEST_BATCH, min(waiting // 4, _LARGEST_BATCH)))
            waiting -= size
            self._batch(size)

    def _batch(self, size: int) -> None:
        entries: list[Entry] = []
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
        if self._failing and self.on_overflow is OverflowAction.DROP:
            # Until a heartbeat gets through again, rendering would be for nothing.
            self._give_back(len(entries))
            self.lost(sum(not self._leaves_out(entry) for entry in entries))
        elif entries:
            self._put(entries)
        if self._unwritten:
            self._queue.extend(reached)
            return
        for event in reached:
            event.set()

    @staticmethod
    def _observe(observer: Observer, verdict: Verdict | NamedVerdict, ts: float, entrance: str) -> None:
        try:
            observer.count(verdict, ts, entrance)
        except Exception:  # noqa: BLE001  # one decision is not recorded; the log goes on
            _app_log().exception("decision_not_recorded")

    def _tick(self, observer: Observer) -> None:
        try:
            observer.tick(self._clock())
        except Exception:  # noqa: BLE001  # as above
            _app_log().exception("recording_not_handed_over")

    def _put(self, entries: list[Entry]) -> None:
        before = self._lines.position
        lines = [line for entry in entries if (line := self._rendered(entry)) is not None]
        written = self._out(lines)
        if self.on_overflow is OverflowAction.DENY:
            self._unwritten = lines[written:]
            self._held_from = self._lines.after(before, lines[:written])
            self._give_back(len(entries) - len(self._unwritten))
            return
        self._give_back(len(entries))
        if written < len(lines):
            self._lines.position = self._lines.after(before, lines[:written])
            self.lost(len(lines) - written)

    def _leaves_out(self, entry: Entry) -> bool:
        return self._lines.samples and self._lines.leaves_out(entry[0])

    def _rendered(self, entry: Entry) -> bytes | None:
        try:
            return None if self._leaves_out(entry) else self._lines.decision(entry)
        except Exception:  # noqa: BLE001  # one line is lost, never the thread that writes all others
            self.lost()
            _app_log().exception("decision_not_rendered")
            return None

    def _retry(self) -> bool:
        """Write what an error held back; true when nothing is held back any more."""
        if self.on_overflow is OverflowAction.DROP:
            return True
        if not self._announced and not self._announce():
            return False
        written = self._out(self._unwritten)
        self._held_from = self._lines.after(self._held_from, self._unwritten[:written])
        self._unwritten = self._unwritten[written:]
        self._give_back(written)
        return not self._unwritten

    def _give_back(self, slots: int) -> None:
        self._slots.extend(repeat(None, slots))

    def _look(self) -> None:
        """Try a log again that fails, and report losses that have another cause.

        The heartbeat that gets through says how many decisions were lost meanwhile; without heartbeats it is
        the only one.
        """
        if isinstance(self._destination, RegularFile):
            self._look_at_disk()
        if self._failing:
            self._overflow.known(self._lost)
            if not 0 < self._heartbeat_s <= _LOOK_EVERY_S:
                self._heartbeat()
        else:
            self._overflow.look(self._target, self._lost, full=self.full)

    def _look_at_disk(self) -> None:
        before, self._low_space = self._low_space, low_space(self._target)
        if self._low_space is not None and before is None:
            _app_log().warning("decision_log_disk_low", target=self._target, space=self._low_space)
        if self._low_space is None and before is not None:
            _app_log().warning("decision_log_disk_recovered", target=self._target)

    def _heartbeat(self) -> None:
        if (self._announced or self._announce()) and self._retry():
            self._say(lambda: self._lines.heartbeat(self._clock(), self._lost))

    def _announce(self) -> bool:
        self._announced = self._say(lambda: self._lines.started(self._clock()))
        return self._announced

    def _say(self, line: Callable[[], bytes]) -> bool:
        before = self._lines.position
        if self._out([line()]):
            return True
        self._lines.position = before
        return False

    def _out(self, lines: list[bytes]) -> int:
        if not lines:
            return 0
        written, error, made_anew = self._destination.write(lines)
        if made_anew:
            _app_log().warning(
                "decision_log_deleted", target=self._target, message="the file was deleted; it is made anew"
            )
        if error and not self._failing:
            _app_log().error("decision_log_failing", target=self._target, error=str(error))
        if not error and self._failing:
            self._overflow.known(self._lost)
            _app_log().warning("decision_log_recovered", target=self._target, decisions_lost=self._lost)
        self._failing = error is not None
        self._problem = None if error is None else (error.strerror or str(error)).lower()
        return written

    def _reopen(self) -> None:
        self._reopening = False
        error = self._destination.reopen()
        if error:
            _app_log().error("decision_log_not_reopened", target=self._target, error=str(error))

    def _end(self) -> None:
        self._ended = True
        self._drain()
        if self._observer is not None:
            self._tick(self._observer)
        if self._unwritten:
            self._lines.position = self._held_from
        queued = sum(not isinstance(item, threading.Event) for item in self._queue)
        self.lost(len(self._unwritten) + queued)
        if self._announced:
            self._say(lambda: self._lines.stopped(self._clock(), self._lost))
            self._tell_head()
        self._destination.close()

    def _tell_head(self) -> None:
        """Say in the application log, which is kept elsewhere, which line a chained log has reached."""
        written = self._held_from if self._unwritten else self._lines.position
        if self._lines.algorithm is None or written.seq == 0:
            return
        _app_log().info(
            "decision_log_head",
            instance=self._lines.instance,
            seq=written.seq,
            chain=f"{self._lines.algorithm}:{written.chain}",
            decisions_lost=written.lost,
        )


def _app_log() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(logger="extauthz.decisionlog")
    return logger

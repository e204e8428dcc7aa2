"""Decides whether a worker is hung. Pure: times and CPU times are arguments.

Input: the reports of the worker, the clock and the CPU time of its process. Output: None, or why it is hung.

A worker reports twice a second. Without a report for 3 s its event loop does not run: the process is stopped,
or a call blocks the loop. A healthy worker is silent for longer in two cases, and uses CPU time in both: it
is starting, or it loads many policies (one garbage collection over a million rules takes 3 s and stops every
thread). So a worker that is starting, or has reported that it is busy, is hung only if it uses no CPU time
either, or after a limit that no start and no load reaches.

The supervisor itself may be delayed: stopped and continued, or without CPU. It does not know what the worker
did in that time, so a tick never adds more than `LONGEST_STEP_S` to a silence.
"""

from typing import Final

TICK_S: Final = 0.25
"""Seconds between two ticks of the supervisor."""
LONGEST_STEP_S: Final = 1.0
LATE_S: Final = 1.25
"""Seconds without a report (two are missing) after which a worker does not count as ready."""
HUNG_S: Final = 3.0
LONGEST_START_S: Final = 60.0
LONGEST_BUSY_S: Final = 300.0
IDLE_SHARE: Final = 0.05
"""Share of one CPU below which a process counts as idle; a process in which only timers run uses less."""
LONGEST_END_S: Final = 9.5
"""Seconds from the last report of a worker to the end of its process, which writes its decision log first."""


class Liveness:
    """The liveness of one process of a worker, from its start to its end.

    `attempts` is the number of consecutive failed starts. Each doubles the time without CPU use that a start
    may take, up to 24 s, for machines on which a start is slow.
    """

    def __init__(self, attempts: int = 0) -> None:
        """Begin for a process that has just been started."""
        self._start_idle_s = HUNG_S * 2.0 ** min(attempts, 3)
        self._silent_s = 0.0
        self._idle_s = 0.0
        self._cpu_s: float | None = None
        self._ticked_at: float | None = None
        self._started = False
        self._busy = False
        self._ending = False

    @property
    def silent_s(self) -> float:
        """Seconds since the last report in which the supervisor itself was running."""
        return self._silent_s

    @property
    def late(self) -> bool:
        """Whether reports are missing, so that the last one is outdated."""
        return self._silent_s > LATE_S

    @property
    def started(self) -> bool:
        """Whether the worker has sent a report."""
        return self._started

    def heard(self, *, busy: bool) -> None:
        """Record a report; `busy`: the worker announced that it may be silent for long."""
        self._started = True
        self._busy = busy
        self._silent_s = self._idle_s = 0.0

    def ending(self) -> None:
        """Record that the worker sent its last report; its process is ending."""
        self._ending = True
        self._silent_s = self._idle_s = 0.0

    def tick(self, now: float, cpu_s: float | None) -> str | None:
        """Return why the worker is hung at `now` (monotonic seconds); None if it is not.

        `cpu_s` is the CPU time of the process so far in seconds, None if it is unknown.
        """
        step = 0.0 if self._ticked_at is None else min(max(now - self._ticked_at, 0.0), LONGEST_STEP_S)
        self._ticked_at = now
        self._silent_s += step
        used_s = 0.0 if cpu_s is None or self._cpu_s is None else cpu_s - self._cpu_s
        # CPU time reduces the idle time: a worker that computes on average is not idle.
        self._idle_s = max(0.0, self._idle_s + step - used_s / IDLE_SHARE)
        self._cpu_s = cpu_s
        return self._cause()

    def _cause(self) -> str | None:
        if self._ending:
            return self._after(self._silent_s, LONGEST_END_S, "it did not end after its last report")
        if not self._started:
            return self._after(
                self._idle_s, self._start_idle_s, "no report since its start, and hardly any CPU time used"
            ) or self._after(self._silent_s, LONGEST_START_S, "no report since its start")
        if self._busy:
            return self._after(
                self._idle_s, HUNG_S, "no report while it was busy, and hardly any CPU time used"
            ) or self._after(self._silent_s, LONGEST_BUSY_S, "no report while it was busy")
        return self._after(self._silent_s, HUNG_S, "no report")

    @staticmethod
    def _after(seconds: float, bound: float, what: str) -> str | None:
        return f"{what} for {bound:g} s" if seconds >= bound else None


class Stall:
    """How long the threads of the current process have made no progress.

    A process that was stopped as a whole (a garbage collection stops all threads) has no knowledge of that
    time, so one call never adds more than `LONGEST_STEP_S`.
    """

    def __init__(self) -> None:
        """Begin without a stall."""
        self._looked_at: float | None = None
        self._stalled_s = 0.0

    def look(self, now: float, waited_s: float) -> float:
        """Return the seconds without progress at `now` (monotonic seconds).

        `waited_s` is the time in seconds for which calls have waited without progress.
        """
        passed_s = 0.0 if self._looked_at is None else max(now - self._looked_at, 0.0)
        self._looked_at = now
        if waited_s < passed_s:
            self._stalled_s = min(waited_s, LONGEST_STEP_S)
        else:
            self._stalled_s += min(passed_s, LONGEST_STEP_S)
        return self._stalled_s

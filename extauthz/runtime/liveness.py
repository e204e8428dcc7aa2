"""Whether a worker still does its work, by what its supervisor sees of it. Pure: time and CPU are arguments.

A worker reports twice a second. Silence of 3 s means that its event loop does not run: the process is
stopped, or something blocks it. Two things may keep a good worker silent for longer, and both use CPU time:
starting, and loading many policies (one garbage collection over a million rules takes 3 s and stops every
thread). So a worker that is starting, or has said that it is busy, is hung only when it uses no CPU time
either, or after a bound that no start and no load needs.

The supervisor may be late itself: stopped and continued, or short of CPU. Then it cannot know what the worker
did meanwhile, so a tick never adds more than `LONGEST_STEP_S` to a silence.
"""

from typing import Final

TICK_S: Final = 0.25
"""How often the supervisor looks."""
LONGEST_STEP_S: Final = 1.0
LATE_S: Final = 1.25
"""After this silence (two reports are missing) a worker does not count as ready."""
HUNG_S: Final = 3.0
LONGEST_START_S: Final = 60.0
LONGEST_BUSY_S: Final = 300.0
IDLE_SHARE: Final = 0.05
"""Of one CPU: less is what a process uses in which only timers run."""
LONGEST_END_S: Final = 9.5
"""From the end of a worker's reports to the end of its process: it writes the rest of its decision log."""


class Liveness:
    """Follows one process of a worker from its start to its end.

    `attempts` is how many starts in a row have come to nothing: each doubles the time without CPU that a
    start may take, up to 24 s, for a machine on which starting is slow.
    """

    def __init__(self, attempts: int = 0) -> None:
        """Begin with a process that was just started."""
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
        """How long nothing has been heard, in seconds in which the supervisor itself was awake."""
        return self._silent_s

    @property
    def late(self) -> bool:
        """Whether reports are missing, so that the last one says nothing about the present."""
        return self._silent_s > LATE_S

    @property
    def started(self) -> bool:
        """Whether the worker has reported at all."""
        return self._started

    def heard(self, *, busy: bool) -> None:
        """Note a report; `busy` is what the worker says of the time after it."""
        self._started = True
        self._busy = busy
        self._silent_s = self._idle_s = 0.0

    def ending(self) -> None:
        """Note that the worker has closed its reports: what is left is the end of its process."""
        self._ending = True
        self._silent_s = self._idle_s = 0.0

    def tick(self, now: float, cpu_s: float | None) -> str | None:
        """Look once at `now` (a steady clock); return why the worker is hung, None while it is not.

        `cpu_s` is the CPU time that the process has used in seconds, None where it is not known.
        """
        step = 0.0 if self._ticked_at is None else min(max(now - self._ticked_at, 0.0), LONGEST_STEP_S)
        self._ticked_at = now
        self._silent_s += step
        used_s = 0.0 if cpu_s is None or self._cpu_s is None else cpu_s - self._cpu_s
        # A worker that computes makes good for the moments in which it waited.
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
    """Follows whether the threads of one process make progress, as its own reports see it.

    A process that stood still itself (one garbage collection can stop all of it) knows nothing of that time,
    so one look never adds more than `LONGEST_STEP_S`.
    """

    def __init__(self) -> None:
        """Begin without a stall."""
        self._looked_at: float | None = None
        self._stalled_s = 0.0

    def look(self, now: float, waited_s: float) -> float:
        """Look at `now` (steady clock); return for how long there has been no progress.

        `waited_s` is how long calls have waited without any progress by now.
        """
        passed_s = 0.0 if self._looked_at is None else max(now - self._looked_at, 0.0)
        self._looked_at = now
        if waited_s < passed_s:
            self._stalled_s = min(waited_s, LONGEST_STEP_S)
        else:
            self._stalled_s += min(passed_s, LONGEST_STEP_S)
        return self._stalled_s

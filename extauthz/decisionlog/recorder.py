"""Counts and logs every decision of gRPC, HTTP and REST; one that cannot be logged is counted as lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from extauthz.decisionlog.log import DecisionLog
from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import Denied, NamedVerdict, Verdict
from extauthz.settings import OverflowAction
from extauthz.telemetry.check_trace import CheckTrace
from extauthz.telemetry.counts import Counts


@dataclass(slots=True)
class Check:
    """One check under way; `now` is POSIX seconds, `started` is of the performance counter.

    `logged` is whether the decision log has a slot for it; `trace` is None unless it is traced.
    """

    decision_id: str
    entrance: str
    now: float
    started: float
    logged: bool
    trace: CheckTrace | None = None

    def elapsed_s(self) -> float:
        """Return how many seconds ago the check began."""
        return time.perf_counter() - self.started


class Recorder:
    """Begins and ends the checks of one process; for any thread. Each `begin` is followed by one `end`."""

    def __init__(
        self,
        log: DecisionLog,
        counts: Counts,
        *,
        random_bytes: Callable[[int], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the log, the counters, and the source of randomness of decision ids, which are not secret."""
        self.log = log
        self.counts = counts
        self._random_bytes = random_bytes
        self._clock = clock

    def now(self) -> float:
        """Return the time by the clock of `Check.now`."""
        return self._clock()

    def begin(self, entrance: str) -> Check:
        """Take a slot in the log for a check that has arrived by an entrance (`ENTRANCES`)."""
        now = self._clock()
        self.counts.began()
        decision_id = uuid7(int(now * 1000), self._random_bytes(10))
        return Check(decision_id, entrance, now, time.perf_counter(), self.log.reserve())

    def refusal(self, check: Check) -> Denied | None:
        """Return the denial of a check that may not be decided, because no line could be written of it."""
        if check.logged or self.log.on_overflow is OverflowAction.DROP:
            return None
        return Denied(check.decision_id, Reason.OVERLOADED)

    def end(self, check: Check, verdict: Verdict | NamedVerdict) -> None:
        """Count the verdict and hand it to the log; one without a slot is counted as lost."""
        duration_us = int((time.perf_counter() - check.started) * 1e6)
        self.counts.decided(verdict, check.entrance, duration_us)
        if check.logged:
            self.log.write(verdict, check.now, check.entrance, duration_us)
        else:
            self.log.lost()

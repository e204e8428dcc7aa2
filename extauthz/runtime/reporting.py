"""Sends the reports of a worker to its supervisor: twice a second, and at once when it becomes busy.

Input: the parts of the worker. Output: `WorkerReport`s on a stream.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from extauthz.check.service import CheckService
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.cache import JwksCache
from extauthz.keys.introspector import Introspector
from extauthz.publish.current import CurrentPolicies
from extauthz.runtime.liveness import Stall
from extauthz.runtime.readiness import WorkerReadiness
from extauthz.runtime.reports import REPORT_EVERY_S, WorkerReport
from extauthz.telemetry.counts import Counts, CountTotals

STALLED_S: Final = 5.0
"""Seconds without progress after which the threads that answer checks count as stuck. A call may take 1 s to
be received and 150 ms to wait for keys, and four threads serve the calls."""

_UNREADY_REPORT_EVERY_S: Final = 0.05
_YOUNG_OBJECTS: Final = 10_000
"""New objects that trigger a collection; many, because decisions that wait for the log are not garbage."""


class Answering(Protocol):
    """A server whose threads answer checks."""

    def stalled_s(self) -> float:
        """Return the seconds for which calls have waited while no thread made progress."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The parts of a worker that its reports describe."""

    current: CurrentPolicies
    cache: JwksCache
    introspector: Introspector
    counts: Counts
    service: CheckService
    readiness: WorkerReadiness


class Reporting:
    """Sends the reports of one worker. `busy` is thread-safe; the other methods run on the event loop."""

    def __init__(
        self,
        parts: Reported,
        writer: asyncio.StreamWriter,
        *,
        on_ready: Callable[[bool], None],
    ) -> None:
        """Report to `writer`; `on_ready` is called when the worker becomes ready or unready."""
        self._parts = parts
        self._writer = writer
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._was_ready = False
        self._spared = False
        self._stall = Stall()
        self._busy = 0
        self._draining = False
        self._servers: tuple[Answering, ...] = ()

    def listening(self, *servers: Answering) -> None:
        """Report from now on that the listeners are open, and whether threads of the servers are stuck."""
        self._servers = servers

    def draining(self) -> None:
        """Report from now on that the worker drains."""
        self._draining = True
        self.send()

    def busy(self, busy: bool) -> None:
        """Report that the worker may be silent for long, or that it no longer is busy."""
        self._loop.call_soon_threadsafe(self._set_busy, busy)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            if not self._spared and self._gate(self._parts.readiness.checks()):
                self._spare_collector()
            report = self.send()
            # INVARIANT: a supervisor that does not read (it is stopped) delays reports only, never checks.
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()
            await asyncio.sleep(REPORT_EVERY_S if report.ready else _UNREADY_REPORT_EVERY_S)

    def send(self) -> WorkerReport:
        """Send one report now."""
        report = self._report()
        if report.ready != self._was_ready and not self._draining:
            self._was_ready = self._spared = report.ready
            self._on_ready(report.ready)
        with contextlib.suppress(ConnectionError):
            self._writer.write(report.encode())
        return report

    @property
    def _up(self) -> bool:
        return bool(self._servers) and not self._draining

    def _gate(self, checks: dict[str, bool]) -> bool:
        return self._up and self._parts.readiness.gate(checks)

    def _set_busy(self, busy: bool) -> None:
        self._busy += 1 if busy else -1
        self.send()

    def _spare_collector(self) -> None:
        self._set_busy(True)
        spare_collector()
        self._spared = True
        self._set_busy(False)

    def _report(self) -> WorkerReport:
        parts, now = self._parts, time.time()
        checks = parts.readiness.checks()
        gate = self._gate(checks)
        # The worker is ready only after spare_collector has run, which waits for the keys of the first start.
        but_for_keys = self._up and parts.readiness.gate_but_for_keys(checks)
        return WorkerReport(
            ready=gate and self._spared,
            ready_but_for_keys=but_for_keys and (self._spared or not gate),
            checks=checks,
            counts=self._counts(now),
            problems=parts.readiness.problems(),
            listening=bool(self._servers),
            draining=self._draining,
            busy=self._busy > 0,
            stuck=self._stuck() if self._up else None,
        )

    def _counts(self, now: float) -> CountTotals:
        parts = self._parts
        ages = [age for age in parts.cache.ages().values() if age is not None]
        directory = parts.current.current()
        selfhost = directory is not None and directory.mode is TenancyMode.SELFHOST
        snapshot = directory.snapshots.get(DEFAULT_TENANT) if directory is not None and selfhost else None
        counts = parts.counts.snapshot(
            policy_revision=None if snapshot is None else snapshot.revision,
            policy_age_s=None if directory is None else max(0.0, now - directory.worst_confirmed()),
            jwks_age_s=max(ages, default=None),
        )
        counts["token_cache_hits"] = parts.service.tokens.hits
        counts["token_cache_misses"] = parts.service.tokens.misses
        counts["introspection_cache_hits"] = parts.introspector.remembered.hits
        return counts

    def _stuck(self) -> str | None:
        waited_s = max(server.stalled_s() for server in self._servers)
        stalled_s = self._stall.look(time.monotonic(), waited_s)
        if stalled_s < STALLED_S:
            return None
        return f"the threads that answer checks have made no progress for {STALLED_S:g} s"


def spare_collector() -> None:
    """Exclude all existing objects from cyclic garbage collection (`gc.freeze`), before the first request.

    A full collection traverses every object: with 100,000 rules it stops all threads for longer than Envoy's
    timeout of a check. Policies are long-lived and have no cycles, so a collection of them frees nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)

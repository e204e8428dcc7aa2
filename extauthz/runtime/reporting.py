"""What a worker reports of itself, and when: twice a second, and at once before it is busy."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from extauthz.check.service import CheckService
from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.keys.cache import JwksCache
from extauthz.publish.current import CurrentPolicies
from extauthz.runtime.liveness import Stall
from extauthz.runtime.readiness import WorkerReadiness
from extauthz.runtime.reports import MAX_KEY_USES, REPORT_EVERY_S, WorkerReport
from extauthz.telemetry.counts import Counts, CountTotals

STALLED_S: Final = 5.0
"""After this time without progress the threads that answer are stuck. A call may take 1 s to be received and
150 ms to wait for keys, and there are four threads for them."""

_UNREADY_REPORT_EVERY_S: Final = 0.05
_YOUNG_OBJECTS: Final = 10_000
"""How many new objects start a collection: what waits for the decision log is not garbage, and is many."""


class Answering(Protocol):
    """A server whose threads answer checks."""

    def stalled_s(self) -> float:
        """Return for how many seconds none of them has made progress though calls wait."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The parts of a worker that its reports look at."""

    current: CurrentPolicies
    cache: JwksCache
    counts: Counts
    service: CheckService
    readiness: WorkerReadiness


class Reporting:
    """Sends the reports of one worker. `busy` is for any thread, everything else for the event loop."""

    def __init__(
        self,
        parts: Reported,
        writer: asyncio.StreamWriter,
        *,
        on_ready: Callable[[bool], None],
    ) -> None:
        """Report to `writer`; `on_ready` is told each time the worker becomes ready or unready."""
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
        """Report from now on that the listeners are open, and watch the threads behind them."""
        self._servers = servers

    def draining(self) -> None:
        """Report from now on that the worker is on its way out."""
        self._draining = True
        self.send()

    def busy(self, busy: bool) -> None:
        """Announce that the worker may be silent for long, or that this is over."""
        self._loop.call_soon_threadsafe(self._set_busy, busy)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            if not self._spared and self._gate(self._parts.readiness.checks()):
                self._spare_collector()
            report = self.send()
            # INVARIANT: a supervisor that does not read (it is stopped) holds up reports and nothing else.
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()
            await asyncio.sleep(REPORT_EVERY_S if report.ready else _UNREADY_REPORT_EVERY_S)

    def send(self, *, last: bool = False) -> WorkerReport:
        """Send one report now; `last` with whatever was held back for a later one."""
        report = self._report(last=last)
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

    def _report(self, *, last: bool) -> WorkerReport:
        parts, now = self._parts, time.time()
        checks = parts.readiness.checks()
        gate = self._gate(checks)
        # Requests are let in once the collector is spared, which waits for the keys of the first start.
        but_for_keys = self._up and parts.readiness.gate_but_for_keys(checks)
        uses = parts.service.used_keys.take(now, limit=MAX_KEY_USES, all_of_them=last)
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
            key_uses=[(use.tenant, use.key_id, use.at) for use in uses],
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
        return counts

    def _stuck(self) -> str | None:
        waited_s = max(server.stalled_s() for server in self._servers)
        stalled_s = self._stall.look(time.monotonic(), waited_s)
        if stalled_s < STALLED_S:
            return None
        return f"the threads that answer checks have made no progress for {STALLED_S:g} s"


def spare_collector() -> None:
    """Take what is loaded out of the cyclic garbage collector's sight; before the first request is let in.

    A full collection looks at every object there is: with 100,000 rules it stops all threads for longer than
    Envoy waits for an answer. Policies live long and have no cycles, so looking at them finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)

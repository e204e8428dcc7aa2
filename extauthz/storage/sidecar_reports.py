"""Reports of sidecars, written together, and writes that wait until sidecars have a revision.

A report is acknowledged when it is stored, so that every replica of the control plane knows of it. Reports
that arrive while a transaction of their tenant runs, or shortly after it, share the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from extauthz.storage import sidecars, write
from extauthz.storage.outcome import Refusal
from extauthz.storage.shared_questions import SharedQuestions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from extauthz.storage.pool import Pool
    from extauthz.storage.sidecars import AppliedCount, Sidecar, SidecarReport

INTERVAL_S: Final = 3.0
"""Seconds between two reports of a sidecar, as long as the control plane has few."""
REPORTS_A_SECOND: Final = 500
"""With more sidecars the interval grows, so that the control plane receives this many reports, or at most
twice as many: a tenant with less than its share of them reports as often as if there were no other."""
LIVE_INTERVALS: Final = 3

_GATHER_S: Final = 0.05
_TRANSACTIONS: Final = 4
_READERS: Final = 4
"""Of the pool's connections: writes that wait leave the others to those that do not."""
_NAMED_WITHIN_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class MissingSidecars:
    """The sidecars that do not have a revision; `sidecars` are at most `sidecars.MAX_MISSING` of `count`.

    `count` None: the database did not say.
    """

    count: int | None
    sidecars: Sequence[Sidecar]


@dataclass(frozen=True, slots=True)
class TooManySidecars:
    """The report is not stored: the tenant has `sidecars.MAX_SIDECARS` live sidecars."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A report that waits to be stored; `gone` says that the sidecar no longer serves the tenant."""

    report: SidecarReport
    gone: bool
    stored: asyncio.Future[Refusal | TooManySidecars | None]


class SidecarReports:
    """The reports that one process of the control plane receives. Used by one event loop."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        """Start without reports; sidecars that were live before this have not had time to report again."""
        self._steady = steady
        self._waiting: dict[str, list[_Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._transactions = asyncio.Semaphore(_TRANSACTIONS)
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._questions = SharedQuestions()
        self._readers = asyncio.Semaphore(_READERS)
        self._heard: dict[str, dict[str, float]] = {}
        self._pruned_at = self._resumed_at = steady()
        self._interrupted = self._ended = False

    def end(self) -> None:
        """Let no write wait any longer: the process ends."""
        self._ended = True
        for watched in self._watched.values():
            for news in watched:
                news.set()

    def interval(self, *tenants: str) -> float:
        """Return after how many seconds a sidecar of these tenants that reports now should report again."""
        heard = sum(map(len, self._heard.values()))
        most = max((len(self._heard.get(tenant, ())) for tenant in tenants), default=0)
        return max(INTERVAL_S, min(heard, most * len(self._heard)) / REPORTS_A_SECOND)

    async def store(
        self, pool: Pool, tenant: str, report: SidecarReport, *, gone: bool = False
    ) -> Refusal | TooManySidecars | None:
        """Store a report of a sidecar about a tenant; return when it is stored, or why it is not."""
        self.hear(tenant, report.instance)
        waiting = _Waiting(report, gone, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, []).append(waiting)
        if tenant not in self._writers:
            self._writers[tenant] = asyncio.create_task(self._write(pool, tenant))
        return await waiting.stored

    async def missing(
        self, pool: Pool, tenant: str, revision: int, *, percent: int, within_s: float
    ) -> MissingSidecars | None:
        """Wait until `percent` of the live sidecars of a tenant have a revision, at most `within_s` seconds.

        Return None when they have it, else those that do not.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        news = asyncio.Event()
        watched = self._watched.setdefault(tenant, set())
        watched.add(news)
        found: Sequence[AppliedCount] | Refusal | None = None
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    news.clear()
                    # INVARIANT: what counts was read after the write, which is committed before this call.
                    found = await self._questions.ask_anew(tenant, partial(self._applied, pool, tenant))
                    if not isinstance(found, Refusal) and _enough(found, revision, percent):
                        return None
                    if self._ended:
                        break
                    # Another replica may have stored a report meanwhile, of which no event tells.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_EVERY_S):
                            await news.wait()
        except TimeoutError:
            pass
        finally:
            watched.discard(news)
            if not watched:
                self._watched.pop(tenant, None)
        named: Sequence[Sidecar] | Refusal | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NAMED_WITHIN_S):
                named = await self._named(pool, tenant, revision)
        if found is None or named is None or isinstance(found, Refusal) or isinstance(named, Refusal):
            return MissingSidecars(None, ())
        if _are_too_many(found):
            return MissingSidecars(None, named)
        without = sum(each.sidecars for each in found if not _has(each, revision))
        return MissingSidecars(max(without, len(named)), named) if named else None

    async def _applied(self, pool: Pool, tenant: str) -> list[AppliedCount] | Refusal:
        async with self._readers:
            return await write.read(
                pool,
                tenant,
                lambda connection: sidecars.applied(connection, tenant, resumed_s=self._resumed_s()),
            )

    async def _named(self, pool: Pool, tenant: str, revision: int) -> list[Sidecar] | Refusal:
        async with self._readers:
            return await write.read(
                pool,
                tenant,
                lambda connection: sidecars.missing(
                    connection, tenant, revision, resumed_s=self._resumed_s()
                ),
            )

    def _resumed_s(self) -> float:
        """Return for how long reports have been stored without interruption."""
        return 0.0 if self._interrupted else self._steady() - self._resumed_at

    def hear(self, tenant: str, instance: str) -> None:
        """Count a sidecar that reports; of one tenant no more than are stored."""
        now = self._steady()
        heard = self._heard.setdefault(tenant, {})
        if instance in heard or len(heard) < sidecars.MAX_SIDECARS:
            heard[instance] = now
        if now - self._pruned_at > INTERVAL_S:
            self._pruned_at = now
            self._heard = {
                name: kept for name, each in self._heard.items() if (kept := self._recent(name, each, now))
            }

    def _recent(self, tenant: str, heard: Mapping[str, float], now: float) -> dict[str, float]:
        oldest = now - LIVE_INTERVALS * self.interval(tenant)
        return {instance: at for instance, at in heard.items() if at >= oldest}

    async def _write(self, pool: Pool, tenant: str) -> None:
        while some := self._waiting.pop(tenant, None):
            async with self._transactions:
                try:
                    outcome = await sidecars.store(
                        pool,
                        tenant,
                        [each.report for each in some if not each.gone],
                        [each.report.instance for each in some if each.gone],
                    )
                except Exception as error:  # noqa: BLE001  # the reports get it
                    self._interrupted = True
                    for each in some:
                        if not each.stored.done():
                            each.stored.set_exception(error)
                else:
                    self._answer(some, outcome)
            for news in self._watched.get(tenant, ()):
                news.set()
            await asyncio.sleep(_GATHER_S)
        del self._writers[tenant]

    def _answer(self, reports: Sequence[_Waiting], outcome: frozenset[str] | Refusal) -> None:
        """Tell reports how their transaction ended."""
        if isinstance(outcome, Refusal):
            self._interrupted = True
        elif self._interrupted:
            self._interrupted, self._resumed_at = False, self._steady()
        for each in reports:
            if each.stored.done():
                continue
            if isinstance(outcome, Refusal):
                each.stored.set_result(outcome)
            else:
                refused = not each.gone and each.report.instance in outcome
                each.stored.set_result(TooManySidecars() if refused else None)


def _has(one: AppliedCount, revision: int) -> bool:
    return one.revision is not None and one.revision >= revision


def _are_too_many(found: Sequence[AppliedCount]) -> bool:
    """Tell whether there may be sidecars that are not stored, because there was no room for them."""
    return sum(each.sidecars for each in found) >= sidecars.MAX_SIDECARS


def _enough(found: Sequence[AppliedCount], revision: int, percent: int) -> bool:
    live = sum(each.sidecars for each in found)
    having = sum(each.sidecars for each in found if _has(each, revision))
    return having * 100 >= live * percent and not _are_too_many(found)

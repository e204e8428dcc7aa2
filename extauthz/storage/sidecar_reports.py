"""Reports of sidecars, written together, and writes that wait until sidecars have a revision.

A report is acknowledged when it is stored, so that every replica of the control plane knows of it. Reports
that arrive while a transaction of their tenant runs, or shortly after it, share the next one.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from extauthz.storage import sidecars, write
from extauthz.storage.outcome import Refusal
from extauthz.storage.shared_questions import SharedQuestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.storage.pool import Pool
    from extauthz.storage.sidecars import Applied, Sidecar, SidecarReport

INTERVAL_S: Final = 3.0
"""Seconds between two reports of a sidecar, as long as the control plane has few."""
REPORTS_A_SECOND: Final = 500
"""With more sidecars the interval grows, so that the control plane receives this many reports."""
LIVE_INTERVALS: Final = 3

_GATHER_S: Final = 0.05
_TRANSACTIONS: Final = 4
_LOOK_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Missing:
    """The sidecars that do not have a revision; `sidecars` are at most `sidecars.MAX_MISSING` of `count`.

    `count` None: the database did not say.
    """

    count: int | None
    sidecars: Sequence[Sidecar]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A report that waits to be stored; `gone` says that the sidecar no longer serves the tenant."""

    report: SidecarReport
    gone: bool
    stored: asyncio.Future[Refusal | None]


class SidecarReports:
    """The reports that one process of the control plane receives. Used by one event loop."""

    def __init__(self) -> None:
        """Start without reports."""
        self._waiting: dict[str, list[_Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._transactions = asyncio.Semaphore(_TRANSACTIONS)
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._questions = SharedQuestions()
        self._heard: dict[tuple[str, str], float] = {}
        self._pruned_at = 0.0

    def interval(self) -> float:
        """Return after how many seconds a sidecar that reports now should report again."""
        return max(INTERVAL_S, len(self._heard) / REPORTS_A_SECOND)

    async def store(
        self, pool: Pool, tenant: str, report: SidecarReport, *, gone: bool = False
    ) -> Refusal | None:
        """Store a report of a sidecar about a tenant; return when it is stored, or why it is not."""
        self._hear(tenant, report.instance)
        waiting = _Waiting(report, gone, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, []).append(waiting)
        if tenant not in self._writers:
            self._writers[tenant] = asyncio.create_task(self._write(pool, tenant))
        return await waiting.stored

    async def missing(
        self, pool: Pool, tenant: str, revision: int, *, percent: int, within_s: float
    ) -> Missing | None:
        """Wait until `percent` of the live sidecars of a tenant have a revision, at most `within_s` seconds.

        Return None when they have it, else those that do not.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        news = asyncio.Event()
        watched = self._watched.setdefault(tenant, set())
        watched.add(news)
        try:
            while True:
                found = await self._questions.ask(tenant, partial(_applied, pool, tenant))
                if not isinstance(found, Refusal) and _enough(found, revision, percent):
                    return None
                left = deadline - loop.time()
                if left <= 0:
                    break
                # Another replica may have stored a report meanwhile, of which no event tells.
                try:
                    async with asyncio.timeout(min(left, _LOOK_EVERY_S)):
                        await news.wait()
                except TimeoutError:
                    continue
                news.clear()
        finally:
            watched.discard(news)
            if not watched:
                self._watched.pop(tenant, None)
        named = await write.read(
            pool, tenant, lambda connection: sidecars.missing(connection, tenant, revision)
        )
        if isinstance(found, Refusal) or isinstance(named, Refusal):
            return Missing(None, ())
        without = sum(each.sidecars for each in found if not _has(each, revision))
        return Missing(max(without, len(named)), named)

    def _hear(self, tenant: str, instance: str) -> None:
        now = time.monotonic()
        self._heard[tenant, instance] = now
        if now - self._pruned_at > INTERVAL_S:
            self._pruned_at = now
            oldest = now - LIVE_INTERVALS * self.interval()
            self._heard = {key: at for key, at in self._heard.items() if at >= oldest}

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
                    for each in some:
                        if not each.stored.done():
                            each.stored.set_exception(error)
                else:
                    for each in some:
                        if not each.stored.done():
                            each.stored.set_result(outcome)
            for news in self._watched.get(tenant, ()):
                news.set()
            await asyncio.sleep(_GATHER_S)
        del self._writers[tenant]


async def _applied(pool: Pool, tenant: str) -> list[Applied] | Refusal:
    return await write.read(pool, tenant, lambda connection: sidecars.applied(connection, tenant))


def _has(one: Applied, revision: int) -> bool:
    return one.revision is not None and one.revision >= revision


def _enough(found: Sequence[Applied], revision: int, percent: int) -> bool:
    live = sum(each.sidecars for each in found)
    having = sum(each.sidecars for each in found if _has(each, revision))
    return having * 100 >= live * percent

"""Reports of a worker to its control plane: at its start, after each applied revision, every few seconds.

Input: the current policies, the uses of service keys, what was seen of bodies. Output: reports over a
`ControlPlaneChannel`.

A report says at which revision the worker decides for each of its tenants. It is sent while checks are
answered: a control plane that is away, slow or wrong delays none. What is not reported is bounded and
counted.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import structlog

from extauthz import __version__
from extauthz.check.seen_bodies import SeenBodies
from extauthz.check.used_keys import UsedKeys
from extauthz.compile.directory import Directory
from extauthz.domain.sidecar_report import MAX_KEY_USES, MAX_TENANTS, PATH
from extauthz.publish.current import CurrentPolicies
from extauthz.runtime.control_channel import ControlPlaneChannel, NotAcknowledgedError
from extauthz.telemetry.counts import Counts, ReportOutcome

FIRST_S: Final = 2.0
"""The most seconds by which the first report delays the first decision."""
ANSWER_S: Final = 5.0
"""With the pause after it less than three intervals: one report that is lost leaves a sidecar live."""
LAST_S: Final = 1.0
_FIRST_INTERVAL_S: Final = 3.0
_LONGEST_INTERVAL_S: Final = 300.0
_SELDOM_S: Final = 30.0
"""The pause after a server has said that it takes no reports."""
_SPREAD: Final = 0.1
"""Reports after a change are spread over this part of what the interval exceeds its shortest value by."""
_MAX_UNSENT: Final = 10_000

_log = structlog.get_logger("extauthz.reports")
_State = tuple[str | None, int | None]
"""Epoch and revision of a tenant."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """The worker that reports. `tenants` are those that it serves also before their policies are there."""

    instance: str
    tenants: tuple[str, ...]
    counts: Counts


class RevisionReports:
    """Sends the reports of one worker. `current.on_swap` may come from any thread."""

    def __init__(
        self,
        channel: ControlPlaneChannel,
        reporter: Reporter,
        current: CurrentPolicies,
        used_keys: UsedKeys,
        *,
        bodies: SeenBodies | None = None,
    ) -> None:
        """Take what is reported, and follow `current` from now on."""
        self._channel = channel
        self._reporter = reporter
        self._current = current
        self._used_keys = used_keys
        self._bodies = bodies
        self._unsent: dict[tuple[str, str], float] = {}
        self._acknowledged: dict[str, _State] = {}
        self.interval = _FIRST_INTERVAL_S
        self._failures = 0
        self._is_taken = False
        self._is_refused = False
        self._applied: dict[str, _State] = {}
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        current.on_swap = lambda: _call(loop, self._news.set)

    async def first(self) -> None:
        """Report before the first decision; return when that is acknowledged, or after `FIRST_S`."""
        await self._report(everything=True, within_s=FIRST_S)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            everything = not await self._pause()
            await self._report(everything=everything, within_s=ANSWER_S)

    async def last(self) -> None:
        """Report the last uses of keys, and that this worker serves no tenant any more."""
        self._take_uses(last=True)
        with contextlib.suppress(NotAcknowledgedError, TimeoutError):
            async with asyncio.timeout(LAST_S):
                for gone in _parts(self._acknowledged, MAX_TENANTS):
                    await self._send((), gone, LAST_S)
                while self._unsent:
                    await self._send((), (), LAST_S)
        self._reporter.counts.key_uses_not_reported(len(self._unsent))
        self._unsent.clear()

    async def _pause(self) -> bool:
        """Wait for the time of the next report; return whether a change of the policies ended the wait."""
        if self._failures:
            pause = self.longest_pause()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            return False
        try:
            async with asyncio.timeout(self.interval):
                await self._news.wait()
        except TimeoutError:
            return False
        spread = (self.interval - _FIRST_INTERVAL_S) * _SPREAD
        if spread > 0:
            await asyncio.sleep(random.uniform(0, spread))  # noqa: S311
        return True

    def longest_pause(self) -> float:
        """Return the most seconds between a report that failed and the next one."""
        # Not longer than the interval: when the control plane is back, it has to know of this sidecar.
        return _SELDOM_S if self._is_refused else min(float(self._failures), self.interval)

    async def _report(self, *, everything: bool, within_s: float) -> None:
        self._news.clear()
        self._take_uses()
        directory = self._current.current()
        states: dict[str, _State] = dict.fromkeys(self._reporter.tenants, (None, None))
        ages: dict[str, float] = {}
        if directory is not None:
            now = time.time()
            self._applied = self._applied_now(directory)
            for tenant in directory.snapshots:
                states[tenant] = self._applied[tenant]
                ages[tenant] = max(0.0, now - directory.confirmed(tenant))
        gone = [tenant for tenant in self._acknowledged if tenant not in states]
        told = [
            tenant
            for tenant, state in states.items()
            if everything or self._acknowledged.get(tenant) != state
        ]
        try:
            async with asyncio.timeout(within_s):
                for some in _parts(told, MAX_TENANTS):
                    entries = [
                        {"tenant": name, "epoch": states[name][0], "revision": states[name][1]}
                        | ({"age": ages[name]} if name in ages else {})
                        for name in some
                    ]
                    await self._send(entries, (), within_s)
                    self._acknowledged |= {name: states[name] for name in some}
                for some in _parts(gone, MAX_TENANTS):
                    await self._send((), some, within_s)
                    for name in some:
                        del self._acknowledged[name]
                while self._unsent:
                    await self._send((), (), within_s)
        except (NotAcknowledgedError, TimeoutError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001  # whatever an answer raises, it ends no worker
            _log.exception("report_not_sent")
            self._failed(error)
        else:
            self._succeeded()

    def _applied_now(self, directory: Directory) -> dict[str, _State]:
        """Return the revision at which each tenant is decided completely.

        INVARIANT: a revision with rows that are not in force is not one that this worker has. What it has
        then is what it had before, and nothing of another epoch.
        """
        applied: dict[str, _State] = {}
        for tenant, snapshot in directory.snapshots.items():
            before = self._applied.get(tenant, (None, None))
            if tenant not in directory.lagging:
                applied[tenant] = (directory.epoch, snapshot.revision)
            elif before[0] == directory.epoch:
                applied[tenant] = before
            else:
                applied[tenant] = (directory.epoch, None)
        return applied

    async def _send(self, entries: Iterable[Mapping[str, Any]], gone: Iterable[str], within_s: float) -> None:
        uses = dict(islice(self._unsent.items(), MAX_KEY_USES))
        document: dict[str, Any] = {
            "instance": self._reporter.instance,
            "version": __version__,
            "tenants": list(entries),
            "gone": list(gone),
            "key_uses": [{"tenant": tenant, "id": key, "at": at} for (tenant, key), at in uses.items()],
        }
        if self._bodies is not None:
            document["condition_body_max"] = self._bodies.longest
            document["request_bodies"] = self._bodies.state()
        answer = await self._channel.send(PATH, document, within_s=within_s)
        interval = answer.get("interval")
        if isinstance(interval, bool) or not isinstance(interval, int | float):
            raise NotAcknowledgedError(f"POST {PATH}: the answer has no interval", final=True)
        self.interval = min(max(float(interval), _FIRST_INTERVAL_S), _LONGEST_INTERVAL_S)
        self._is_taken = True
        for key, at in uses.items():
            if self._unsent.get(key) == at:
                del self._unsent[key]
        self._reporter.counts.reported(ReportOutcome.ACKNOWLEDGED)

    def _take_uses(self, *, last: bool = False) -> None:
        taken = self._used_keys.take(time.time(), limit=MAX_KEY_USES, all_of_them=last)
        lost = 0
        for use in taken:
            key = (use.tenant, use.key_id)
            if key in self._unsent or len(self._unsent) < _MAX_UNSENT:
                self._unsent[key] = use.at
            else:
                lost += 1
        if lost:
            self._reporter.counts.key_uses_not_reported(lost)

    def _failed(self, error: Exception) -> None:
        self._reporter.counts.reported(ReportOutcome.FAILED)
        self._failures += 1
        # From now on everything is told: what the control plane took of this report is not known.
        self._acknowledged = dict.fromkeys(self._acknowledged, (None, -1))
        if self._failures == 1:
            cause = str(error) or f"no answer in {ANSWER_S:g} s"
            _log.warning("control_plane_not_reached", url=self._channel.url, cause=cause)
        # A server of static files takes no reports; one that took them before is only away.
        self._is_refused = isinstance(error, NotAcknowledgedError) and error.final and not self._is_taken

    def _succeeded(self) -> None:
        if self._failures:
            _log.info("control_plane_reached_again", url=self._channel.url)
        self._failures, self._is_refused = 0, False


def _parts(names: Iterable[str], size: int) -> Iterable[list[str]]:
    """Yield names in parts of at most `size`."""
    left = iter(names)
    while some := list(islice(left, size)):
        yield some


def _call(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    # At the end of the process the loop may be closed before the publisher's thread ends.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)

"""Runs one replay: every recorded shape of a window, judged by the live and by the draft policies.

Input: a pool, a compiler, a claimed job. Output: progress and the result in the job's row. Each page of
shapes is read in a transaction of its own, so that none stays open while they are judged.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from extauthz.decide.record import rfc3339
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.recording.compare import HOUR_S, Comparison, Period
from extauthz.recording.question import question_of
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.report import Json, Report
from extauthz.storage import drafts, feed, recorded_shapes, replay_jobs, resources
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recorded_shapes import Recorded, RecordedDay
from extauthz.storage.replay_jobs import Queued, ReplayJob

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

TELL_EVERY_S: Final = 1.0
"""Seconds between two writes of the progress."""
_PAGE: Final = 2_000
_NAMED: Final = 5


class ReplayFailedError(Exception):
    """A replay that cannot be done; the text says why."""


class ReplayTakenError(Exception):
    """The job is no longer this process's: another has it, or its draft is gone."""


@dataclass(frozen=True, slots=True)
class _Basis:
    """The policies of both sides at one moment, and the newest revision of a live resource."""

    live: ReplayPolicies
    draft: ReplayPolicies
    digest: str
    revision: int
    resources_revision: int


class _Window(NamedTuple):
    """Hours from `since` on and before `until`, in hours since 1970 (UTC)."""

    since: float
    until: float

    @classmethod
    def of(cls, job: ReplayJob) -> "_Window":
        """Return the hours that a job's window touches."""
        since = -float("inf") if job.since is None else job.since.timestamp() // HOUR_S
        until = float("inf") if job.until is None else -(-job.until.timestamp() // HOUR_S)
        return cls(since, until)

    def has_day(self, day: date) -> bool:
        """Tell whether some hour of the day is within."""
        first = _first_hour(day)
        return first + 24 > self.since and first < self.until

    def hours(self, recorded: Recorded) -> Iterator[tuple[float, int]]:
        """Yield when each hour of a shape that is within began (POSIX seconds), with its requests."""
        first = _first_hour(recorded.day)
        for hour, requests in sorted(recorded.tally.hours.items()):
            if self.since <= first + hour < self.until:
                yield (first + hour) * HOUR_S, requests


class Replay:
    """One attempt at a claimed job."""

    def __init__(
        self,
        pool: "Pool",
        compiler: Compiler,
        tenant: str,
        job: ReplayJob,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the job as it was claimed."""
        self._pool = pool
        self._compiler = compiler
        self._tenant = tenant
        self._job = job
        self._queued = Queued(tenant, job.id)
        self._clock = clock
        self._told_at = clock()
        self._judged = 0
        self._total = 0

    async def run(self) -> None:
        """Judge everything, and store the result or the reason why it cannot be done.

        Raises:
            ReplayTakenError: the job is another's now.
        """
        try:
            await self._run()
        except ReplayFailedError as failed:
            await replay_jobs.fail(self._pool, self._queued, self._job.attempts, str(failed))

    async def _run(self) -> None:
        basis = await self._basis()
        window = _Window.of(self._job)
        days = [each for each in await self._days() if window.has_day(each.day)]
        self._total = sum(each.shapes for each in days)
        await self._tell()
        report = Report(basis.live, basis.draft, self._sees)
        comparison = Comparison(basis.live, basis.draft)
        for each in days:
            await self._judge_day(each.day, window, basis, comparison, report)
        await replay_jobs.finish(
            self._pool,
            self._queued,
            self._job.attempts,
            judged=self._judged,
            basis=(basis.digest, basis.revision),
            newly=(report.newly_allowed, report.newly_denied),
            result=report.result() | _recorded(days),
        )

    async def _basis(self) -> _Basis:
        async with tenant_transaction(self._pool, self._tenant, read_only=True) as connection:
            live = await feed.documents(connection, self._tenant)
            draft = await drafts.draft_policies(connection, self._tenant, self._job.draft_id)
            if live is None or draft is None:
                raise ReplayTakenError
            digest = await drafts.draft_digest(connection, self._tenant, self._job.draft_id)
            newest = await resources.newest_revision(connection, self._tenant)
        # Rows that cannot be read hold up no request either.
        live_state = self._compiler.salvage(live)
        if not isinstance(live_state, TenantPolicies):
            raise ReplayFailedError(f"the live policies do not compile: {_problems(live_state)}")
        draft_state = self._compiler.salvage(draft, live_state)
        if not isinstance(draft_state, TenantPolicies):
            raise ReplayFailedError(f"the draft does not compile: {_problems(draft_state)}")
        if wrong := draft_state.unreadable.keys() - live_state.unreadable.keys():
            problems = [draft_state.unreadable[key].problem for key in sorted(wrong)]
            raise ReplayFailedError(f"the draft does not compile: {_problems(problems)}")
        return _Basis(
            ReplayPolicies.of(live_state.snapshot),
            ReplayPolicies.of(draft_state.snapshot, live_state.snapshot),
            digest,
            live.revision,
            newest,
        )

    async def _days(self) -> Sequence[RecordedDay]:
        async with tenant_transaction(self._pool, self._tenant, read_only=True) as connection:
            return await recorded_shapes.days(connection, self._tenant)

    async def _judge_day(
        self, day: date, window: _Window, basis: _Basis, comparison: Comparison, report: Report
    ) -> None:
        after: int | None = None
        while True:
            async with tenant_transaction(self._pool, self._tenant, read_only=True) as connection:
                # With each page: a batch may bring new contexts meanwhile.
                contexts = await recorded_shapes.contexts(connection, self._tenant, day)
                known = {number: each for number, each in contexts.items() if self._is_asked_for(each)}
                page = await recorded_shapes.shapes(
                    connection, self._tenant, day, known, after=after, limit=_PAGE
                )
            for recorded in page:
                _judge(recorded, window, basis.resources_revision, comparison, report)
            self._judged += len(page)
            if self._clock() - self._told_at >= TELL_EVERY_S:
                await self._tell()
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def _is_asked_for(self, context: Mapping[str, Any]) -> bool:
        """Tell whether requests of a context are of the domains of the caller that asked."""
        domain = context["domain"]
        return self._job.domains is None if domain is None else self._sees(domain)

    def _sees(self, domain: str) -> bool:
        """Tell whether the caller that asked may see requests and rules of a domain."""
        return self._job.domains is None or domain in self._job.domains

    async def _tell(self) -> None:
        """Store the progress. Raises ReplayTakenError."""
        self._told_at = self._clock()
        self._total = max(self._total, self._judged)
        kept = await replay_jobs.progressed(
            self._pool, self._queued, self._job.attempts, judged=self._judged, total=self._total
        )
        if not kept:
            raise ReplayTakenError


def _judge(
    recorded: Recorded, window: _Window, resources_revision: int, comparison: Comparison, report: Report
) -> None:
    """Judge one shape: once where no rule for it depends on the time, else once for each hour."""
    hours = list(window.hours(recorded))
    if not hours:
        return
    report.begin()
    question = question_of(recorded.shape, routes_since=recorded.tally.first < resources_revision)
    first, _ = hours[0]
    difference = comparison.difference(question, Period(first, first + HOUR_S))
    if not comparison.depends_on_time:
        report.add(question, difference, sum(requests for _, requests in hours), first)
        return
    for start, requests in hours:
        if start != first:
            difference = comparison.difference(question, Period(start, start + HOUR_S))
        report.add(question, difference, requests, start)


def _first_hour(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // HOUR_S


def _recorded(days: Sequence[RecordedDay]) -> Json:
    """Return what was there to judge: its first and last day, and requests that had no room."""
    if not days:
        return {"recorded": None}
    return {
        "recorded": {
            "since": rfc3339(days[0].since.timestamp()),
            "until": rfc3339(
                datetime.combine(days[-1].day + timedelta(1), datetime.min.time(), UTC).timestamp()
            ),
            "lost": sum(each.lost for each in days),
        }
    }


def _problems(problems: Sequence[object]) -> str:
    shown = "; ".join(map(str, problems[:_NAMED]))
    return shown if len(problems) <= _NAMED else f"{shown}; and {len(problems) - _NAMED} more"

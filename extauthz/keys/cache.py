"""A cache of the keys of every issuer, refreshed in the background; requests that wait share one fetch.

Input: `IssuerSource`s. Output: `KeyRing`. A failed fetch is logged and retried.

- Readers call `current()`, which returns an immutable ring; a change replaces the whole ring.
- Keys are refreshed before their lifetime ends. While the provider is unavailable the last good keys stay,
  for up to `Schedule.max_staleness`, which every reader checks against its own clock. A clock that is put
  back makes them no younger: at the next look, after at most half a minute, their times are put back too.
- A key that the provider removed is invalid after the next successful fetch.
- A token with an unknown key id may cause a fetch (`ensure`), at most one per issuer and cool-down, counted
  from the start of the previous fetch. A fetch that takes longer than the cool-down does not delay the next
  one. A successful scheduled fetch starts no cool-down, so that a key that the provider adds just after it is
  fetched at once.
- Keys are not written to disk.
"""

import asyncio
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from extauthz.decide.tokens.jwks import KeySet
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.keys.fetch_log import report
from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.schedule import RateLimit, Schedule
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from extauthz.telemetry.spans import OpenSpan, SpanKind, Tracing, current_span, inside, running

# A request waits for a fetch that began at most this long ago, and only if the provider's last fetch ended
# within this time: a provider that does not respond holds request threads once, and for this time only.
_JOIN_WITHIN_S: Final = 0.15
# The system clock may be set while the task sleeps, so it wakes at least this often.
_LONGEST_SLEEP_S: Final = 30.0
_PUT_BACK_S: Final = 1.0
"""Clocks that drift apart by less were not put back."""
FETCH_KEYS: Final = "extauthz.fetch_keys"
"""The span of a fetch of keys, with one of each HTTP request below it."""

_log = structlog.get_logger("extauthz.keys")


class Fetcher(Protocol):
    """The interface of `KeyFetcher`."""

    async def fetch(
        self, source: IssuerSource, *, known_jwks_uri: str | None = None
    ) -> FetchedKeys | FetchFailed:
        """Return the fetched keys, or the cause of the failure; expected failures are not raised."""


@dataclass(slots=True, eq=False)
class _Provider:
    """The state of one provider.

    `flight` is the fetch that began last, `flights` the number of fetches begun, `under_way` of running ones,
    `landed` the number of the latest fetch that succeeded. `asked_at` is when the last fetch on demand began;
    `prompt`: it ended within `Schedule.worth_waiting`.
    """

    source: IssuerSource
    refresh_at: float
    failures: int = 0
    jwks_uri: str | None = None
    flight: "_Flight | None" = None
    flights: int = 0
    under_way: int = 0
    landed: int = 0
    asked_at: float = -math.inf
    prompt: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    done: Future[None]
    number: int
    begun_at: float
    on_demand: bool
    asked_by: OpenSpan | None


class JwksCache:
    """The cache; see the module.

    `clock` returns POSIX seconds, `steady` seconds that never go back, `chance` random numbers in [0, 1).
    `on_fetch` is called with the outcome of each fetch. With `tracing` fetches have spans.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        schedule: Schedule | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_fetch: Callable[[FetchOutcome], None] = lambda _outcome: None,
        tracing: Tracing | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._schedule = schedule or Schedule()
        self._clock = clock
        self._steady = steady
        self._ahead = clock() - steady()
        self._chance = chance
        self._on_fetch = on_fetch
        self._tracing = tracing
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}
        self._begun: list[tuple[_Provider, _Flight]] = []
        self._ring = KeyRing()
        self._on_demand = RateLimit(self._schedule.most_on_demand)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Event | None = None

    def current(self) -> KeyRing:
        """Return the current ring; thread-safe."""
        return self._ring

    def ages(self) -> dict[str, float | None]:
        """Return the seconds since the last successful fetch of each issuer, None before the first."""
        now = self._clock()
        return {
            issuer: None if keys.fetched_at is None else max(0.0, now - keys.fetched_at)
            for issuer, keys in self._ring.issuers.items()
        }

    def all_tried(self) -> bool:
        """Return whether a fetch of every issuer's keys has ended, successful or not; thread-safe."""
        with self._lock:
            return all(provider.landed or provider.failures for provider in self._providers.values())

    def configure(self, sources: Iterable[IssuerSource]) -> None:
        """Set the registered issuers; thread-safe.

        An issuer whose keys come from the same place keeps them. An issuer or alias that occurs twice is
        ambiguous (it may belong to two tenants), so its issuers are ignored and their tokens are refused.
        """
        registered = list(sources)
        times = Counter(name for source in registered for name in source.config.names)
        wanted: dict[str, IssuerSource] = {}
        for source in registered:
            twice = [name for name in source.config.names if times[name] > 1]
            if twice:
                _log.error("issuer_registered_twice", issuer=twice[0], effect="its tokens are refused")
            else:
                wanted[source.config.issuer] = source
        now = self._clock()
        with self._lock:
            providers: dict[str, _Provider] = {}
            rings: list[IssuerKeys] = []
            for issuer, source in wanted.items():
                if not source.config.has_keys:
                    rings.append(IssuerKeys(source.config))
                    continue
                provider = self._providers.get(issuer)
                if provider is not None and provider.source.is_same_place(source):
                    provider.source = source
                    rings.append(replace(self._ring.issuers[issuer], config=source.config))
                else:
                    provider = _Provider(source, refresh_at=now)
                    rings.append(IssuerKeys(source.config))
                providers[issuer] = provider
            self._providers = providers
            self._ring = KeyRing.of(rings)
        self._wake()

    def seed(self, issuer: str, keys: KeySet, fetched_at: float) -> None:
        """Take keys that a control plane fetched at `fetched_at`, unless newer ones are there; thread-safe.

        They are used until they are too old, as if they had been fetched here. Fetches go on as planned.
        """
        with self._lock:
            known = self._ring.issuers.get(issuer)
            if known is None or issuer not in self._providers:
                return
            if known.fetched_at is not None and known.fetched_at >= fetched_at:
                return
            # The clock of a control plane may be ahead.
            usable_until = min(fetched_at, self._clock()) + self._schedule.max_staleness
            self._ring = self._ring.having(
                replace(known, keys=keys, fetched_at=fetched_at, usable_until=usable_until)
            )

    def ensure(self, issuer: str, _kid: str | None = None) -> Future[None]:
        """Return a future that is done when the token may be verified again with `current()`; thread-safe.

        Start a fetch of the issuer's keys if one may start now. The future is shared and cannot be cancelled.
        It is done at once if no fetch may start, if the provider is too slow to wait for, if the issuer is
        unknown, or if the cache is not running.
        """
        now = self._clock()
        with self._lock:
            provider = self._providers.get(issuer)
            if provider is None or self._loop is None:
                return _resolved()
            begins = self._ring.issuers[issuer].may_fetch(now) and self._on_demand.take(now)
            if begins:
                self._begin(provider, now, on_demand=True)
            flight = provider.flight if self._ring.issuers[issuer].is_awaited(now) else None
        if begins:
            self._wake()
        return _resolved() if flight is None else flight.done

    async def run(self) -> None:
        """Run the fetches that are due, until cancelled; then complete the futures of `ensure`."""
        work = asyncio.Event()
        with self._lock:
            self._loop, self._work = asyncio.get_running_loop(), work
        try:
            async with asyncio.TaskGroup() as flights:
                while True:
                    work.clear()
                    for provider, flight in self._take_begun():
                        flights.create_task(self._fly(provider, flight))
                    await _wait(work, self._next_due())
        finally:
            with self._lock:
                self._loop = self._work = None
                begun, self._begun = self._begun, []
                for provider, _ in begun:
                    provider.under_way -= 1
            for _, flight in begun:
                flight.done.set_result(None)

    def _wake(self) -> None:
        with self._lock:
            if self._loop is not None and self._work is not None:
                self._loop.call_soon_threadsafe(self._work.set)

    def _begin(self, provider: _Provider, now: float, *, on_demand: bool) -> None:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        if provider.under_way:
            provider.prompt = False
        provider.flights += 1
        provider.under_way += 1
        provider.flight = _Flight(done, provider.flights, now, on_demand, current_span())
        if on_demand:
            provider.asked_at = now
        self._begun.append((provider, provider.flight))
        self._ring = self._ring.having(
            replace(
                self._ring.issuers[provider.source.config.issuer],
                fetch_allowed_at=now + self._schedule.cool_down,
                fetching=True,
                awaited_until=now + self._schedule.worth_waiting if provider.prompt else 0.0,
            )
        )

    def _take_begun(self) -> list[tuple[_Provider, _Flight]]:
        with self._lock:
            now = self._follow_clock()
            for provider in self._providers.values():
                if not provider.under_way and self._wait_of(provider, now) == 0:
                    self._begin(provider, now, on_demand=False)
            begun, self._begun = self._begun, []
        return begun

    def _follow_clock(self) -> float:
        """Return the time, and put the times of all keys back by as much as the clock was."""
        now = self._clock()
        ahead = now - self._steady()
        put_back = self._ahead - ahead
        if not 0.0 < put_back <= _PUT_BACK_S:
            self._ahead = ahead
        if put_back > _PUT_BACK_S:
            for provider in self._providers.values():
                provider.refresh_at -= put_back
                provider.asked_at -= put_back
            self._ring = KeyRing.of(keys.put_back(put_back) for keys in self._ring.issuers.values())
        return now

    def _next_due(self) -> float:
        now = self._clock()
        with self._lock:
            waits = [self._wait_of(each, now) for each in self._providers.values() if not each.under_way]
        return min([_LONGEST_SLEEP_S, *waits])

    def _wait_of(self, provider: _Provider, now: float) -> float:
        # A fetch on demand also delays a scheduled one: two fetches never start within one cool-down.
        waits = (
            (provider.refresh_at - now, self._schedule.longest_wait),
            (provider.asked_at + self._schedule.cool_down - now, self._schedule.cool_down),
        )
        # A wait longer than any planned one means that the clock was set back; it is ignored.
        return max(0.0, *(wait for wait, longest in waits if wait <= longest))

    async def _fly(self, provider: _Provider, flight: _Flight) -> None:
        source = provider.source
        try:
            try:
                answer = await self._fetched(provider, flight)
            except Exception as bug:  # noqa: BLE001 - an unexpected error must not end the other fetches
                _log.exception("key_fetch_failed_unexpectedly", issuer=source.config.issuer)
                answer = FetchFailed(FetchOutcome.UNREACHABLE, type(bug).__name__)
            self._on_fetch(FetchOutcome.OK if isinstance(answer, FetchedKeys) else answer.outcome)
            with self._lock:
                self._land(provider, source.config.issuer, flight, answer)
        finally:
            with self._lock:
                provider.under_way -= 1
            flight.done.set_result(None)
        self._wake()

    async def _fetched(self, provider: _Provider, flight: _Flight) -> FetchedKeys | FetchFailed:
        known = provider.jwks_uri if flight.on_demand else None
        if self._tracing is None:
            return await self._fetcher.fetch(provider.source, known_jwks_uri=known)
        issuer = provider.source.config.issuer
        with inside(flight.asked_by):
            span = self._tracing.begin(FETCH_KEYS, SpanKind.INTERNAL, {"extauthz.issuer": issuer})
        with running(span):
            answer = await self._fetcher.fetch(provider.source, known_jwks_uri=known)
            if span is not None and isinstance(answer, FetchFailed):
                span.error = answer.outcome.value
            return answer

    def _land(
        self,
        provider: _Provider,
        issuer: str,
        flight: _Flight,
        answer: FetchedKeys | FetchFailed,
    ) -> None:
        if self._providers.get(issuer) is not provider:
            return
        before = self._ring.issuers[issuer]
        after = before
        now = self._clock()
        begun_at = min(flight.begun_at, now)
        if flight is provider.flight:
            after = replace(after, fetching=False)
            # Only fetches on demand count: a scheduled one also fetches the discovery document.
            if flight.on_demand:
                provider.prompt = abs(now - flight.begun_at) <= self._schedule.worth_waiting
        # INVARIANT: of two overlapping fetches, the one that began first never replaces the other's result.
        if isinstance(answer, FetchedKeys) and flight.number > provider.landed:
            provider.landed = flight.number
            provider.failures = 0
            provider.jwks_uri = answer.jwks_uri
            refresh_after = self._schedule.refresh_after(answer.cache_control, self._chance())
            provider.refresh_at = begun_at + refresh_after
            after = replace(
                after,
                keys=before.keys if answer.keys == before.keys else answer.keys,
                fetched_at=begun_at,
                usable_until=begun_at + self._schedule.max_staleness,
            )
            if flight is provider.flight and not flight.on_demand:
                after = replace(after, fetch_allowed_at=provider.asked_at + self._schedule.cool_down)
        elif isinstance(answer, FetchFailed):
            provider.jwks_uri = None
            # A failed fetch on demand does not change the schedule.
            if not flight.on_demand or provider.refresh_at <= now:
                provider.failures += 1
                provider.refresh_at = now + self._schedule.retry_after(provider.failures, self._chance())
        self._ring = self._ring.having(after)
        report(before, after, answer, provider.failures)


def _resolved() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


async def _wait(work: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work.wait()
    except TimeoutError:
        return

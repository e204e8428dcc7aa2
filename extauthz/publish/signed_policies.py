"""Policies from signed heads: followed over HTTP, verified, put in force as those of the database are.

INVARIANT: nothing is in force that a pinned key did not sign for this tenant. Whatever is refused leaves the
last good policies in force, which grow old: a head confirms them for the moment at which it was signed, not
for the one at which it arrived.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.compile.directory import Directory
from extauthz.publish.head_contents import HeadContents
from extauthz.publish.rejected_revisions import log_refused
from extauthz.publish.tenant import TenantPolicies
from extauthz.signed.head import Head, HeadRejectedError, verify
from extauthz.signed.policy_cache import CachedBodies, PolicyCache
from extauthz.telemetry.counts import HeadRejection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securesystemslib.signer import Key

    from extauthz.domain.problem import Problem
    from extauthz.domain.tenancy import TenancyMode
    from extauthz.domain.tenant_config import ProviderKeys, TenantConfig, TenantIdentityProvider
    from extauthz.publish.current import CurrentPolicies
    from extauthz.publish.head_contents import BodySource
    from extauthz.publish.tenant import Compiler
    from extauthz.signed.http_source import HttpPolicies

WAIT_S: Final = 25.0
"""How long a control plane is asked to wait for news.

After an answer without news a follower waits a second less, in turn: a cache between them may have kept that
answer, and would give it again at once.
"""
_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 5.0

_log = structlog.get_logger("extauthz.publish")


class SignedPublisher:
    """Keeps `CurrentPolicies` at what signed heads say of one tenant; see `Publisher`.

    `on_failure` is told of every refusal, `on_refusal` its reason. `on_issuers` gets the tenant's identity
    providers whenever they changed, before they are published, and then `on_keys` their keys.
    """

    def __init__(
        self,
        source: HttpPolicies,
        keys: Sequence[Key],
        current: CurrentPolicies,
        compiler: Compiler,
        *,
        tenant: str,
        mode: TenancyMode,
        max_staleness: float | None,
        max_bytes: int,
        poll_interval: float,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        on_failure: Callable[[], None] = lambda: None,
        on_refusal: Callable[[HeadRejection], None] = lambda _reason: None,
        on_issuers: Callable[[Sequence[TenantIdentityProvider]], None] = lambda _issuers: None,
        on_keys: Callable[[Sequence[ProviderKeys]], None] = lambda _keys: None,
        cache: PolicyCache | None = None,
    ) -> None:
        """Take what it reads and feeds. Times are in seconds; `max_staleness` None: heads never expire.

        `poll_interval` is the time between two questions to a server that does not wait for news. `cache` has
        the policies of the last run, to begin with.
        """
        self._source = source
        self._keys = keys
        self._current = current
        self._tenant = tenant
        self._mode = mode
        self._max_staleness = max_staleness
        self._poll_interval = poll_interval
        self._clock = clock
        self._steady = steady
        self._on_failure = on_failure
        self._on_refusal = on_refusal
        self._on_issuers = on_issuers
        self._on_keys = on_keys
        self._cache = cache
        self._cache_problem: str | None = None
        self._without_news = 0
        self.on_busy: Callable[[bool], None] = lambda _busy: None
        self._contents = HeadContents(
            compiler,
            tenant,
            max_bytes=max_bytes,
            keep=cache is not None,
            on_busy=self._tell_busy,
        )
        self._head: Head | None = None
        self._state: TenantPolicies | None = None
        self._config: TenantConfig | None = None
        self._taken_at = 0.0
        self._age_then = 0.0
        self._refusal: HeadRejectedError | None = None
        self._lagging_since: float | None = None
        self._problems: Sequence[Problem] = ()

    def _tell_busy(self, busy: bool) -> None:
        self.on_busy(busy)

    @property
    def available(self) -> None:
        """There is no database to be available."""
        return

    @property
    def problems(self) -> Mapping[str, Sequence[object]]:
        """What is wrong with the newest head or its policies; the last good ones stay in force."""
        found: list[object] = [*self._problems]
        if self._refusal is not None:
            found.append(f"{self._refusal.reason}: {self._refusal}")
        if self._cache_problem is not None:
            found.append(self._cache_problem)
        return {self._tenant: found} if found else {}

    def load_first(self) -> Sequence[object]:
        """Begin with the cached policies, if they are young enough; without them nothing is allowed."""
        if self._cache is not None:
            asyncio.run(self._load_cached(self._cache))
        return ()

    async def _load_cached(self, cache: PolicyCache) -> None:
        try:
            envelope = cache.head()
            if envelope is None:
                return
            head = self._verified(envelope)
            await self._take(head, CachedBodies(cache))
        except HeadRejectedError as refusal:
            self._on_refusal(refusal.reason)
            self._note_cache(f"the cache is not used: {refusal.reason}: {refusal}")
        except OSError as error:
            self._note_cache(f"the cache cannot be read: {error.strerror or error}")
        else:
            _log.info("policies_from_cache", tenant=self._tenant, revision=head.revision, serial=head.serial)

    async def run(self) -> None:
        """Follow the server until cancelled."""
        try:
            await self._follow()
        finally:
            if self._cache is not None:
                self._cache.close()

    async def _follow(self) -> None:
        pause = _FIRST_RETRY_S
        async with self._source:
            while True:
                asked = self._steady()
                try:
                    news = await self.refresh()
                except HeadRejectedError as refusal:
                    self._refused(refusal)
                    await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311  # spreads sidecars
                    pause = min(pause * 2, _LONGEST_RETRY_S)
                    continue
                pause = _FIRST_RETRY_S
                self._accepted()
                if not news and self._steady() - asked < self._poll_interval:
                    # A server of static files answers at once, whatever `wait` says.
                    await asyncio.sleep(self._poll_interval)

    async def refresh(self) -> bool:
        """Ask once and take what is newer; tell whether there was a newer head.

        Raises:
            HeadRejectedError: the head, or a body that it names, is not to be used.
        """
        before = self._head
        wait_s = WAIT_S - self._without_news % 2
        octets = await self._source.head(None if before is None else before.serial, wait_s)
        head = self._verified(octets)
        if before is not None and head.serial == before.serial:
            self._without_news += 1
            self._current.grow_old(self._age_then + self._steady() - self._taken_at, self._clock())
            return False
        self._without_news = 0
        await self._take(head, self._source)
        if self._cache is not None:
            await self._write_cache(self._cache, head, octets)
        return True

    def _verified(self, envelope: bytes) -> Head:
        return verify(
            envelope,
            self._keys,
            self._tenant,
            now=self._clock(),
            max_age_s=self._max_staleness,
            before=self._head,
        )

    async def _write_cache(self, cache: PolicyCache, head: Head, envelope: bytes) -> None:
        try:
            # The file system may be slow: nothing of it waits in the event loop.
            if not await asyncio.to_thread(cache.may_write):
                return
            missing = await asyncio.to_thread(cache.missing, head)
            bodies = {body.sha256: await self._contents.octets(body, self._source) for body in missing}
            await asyncio.to_thread(cache.write, head, envelope, bodies)
        except OSError as error:
            self._note_cache(f"the cache cannot be written: {error.strerror or error}")
        else:
            self._cache_problem = None

    def _note_cache(self, problem: str) -> None:
        if problem != self._cache_problem:
            _log.error("policy_cache_not_used", tenant=self._tenant, problem=problem)
        self._cache_problem = problem

    async def _take(self, head: Head, source: BodySource) -> None:
        before = self._head
        config = self._config
        self._contents.forget()
        if config is None or before is None or head.config != before.config:
            config = await self._contents.config(head, source)
        try:
            following = None if self._problems else before
            found = await self._contents.policies(head, config, source, state=self._state, before=following)
        except (HeadRejectedError, OSError):
            self._register(config)
            raise
        except Exception as error:  # whatever signed rows raise, it refuses this head and ends nothing
            self._register(config)
            _log.exception("policies_not_read", tenant=self._tenant, serial=head.serial)
            raise HeadRejectedError(
                HeadRejection.BODY, f"the policies cannot be read: {type(error).__name__}"
            ) from error
        if isinstance(found, TenantPolicies) and found.is_complete:
            self._publish(head, config, found, found.problems)
        else:
            problems = found.problems if isinstance(found, TenantPolicies) else found
            self._publish(head, config, self._state, problems)

    def _publish(
        self, head: Head, config: TenantConfig, state: TenantPolicies | None, problems: Sequence[Problem]
    ) -> None:
        """Put a head in force; with problems, `state` is the last good one or the one without their rows."""
        replaced, known = self._state, self._current.current()
        now = self._clock()
        confirmed_at = min(head.signed_at / 1000, now)
        if problems:
            if list(problems) != list(self._problems):
                self._on_failure()
                log_refused(self._tenant, problems, has_policies=state is not None)
            if self._lagging_since is None:
                self._lagging_since = 0.0 if known is None or state is None else known.confirmed_at
        else:
            self._lagging_since = None
        self._head, self._state, self._problems = head, state, problems
        self._taken_at, self._age_then = self._steady(), now - confirmed_at
        policies = Directory(
            mode=self._mode,
            snapshots={} if state is None else {self._tenant: state.snapshot},
            epoch=head.epoch,
            confirmed_at=confirmed_at,
            lagging={} if self._lagging_since is None else {self._tenant: self._lagging_since},
        )
        self._register(config, policies)
        if state is not None and replaced is not state:
            _log.info(
                "policies_loaded",
                tenant=self._tenant,
                revision=state.snapshot.revision,
                serial=head.serial,
            )

    def _register(self, config: TenantConfig, policies: Directory | None = None) -> None:
        """Put a configuration in force, with these policies or those that are.

        INVARIANT: policies that cannot be read hold up no revoked key and no suspension.
        """
        policies = policies or self._current.current()
        if policies is None:
            return
        before, self._config = self._config, config
        if before is None or before.providers != config.providers:
            self._on_issuers(config.providers)
        if before is None or before.keys != config.keys:
            self._on_keys(config.keys)
        self._current.swap(
            replace(
                policies,
                hosts=dict.fromkeys(config.hosts, self._tenant),
                suspended=frozenset({self._tenant} if config.suspended else ()),
                issuers=config.providers,
                service_keys={key.id: key for key in config.identity_keys},
            )
        )

    def _accepted(self) -> None:
        if self._refusal is not None:
            self._refusal = None
            _log.info("policy_heads_accepted", tenant=self._tenant)

    def _refused(self, refusal: HeadRejectedError) -> None:
        """Keep what is in force, count the refusal, and log it when its cause is another one than before."""
        before, self._refusal = self._refusal, refusal
        self._on_failure()
        self._on_refusal(refusal.reason)
        if self._head is not None:
            self._current.grow_old(self._age_then + self._steady() - self._taken_at, self._clock())
        if before is None or before.reason is not refusal.reason:
            _log.error(
                "policy_head_refused",
                message=(
                    "there are no policies yet; requests are answered 503 not_ready"
                    if self._state is None
                    else "the last good policies stay in force"
                ),
                tenant=self._tenant,
                reason=refusal.reason,
                problem=str(refusal),
            )

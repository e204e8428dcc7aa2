"""Policies from PostgreSQL: listened to, polled as a safety net, applied as changes.

INVARIANT: only a server that takes writes confirms a revision; `feed.one_moment` refuses any other. A server
that does not answer is given up within the bound of a statement, and another connection is opened.

The connection is the publisher's own (`publish/polling.py`). A change that is not a plain step forward (a
gap, a revision that went back, another epoch) is a reload, never a merge. A row that cannot be read, or that
contradicts others, keeps its last good version while other changes are followed; its tenant raises the alarm
and grows old (`publish/salvage.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.publish.following import (
    News,
    current_config,
    is_complete,
    may_be_readable,
    registered_anew,
    stepped,
)
from extauthz.publish.loading import retire, short_steps
from extauthz.publish.loading_threads import LoadingThreads
from extauthz.publish.loads import Loaded, TenantLoads
from extauthz.publish.policy_size import PolicySizes
from extauthz.publish.polling import Connect, DatabasePolling
from extauthz.publish.published_tenants import PublishedTenants, Refreshed
from extauthz.publish.rejected_revisions import RejectedRevisions
from extauthz.publish.tenant import Compiler, TenantPolicies, unreadable_rows
from extauthz.storage import feed, tenant_configs
from extauthz.storage.availability import DatabaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from extauthz.compile.snapshot import Snapshot
    from extauthz.domain.problem import Problem
    from extauthz.domain.tenancy import TenancyMode
    from extauthz.domain.tenant_config import TenantIdentityProvider
    from extauthz.publish.current import CurrentPolicies
    from extauthz.publish.notifications import OpenListener
    from extauthz.storage.pool import Connection

SETTLED_ROWS: Final = 1_000
"""After this many changed rows, what they became is taken out of the garbage collector's sight."""

_log = structlog.get_logger("extauthz.publish")


class PostgresPublisher:
    """Keeps `CurrentPolicies` at what the database says; `on_failure` is told of every failed refresh.

    `on_issuers` gets the issuers of all tenants whenever they changed, before they are published.
    """

    def __init__(
        self,
        connect: Connect,
        current: CurrentPolicies,
        compiler: Compiler,
        *,
        mode: TenancyMode,
        tenants: frozenset[str] = frozenset(),
        poll_interval: float = 5.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        on_failure: Callable[[], None] = lambda: None,
        on_issuers: Callable[[Sequence[TenantIdentityProvider]], None] = lambda _issuers: None,
        open_listener: OpenListener | None = None,
        database: DatabaseState | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """Take what it reads with and feeds; `tenants` empty means all, `poll_interval` is seconds.

        `open_listener` is for notifications past a connection pooler. `database` is told whether the policies
        can be confirmed. `max_bytes` is how large the policies of a tenant may be, None for no limit.
        """
        self._current = current
        self._compiler = compiler
        self._tenants = tenants
        self._poll_interval = poll_interval
        self._clock = clock
        self._steady = steady
        self._confirmed_steady = 0.0
        self._on_failure = on_failure
        self.on_busy: Callable[[bool], None] = lambda _busy: None
        self.on_revision: Callable[[], None] = lambda: None
        """Called after other revisions, or another configuration, of tenants were published."""
        self.sizes = PolicySizes(max_bytes)
        self._published = PublishedTenants(current, mode=mode, on_failure=on_failure, on_issuers=on_issuers)
        self._written_at: dict[str, datetime | None] = {}
        self._refused = RejectedRevisions(steady)
        self._unsettled = 0
        self._threads = LoadingThreads()
        self._polling = DatabasePolling(
            connect,
            self._refresh,
            pause=self._pause,
            on_failure=self._not_confirmed,
            steady=steady,
            poll_interval=poll_interval,
            open_listener=open_listener,
            database=DatabaseState() if database is None else database,
        )
        self._loads = TenantLoads(
            connect,
            compiler,
            steady=steady,
            wake=self._polling.wake,
            sizes=self.sizes,
            threads=self._threads,
            on_busy=self._tell_busy,
        )
        self._refreshed = asyncio.Condition()

    @property
    def available(self) -> bool:
        """Whether a database that takes writes answered last time, and no question is overdue."""
        return self._polling.available

    @property
    def problems(self) -> Mapping[str, Sequence[Problem]]:
        """What is wrong with the newest rows, by tenant; each keeps its last good policies, if any."""
        return self._published.problems

    def load_first(self) -> Sequence[object]:
        """Begin with nothing: policies come once the database answers, until then nothing is allowed."""
        return ()

    def state(self, tenant: str) -> TenantPolicies | None:
        """Return the tenant's published state, or what could be read of it (`is_complete` is false then)."""
        return self._published.state(tenant)

    def unreadable(self, tenant: str) -> list[Problem]:
        """Return why rows of the tenant are not in force; each pointer begins with kind and id of its row."""
        state = self.state(tenant)
        return [] if state is None else unreadable_rows(state)

    async def wait_for(self, tenant: str, revision: int, seconds: float) -> bool:
        """Wait until the tenant is published at `revision` or later; false after that many seconds."""

        def reached() -> bool:
            state = self._published.states.get(tenant)
            return state is not None and state.snapshot.revision >= revision

        if reached():
            return True
        self._polling.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._refreshed:
                await self._refreshed.wait_for(reached)
        return reached()

    async def run(self) -> None:
        """Follow the database until cancelled."""
        try:
            await self._polling.run()
        finally:
            await self._loads.close()

    def _pause(self) -> float:
        """Return the seconds until the database is asked again unless it notifies."""
        return min(self._poll_interval, self._refused.next_retry_in())

    def _not_confirmed(self) -> None:
        self._on_failure()
        self._current.grow_old(self._steady() - self._confirmed_steady, self._clock())

    async def refresh(self, connection: Connection) -> None:
        """Read what changed since the last time and publish it, with what has to be read whole."""
        await self._refresh(connection)
        while await self._loads.finish():
            await self._refresh(connection)

    async def _refresh(self, connection: Connection) -> None:
        """Publish what changed, and begin to read what is more than a change."""
        with contextlib.ExitStack() as after_publishing:
            await self._refresh_once(connection, after_publishing)

    def _tell_busy(self, busy: bool) -> None:
        self.on_busy(busy)

    async def _take_short_steps(self, after_publishing: contextlib.ExitStack) -> None:
        self._tell_busy(True)
        after_publishing.callback(self._tell_busy, False)
        after_publishing.enter_context(short_steps())
        # What `on_busy` does in the event loop is done before the loop stands still.
        await asyncio.sleep(0)

    async def _refresh_once(self, connection: Connection, after_publishing: contextlib.ExitStack) -> None:
        asked_at, asked_steady = self._clock(), self._steady()
        self._polling.asked(asked_steady)
        news = await self._news(connection)
        self._polling.answered()
        self._unsettled += sum(len(change.rows or ()) for steps in news.steps.values() for change in steps)
        if self._unsettled >= SETTLED_ROWS:
            # Else a full collection walks all that was followed since the start, and stops every decision.
            await self._take_short_steps(after_publishing)
            self._unsettled = 0
        refreshed = self._published.among(news.wanted)
        replaced: list[Snapshot] = []
        for tenant in news.wanted:
            loaded = news.taken.get(tenant)
            if loaded is not None and is_complete(loaded.found):
                replaced += self._take_over(tenant, loaded.found, loaded, news, refreshed)
            await self._refresh_tenant(connection, tenant, news, refreshed, after_publishing)
        if self._published.publish(refreshed, news.heads.epoch, asked_at):
            self.on_revision()
        self._written_at = news.written_at
        self._refused.keep(refreshed.failed)
        self._confirmed_steady = asked_steady
        async with self._refreshed:
            self._refreshed.notify_all()
        if replaced:
            await self._threads.run(retire, replaced)

    async def _news(self, connection: Connection) -> News:
        """Read in one moment what the database has, and what changed since the last refresh."""
        taken = self._loads.take()
        async with feed.one_moment(connection):
            heads = await feed.heads(connection)
            wanted = {
                tenant: revision
                for tenant, revision in heads.revisions.items()
                if not self._tenants or tenant in self._tenants
            }
            is_new_epoch = heads.epoch != self._published.epoch
            taken = {} if is_new_epoch else taken
            behind = {} if is_new_epoch else self._behind(wanted, taken)
            changes = await feed.changes_since(connection, behind) if behind else []
            anew = registered_anew(changes)
            registered = await tenant_configs.read(connection, anew) if anew else {}
        # Sorted out once: after an outage there are many changes of many tenants.
        steps: dict[str, list[feed.TenantChange]] = {}
        for change in changes:
            steps.setdefault(change.tenant, []).append(change)
        return News(heads, is_new_epoch, wanted, taken, steps, registered, dict(self._written_at))

    def _take_over(
        self, tenant: str, found: TenantPolicies, loaded: Loaded, news: News, refreshed: Refreshed
    ) -> list[Snapshot]:
        """Put a tenant that was read whole into the refresh; return the snapshot that it replaces, if any."""
        known = refreshed.states.get(tenant)
        refreshed.states[tenant] = found
        news.written_at[tenant] = loaded.written_at
        if found.unreadable:
            revision = found.snapshot.revision
            self._refused.add(tenant, revision, news.heads.epoch, found.problems, began=loaded.began)
        return [] if known is None else [known.snapshot]

    async def _refresh_tenant(
        self,
        connection: Connection,
        tenant: str,
        news: News,
        refreshed: Refreshed,
        after_publishing: contextlib.ExitStack,
    ) -> None:
        """Bring a tenant to what the database has of it, or begin to read it whole."""
        epoch, revision = news.heads.epoch, news.wanted[tenant]
        known, loaded = refreshed.states.get(tenant), news.taken.get(tenant)
        is_same = known is not None and news.is_at_head(known)
        if known is not None and is_same and not known.unreadable and loaded is None:
            return
        began = self._steady()
        if loaded is not None and not is_complete(loaded.found):
            at = revision
            if loaded.revision not in {None, revision}:
                # It was written since; what is there now may be readable.
                at = loaded.revision or 0
                self._loads.begin(tenant, known)
            await self._put(connection, tenant, loaded.found, refreshed, (at, epoch, loaded.began))
            return
        found: TenantPolicies | list[Problem] | None = known if is_same else None
        if known is not None and not is_same and not news.is_new_epoch:
            found = await self._followed(connection, known, news)
        if isinstance(found, TenantPolicies) and found.unreadable and self._refused.is_due(tenant):
            moved = self._refused.revision(tenant) != revision
            if await may_be_readable(connection, found, moved=moved):
                # What was followed is in force; what may be mended is read meanwhile.
                self._loads.begin(tenant, found)
            else:
                self._refused.add(tenant, revision, epoch, found.problems, began=began)
        elif found is None:
            problems = self._refused.known_problems(tenant, revision, epoch)
            if problems is not None:
                refreshed.failed[tenant] = problems
                return
            if not news.is_new_epoch:
                self._loads.begin(tenant, known)
                refreshed.loading.add(tenant)
                await self._register_meanwhile(connection, tenant, refreshed)
                if tenant in self.problems:
                    refreshed.failed[tenant] = self.problems[tenant]
                return
            # Nothing is confirmed before all of an epoch is read, so nothing waits for this.
            await self._take_short_steps(after_publishing)
            read = await self._loads.read(connection, tenant, None)
            found, news.written_at[tenant] = read.found, read.written_at
            if isinstance(found, TenantPolicies) and found.unreadable:
                self._refused.add(tenant, revision, epoch, found.problems, began=began)
        await self._put(connection, tenant, found, refreshed, (revision, epoch, began))

    async def _followed(
        self, connection: Connection, known: TenantPolicies, news: News
    ) -> TenantPolicies | list[Problem] | None:
        """Return a tenant after the changes of it; a problem if it is too large then, None for a reload."""
        tenant = known.snapshot.tenant
        head = (news.wanted[tenant], news.heads.written_at.get(tenant))
        changed = news.steps.get(tenant, [])
        rows = sum(len(change.rows or ()) for change in changed)
        config = news.registered.get(tenant)
        found = await self._threads.apply(rows, stepped, self._compiler, known, head, changed, config)
        if found is None:
            return None
        refusal = await self.sizes.grow(connection, tenant, sum(change.octets for change in changed))
        if refusal is not None:
            return [refusal]
        news.written_at[tenant] = head[1]
        return found

    async def _put(
        self,
        connection: Connection,
        tenant: str,
        found: TenantPolicies | list[Problem] | None,
        refreshed: Refreshed,
        reading: tuple[int, str, float],
    ) -> None:
        """Put what was found of a tenant into the refresh; None: there is no such tenant.

        `reading` is the revision and epoch that were read, and when reading began.
        """
        refreshed.unready.pop(tenant, None)
        refreshed.drafts.pop(tenant, None)
        if isinstance(found, TenantPolicies) and not found.is_complete:
            refreshed.drafts[tenant] = found
            found = found.problems
        if isinstance(found, TenantPolicies):
            refreshed.states[tenant] = found
            if found.unreadable:
                refreshed.failed[tenant] = found.problems
                if found.problems != self.problems.get(tenant):
                    self._on_failure()
        elif found is None:
            refreshed.states.pop(tenant, None)
        else:
            await self._register_meanwhile(connection, tenant, refreshed)
            revision, epoch, began = reading
            refreshed.failed[tenant] = found
            self._refused.add(tenant, revision, epoch, found, began=began)
            self._on_failure()

    async def _register_meanwhile(self, connection: Connection, tenant: str, refreshed: Refreshed) -> None:
        """Take over what is registered of a tenant whose newest policies are not in force.

        INVARIANT: policies that cannot be read, or take long, hold up no revoked key and no suspension.
        """
        known = refreshed.states.get(tenant)
        before = self._published.unready.get(tenant) if known is None else known.config
        config = await current_config(connection, tenant, before)
        if known is None:
            refreshed.unready[tenant] = config
        elif config is not before:
            refreshed.states[tenant] = replace(known, config=config)

    def _behind(self, wanted: Mapping[str, int], taken: Mapping[str, Loaded]) -> dict[str, int]:
        read = {tenant: loaded.found for tenant, loaded in taken.items() if is_complete(loaded.found)}
        return {
            tenant: state.snapshot.revision
            for tenant, state in (dict(self._published.states) | read).items()
            if tenant in wanted and wanted[tenant] > state.snapshot.revision
        }

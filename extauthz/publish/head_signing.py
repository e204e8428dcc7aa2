"""Keeps the signed heads of all tenants current in PostgreSQL, and hands them to followers that wait.

Each replica of the control plane runs one. They share nothing but the rows: the first to store the head after
another wins, and the others take over what it stored.

INVARIANT: a head is handed out only after it and its bodies are committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.config_additions import Additions, completed
from extauthz.publish.policy_signing import RENEWALS, TenantMissingError, is_current, next_head
from extauthz.signed.bodies import config_of
from extauthz.signed.head import Head, HeadRejectedError, sign, verify
from extauthz.signed.signing import Signed, whole_head
from extauthz.signed.signing_keys import pinned, signer
from extauthz.storage import feed, signed_policies
from extauthz.storage.availability import Unavailability, cause_of, unavailability_of
from extauthz.storage.signed_policies import BodyMissingError, StoredHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from extauthz.publish.polling import Connect
    from extauthz.storage.feed import Heads
    from extauthz.storage.pool import Connection, Pool

_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 5.0
_OF_ANOTHER: Final = 1.5
"""How much later a replica signs a head of another one anew; it does so only if that one is gone."""
_GONE: Final = TenantConfig(suspended=True)
_NOTHING: Final = Additions()

_log = structlog.get_logger("extauthz.publish")


@dataclass(slots=True)
class _Published:
    """The head of a tenant that followers get; `newer` is set when there is another one."""

    head: Head | None
    stored: StoredHead
    added: Additions | None
    """None: what was added to its configuration is not known, because another replica signed it."""
    config: TenantConfig | None
    """The configuration that it names; None: it is not read yet."""
    newer: asyncio.Event = field(default_factory=asyncio.Event)


class HeadSigner:
    """Signs what the database has: at each interval, and when `wake` is called."""

    def __init__(
        self,
        connect: Connect,
        pool: Pool,
        key: Ed25519PrivateKey,
        *,
        max_staleness: float,
        poll_interval: float,
        tenants: frozenset[str] = frozenset(),
        additions: Callable[[], Callable[[str], Additions]] = lambda: lambda _tenant: _NOTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take how to read and write. Times are in seconds; `tenants` empty means all.

        `additions` returns what is added now to the configuration of each tenant.
        """
        self._connect = connect
        self._pool = pool
        self._signer = signer(key)
        self._keys = pinned([key.public_key().public_bytes_raw()])
        self._renew_after_s = max_staleness / RENEWALS
        self._poll_interval = min(poll_interval, self._renew_after_s / 2)
        self._tenants = tenants
        self._additions = additions
        self._clock = clock
        self._published: dict[str, _Published] = {}
        self._changed = asyncio.Event()
        self._failing = False
        self._unsigned: dict[str, str] = {}
        self._ended = False

    def wake(self) -> None:
        """Look for changes now."""
        self._changed.set()

    async def head(self, tenant: str, after: int, wait_s: float) -> bytes | None:
        """Return the newest head, None without one; wait up to `wait_s` for a serial above `after`.

        A waiting caller is one coroutine: it holds no connection to the database.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            published = self._published.get(tenant)
            if published is None:
                return None
            if published.stored.serial > after or self._ended:
                return published.stored.envelope
            try:
                async with asyncio.timeout_at(deadline):
                    await published.newer.wait()
            except TimeoutError:
                return published.stored.envelope

    async def run(self) -> None:
        """Keep heads current until cancelled; then no caller waits any longer."""
        try:
            await self._keep_current()
        finally:
            self._ended = True
            for published in self._published.values():
                published.newer.set()

    async def _keep_current(self) -> None:
        """Refresh at each interval; a lost connection is opened again with back-off."""
        pause = _FIRST_RETRY_S
        while True:
            connection = None
            try:
                connection = await self._connect()
                while True:
                    self._changed.clear()
                    await self.refresh(connection)
                    pause = _FIRST_RETRY_S
                    self._failing = False
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._poll_interval):
                            await self._changed.wait()
            except Exception as error:  # noqa: BLE001  # whatever is wrong with the database, try again
                if not self._failing:
                    self._failing = True
                    _log.warning("heads_not_signed", cause=cause_of(error))
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311  # spreads replicas
            pause = min(pause * 2, _LONGEST_RETRY_S)

    async def refresh(self, connection: Connection) -> None:
        """Take over what other replicas stored, and sign what changed or grew old.

        Raises:
            Exception: the database does not answer.
        """
        async with feed.one_moment(connection):
            known = {tenant: published.stored.serial for tenant, published in self._published.items()}
            for tenant, stored in (await signed_policies.newer_heads(connection, known)).items():
                self._publish(tenant, self._verified(tenant, stored), stored, None, None)
            heads = await feed.heads(connection)
        additions = self._additions()
        wanted = {name for name in heads.revisions if not self._tenants or name in self._tenants}
        for tenant in sorted(wanted | self._published.keys()):
            try:
                if tenant in wanted:
                    await self._sign_if_due(connection, heads, tenant, additions(tenant))
                elif tenant not in heads.revisions:
                    await self._close(tenant)
            except Exception as error:
                if connection.is_closed() or unavailability_of(error) not in {None, Unavailability.FAILED}:
                    raise
                # Whatever a damaged row raises: one tenant's must not hold up the others.
                self._failed(tenant, error)
            else:
                self._unsigned.pop(tenant, None)

    async def _sign_if_due(self, connection: Connection, heads: Heads, tenant: str, added: Additions) -> None:
        published = self._published.get(tenant)
        before = None if published is None else published.head
        is_added = published is not None and (published.added is None or published.added == added)
        if before is None or not is_added or not is_current(before, heads) or self._is_old(published):
            await self._sign(connection, tenant, published, added)

    def _failed(self, tenant: str, error: Exception) -> None:
        """Log why a tenant has no newer head, once for each cause."""
        cause = f"{type(error).__name__}: {error}"
        if self._unsigned.get(tenant) != cause:
            _log.error("head_not_signed", tenant=tenant, cause=cause)
        self._unsigned[tenant] = cause

    def _is_old(self, published: _Published | None) -> bool:
        """Tell whether a head is to be signed anew, first of all by the replica that signed it."""
        if published is None or published.head is None:
            return True
        renew_after_s = self._renew_after_s * (_OF_ANOTHER if published.added is None else 1)
        return self._clock() - published.head.signed_at / 1000 >= renew_after_s

    def _verified(self, tenant: str, stored: StoredHead) -> Head | None:
        """Return the head of an envelope; None if another key signed it, so that the next one is whole."""
        try:
            return verify(stored.envelope, self._keys, tenant, now=self._clock(), max_age_s=None)
        except HeadRejectedError:
            return None

    async def _sign(
        self,
        connection: Connection,
        tenant: str,
        published: _Published | None,
        added: Additions,
    ) -> None:
        before = None if published is None else published.head
        last = await self._last_config(tenant, published)
        config = TenantConfig()

        def complete(read: TenantConfig) -> TenantConfig:
            nonlocal config
            config = completed(read, added, last)
            return config

        try:
            async with feed.one_moment(connection):
                heads = await feed.heads(connection)
                found = await next_head(connection, heads, tenant, before, self._now(published), complete)
        except TenantMissingError:
            return
        try:
            await self._store(tenant, found, published, added, config)
        except BodyMissingError:
            _log.warning("head_signed_anew", tenant=tenant, problem="a body that it names was not stored")
            async with feed.one_moment(connection):
                heads = await feed.heads(connection)
                found = await next_head(connection, heads, tenant, None, self._now(published), complete)
            await self._store(tenant, found, published, added, config)

    async def _last_config(self, tenant: str, published: _Published | None) -> TenantConfig | None:
        """Return the configuration that a head names; None if it cannot be read, or there is no head."""
        if published is None or published.head is None:
            return None
        if published.config is None:
            body = published.head.config
            octets = await signed_policies.body(self._pool, tenant, body.sha256)
            if octets is not None:
                with contextlib.suppress(HeadRejectedError):
                    published.config = config_of(body, octets, tenant)
        return published.config

    def _now(self, published: _Published | None) -> float:
        """Return the time of the head after this one: its serial must be larger, also under another key."""
        least = 0.0 if published is None or published.head is not None else published.stored.serial / 1000
        return max(self._clock(), least + 0.001)

    async def _close(self, tenant: str) -> None:
        """Sign a last head of a tenant that was deleted: it is suspended and has no policies."""
        before = self._published[tenant].head
        if before is None or before.history == "":
            return
        documents = feed.TenantDocuments(tenant, "suspended", before.revision, [], [], [], [], _GONE)
        found = whole_head(before, before.epoch, "", documents, self._clock())
        await self._store(tenant, found, self._published[tenant], _NOTHING, _GONE)

    async def _store(
        self,
        tenant: str,
        found: Signed,
        published: _Published | None,
        added: Additions,
        config: TenantConfig,
    ) -> None:
        stored = StoredHead(found.head.serial, sign(found.head, self._signer))
        before = None if published is None else published.stored.serial
        named = {body.sha256 for body in found.head.bodies}
        if await signed_policies.store(self._pool, tenant, stored, found.bodies, named, before=before):
            self._publish(tenant, found.head, stored, added, config)
        else:
            # Another replica was first; its head is read at once.
            self.wake()

    def _publish(
        self,
        tenant: str,
        head: Head | None,
        stored: StoredHead,
        added: Additions | None,
        config: TenantConfig | None,
    ) -> None:
        before = self._published.get(tenant)
        self._published[tenant] = _Published(head, stored, added, config)
        if before is not None:
            before.newer.set()

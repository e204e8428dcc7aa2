"""The identity providers and last good keys of a process that signs policies and serves nothing.

Input: `Settings`, the tenants' configurations in the database. Output: `Additions` of each tenant. Errors:
`StartRefusedError`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from extauthz.keys.cache import JwksCache
from extauthz.keys.schedule import Schedule
from extauthz.runtime.issuers import Issuers, key_fetcher
from extauthz.runtime.signed_providers import SignedAdditions
from extauthz.settings import Settings
from extauthz.storage import tenant_configs
from extauthz.storage.pool import Connection

if TYPE_CHECKING:
    from extauthz.domain.tenant_config import TenantIdentityProvider
    from extauthz.publish.config_additions import Additions

FIRST_KEYS_S: Final = 5.0
"""How long the first heads wait for keys: a provider that is away must not hold up policies."""


class FollowedProviders:
    """Providers, whose keys are fetched by the rules of a control plane."""

    def __init__(self, settings: Settings, cache: JwksCache, tried: asyncio.Event) -> None:
        """Read the file of providers. Raises StartRefusedError: it is invalid."""
        self.issuers = Issuers(settings, cache)
        self._cache = cache
        self._tried = tried
        self._waits = True
        self._registered: list[TenantIdentityProvider] = []
        self.additions: Callable[[], Callable[[str], Additions]] = SignedAdditions(
            settings, self.issuers, cache
        ).now

    async def register(self, connection: Connection, tenants: Sequence[str]) -> None:
        """Take the providers that tenants registered; inside of `feed.one_moment`."""
        configs = await tenant_configs.read(connection, tenants)
        registered = [each for config in configs.values() for each in config.providers]
        if registered != self._registered:
            self._registered = registered
            self.issuers.register(registered)

    async def first_keys(self) -> None:
        """Wait until each provider was asked once; later calls return at once."""
        if not self._waits:
            return
        self._waits = False
        try:
            async with asyncio.timeout(FIRST_KEYS_S):
                while not self._cache.all_tried():
                    self._tried.clear()
                    if not self._cache.all_tried():
                        await self._tried.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def followed_providers(settings: Settings) -> AsyncIterator[FollowedProviders]:
    """Follow the providers until the end of the block. Raises StartRefusedError."""
    tried = asyncio.Event()
    async with key_fetcher(settings) as fetcher:
        cache = JwksCache(
            fetcher,
            schedule=Schedule(max_staleness=settings.jwks_max_staleness),
            on_fetch=lambda _outcome: tried.set(),
        )
        found = FollowedProviders(settings, cache, tried)
        tasks = [asyncio.create_task(cache.run()), asyncio.create_task(found.issuers.follow())]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

"""The issuers of a service and their keys, for the commands that judge tokens by its settings."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extauthz.commands.settings_file import SettingsFileInvalidError, read_settings_file
from extauthz.commands.status import BAD_USAGE, fail
from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.source import IssuerSource
from extauthz.runtime.issuers import configured_sources, key_fetcher
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import Settings, load_settings


class ServiceSettingsInvalidError(ValueError):
    """Settings that no service would start with; the text has every problem."""


@dataclass(frozen=True, slots=True)
class Service:
    """The part of a service's settings that judges tokens."""

    settings: Settings
    sources: tuple[IssuerSource, ...]

    @property
    def policy(self) -> TokenPolicy:
        """What the settings demand of every token."""
        return TokenPolicy(
            leeway=self.settings.token_leeway,
            max_bytes=self.settings.token_max_bytes,
            max_lifetime=self.settings.token_max_lifetime,
        )

    def source_of(self, issuer: str) -> IssuerSource | None:
        """Return the source of the issuer with this `iss`."""
        return next((source for source in self.sources if issuer in source.config.names), None)


def service_of(environ: Mapping[str, str]) -> Service:
    """Read settings and the file of IDENTITY_PROVIDERS.

    Raises:
        ServiceSettingsInvalidError: one of both has mistakes, or tokens are not read at all.
    """
    settings = load_settings(environ)
    if not isinstance(settings, Settings):
        raise ServiceSettingsInvalidError("; ".join(settings))
    if not settings.oidc_enabled:
        raise ServiceSettingsInvalidError("OIDC_ENABLED=false: the service reads no tokens")
    try:
        return Service(settings, configured_sources(settings))
    except StartRefusedError as refused:
        raise ServiceSettingsInvalidError(str(refused)) from None


def fetched(service: Service, sources: Sequence[IssuerSource]) -> dict[str, FetchedKeys | FetchFailed]:
    """Fetch the keys of these issuers; the answer is by `issuer`.

    Raises:
        ServiceSettingsInvalidError: OIDC_CA_FILE cannot be used.
    """

    async def fetch_all() -> list[FetchedKeys | FetchFailed]:
        async with key_fetcher(service.settings) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(source) for source in sources))

    try:
        answers = asyncio.run(fetch_all())
    except StartRefusedError as refused:
        raise ServiceSettingsInvalidError(str(refused)) from None
    return {source.config.issuer: answer for source, answer in zip(sources, answers, strict=True)}


def ring_of(
    sources: Sequence[IssuerSource],
    answers: Mapping[str, FetchedKeys | FetchFailed],
    now: float | None = None,
) -> KeyRing:
    """Return the keys as a sidecar has them after these fetches."""
    now = time.time() if now is None else now
    rings = []
    for source in sources:
        answer = answers.get(source.config.issuer)
        keys = answer.keys if isinstance(answer, FetchedKeys) else None
        # No further fetch is made: what is missing now is missing.
        rings.append(
            IssuerKeys(
                source.config,
                keys,
                fetched_at=now if keys is not None else None,
                fetch_allowed_at=now + 1.0,
            )
        )
    return KeyRing.of(rings)


def with_service(settings: Path | None, providers: Path | None, judge: Callable[[Service], int]) -> int:
    """Call `judge` with a service; return its exit status, or BAD_USAGE for settings that cannot be used.

    They are in the file `settings`; in the file of IDENTITY_PROVIDERS `providers` alone; else in the
    environment.
    """
    environ: Mapping[str, str] = os.environ
    try:
        if settings is not None:
            environ = read_settings_file(settings)
        elif providers is not None:
            environ = {"IDENTITY_PROVIDERS": str(providers)}
        return judge(service_of(environ))
    except (SettingsFileInvalidError, ServiceSettingsInvalidError) as invalid:
        return fail(str(invalid), BAD_USAGE)

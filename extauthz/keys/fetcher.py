"""Reads an issuer's keys over HTTP or from a file, with limits.

Input: an `IssuerSource`. Output: `FetchedKeys`, or `FetchFailed` with the cause. Connect time, total time and
size are limited (`provider_http`). The body is parsed strictly and never logged.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from extauthz.decide.tokens.jwks import IgnoredKey, JwksRejected, KeySet, parse_jwks
from extauthz.keys.followed_file import read_regular_file
from extauthz.keys.provider_http import (
    REDIRECTS,
    FetchLimits,
    ProviderAnswer,
    ProviderHttp,
    RequestFailed,
)
from extauthz.keys.source import AddressRejected, IssuerSource, discovered_jwks_uri
from extauthz.telemetry.counts import FetchOutcome
from extauthz.telemetry.spans import Tracing

__all__ = ["FetchFailed", "FetchLimits", "FetchedKeys", "KeyFetcher"]

_LOCAL: Final = "max-age=60"
"""`Cache-Control` of keys that are not fetched over HTTP."""


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """A usable key set, its URL (None: not over HTTP), and the response's `Cache-Control` and `Date`."""

    keys: KeySet
    jwks_uri: str | None
    cache_control: str | None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """Why a fetch returned no usable key set; `detail` is safe to log.

    `ignored` are the keys of a set that has no usable key.
    """

    outcome: FetchOutcome
    detail: str
    ignored: tuple[IgnoredKey, ...] = ()


class KeyFetcher:
    """Fetches key sets; an async context manager that owns its connections.

    `allow_hosts` is `JWKS_ALLOW_HOSTS`; `ca_file` is `OIDC_CA_FILE`, trusted in addition to the system's CAs.
    """

    def __init__(
        self,
        *,
        allow_hosts: frozenset[str] = frozenset(),
        ca_file: str | None = None,
        limits: FetchLimits | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Create the TLS context.

        Raises:
            OSError: `ca_file` cannot be read, or (ssl.SSLError) contains no certificate.
        """
        self._limits = limits or FetchLimits()
        self.http = ProviderHttp(
            allow_hosts=allow_hosts, ca_file=ca_file, limits=self._limits, tracing=tracing
        )
        """The connections to providers."""

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *cause: object) -> None:
        await self.http.__aexit__(*cause)

    async def fetch(
        self, source: IssuerSource, *, known_jwks_uri: str | None = None
    ) -> FetchedKeys | FetchFailed:
        """Return the keys of an issuer, or the cause of the failure.

        The URL of the key set is the configured one, else `known_jwks_uri`, else the discovered one.
        """
        try:
            async with asyncio.timeout(self._limits.total_s):
                if source.jwks is not None:
                    return _found(source, source.jwks, None, _LOCAL)
                if source.jwks_file is not None:
                    return await self._from_file(source, source.jwks_file)
                return await self._fetch(source, source.jwks_uri or known_jwks_uri)
        except TimeoutError:
            return FetchFailed(
                FetchOutcome.UNREACHABLE, f"no complete answer within {self._limits.total_s:g} s"
            )

    async def _from_file(self, source: IssuerSource, path: Path) -> FetchedKeys | FetchFailed:
        try:
            octets = await asyncio.to_thread(read_regular_file, path, self._limits.max_bytes)
        except OSError as error:
            return FetchFailed(FetchOutcome.UNREACHABLE, f"jwks_file: {error.strerror or error}")
        if len(octets) > self._limits.max_bytes:
            return FetchFailed(FetchOutcome.INVALID, f"larger than {self._limits.max_bytes} bytes")
        return _found(source, octets, None, _LOCAL, accept_private=True)

    async def _fetch(self, source: IssuerSource, jwks_uri: str | None) -> FetchedKeys | FetchFailed:
        if jwks_uri is None:
            document = await self._get(source.discovery_url, source)
            if isinstance(document, FetchFailed):
                return document
            discovered = discovered_jwks_uri(document.octets, source.config.issuer)
            if isinstance(discovered, AddressRejected):
                return FetchFailed(FetchOutcome.INVALID, discovered.problem)
            jwks_uri = discovered
        body = await self._get(jwks_uri, source)
        if isinstance(body, FetchFailed):
            return body
        return _found(source, body.octets, jwks_uri, body.cache_control, date=body.date)

    async def _get(self, address: str, source: IssuerSource) -> ProviderAnswer | FetchFailed:
        answer = await self.http.get(address, source)
        if isinstance(answer, ProviderAnswer):
            return answer
        return FetchFailed(answer.outcome, _with_remedy(answer))


def _with_remedy(failed: RequestFailed) -> str:
    return f"{failed.detail}; set JWKS_URI to the final URL" if failed.status in REDIRECTS else failed.detail


def _found(
    source: IssuerSource,
    octets: bytes,
    jwks_uri: str | None,
    cache_control: str | None,
    *,
    date: str | None = None,
    accept_private: bool = False,
) -> FetchedKeys | FetchFailed:
    keys = parse_jwks(octets, algorithms=source.config.algorithms, accept_private=accept_private)
    if isinstance(keys, JwksRejected):
        return FetchFailed(FetchOutcome.INVALID, f"key set: {keys.problem}")
    # INVARIANT: a key set without a usable key never replaces one that has usable keys.
    if not keys.keys:
        return FetchFailed(FetchOutcome.INVALID, "key set: no usable key", keys.ignored)
    return FetchedKeys(keys, jwks_uri, cache_control, date)

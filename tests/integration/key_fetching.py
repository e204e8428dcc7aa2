"""One fetch of keys from a real HTTP server."""

import asyncio
import ssl
from collections.abc import Callable

from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.keys.fetcher import FetchedKeys, FetchFailed, FetchLimits, KeyFetcher
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from tests.key_server import KeyServer, key_server
from tests.tokens import SigningKey

RSA = SigningKey.rs256()
EC = SigningKey.es256()
LIMITS = FetchLimits(connect_s=1.0, total_s=1.0, max_bytes=64 * 1024)

Answer = FetchedKeys | FetchFailed


def source_of(issuer: str, jwks_uri: str | None = None, *, operator_configured: bool = True) -> IssuerSource:
    config = IssuerConfig.usual(issuer, "default", None, "roles", "dom", "adm", frozenset())
    return IssuerSource(config, jwks_uri, operator_configured)


def fetch_from(
    prepare: Callable[[KeyServer], IssuerSource],
    *,
    allow: Callable[[KeyServer], set[str]] = lambda _server: set(),
    ca_file: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[Answer, KeyServer]:
    async def scenario() -> tuple[Answer, KeyServer]:
        async with key_server(RSA, EC, tls=tls) as server:
            source = prepare(server)
            fetcher = KeyFetcher(allow_hosts=frozenset(allow(server)), ca_file=ca_file, limits=LIMITS)
            async with fetcher:
                return await fetcher.fetch(source), server

    return asyncio.run(scenario())


def failure(answer: Answer) -> FetchOutcome | None:
    return answer.outcome if isinstance(answer, FetchFailed) else None


def not_asked(answer: Answer) -> bool:
    """Whether we did not even try, for a reason of our own."""
    return isinstance(answer, FetchFailed) and answer.detail.startswith(
        ("not a URL", "not an absolute", "a URL with", "http is only", "the host has a private address")
    )

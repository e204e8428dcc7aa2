"""What can be wrong with the identity provider, asked exactly as a sidecar asks it."""

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

from extauthz.commands.doctor.introspection import examine_introspection
from extauthz.keys.fetcher import FetchedKeys, FetchFailed, KeyFetcher
from extauthz.keys.source import IssuerSource
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.settings import Settings

# The Date header has no fractions (RFC 9110 5.6.7), and was written before it arrived.
_GRAIN_S: Final = 1.0
_SLIGHT_S: Final = 2.0
_MOST_REASONS: Final = 10
_MOST_LEEWAY_S: Final = 30.0


def finding(severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about the identity provider."""
    return Finding(severity=severity, code=code, subject="identity provider", message=message, fix=fix)


async def examine_identity_provider(
    settings: Settings, source: IssuerSource, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Fetch the keys once, and ask about a random token where the provider introspects."""
    found = list(_addresses(source))
    try:
        fetcher = KeyFetcher(
            allow_hosts=settings.jwks_allow_hosts,
            ca_file=None if settings.oidc_ca_file is None else str(settings.oidc_ca_file),
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return [*found, _no_keys(f"OIDC_CA_FILE {str(settings.oidc_ca_file)!r} cannot be used: {reason}")]
    before = clock()
    async with fetcher:
        found += await examine_introspection(fetcher, source)
        if not source.config.has_keys:
            return found
        fetched = await fetcher.fetch(source)
    if isinstance(fetched, FetchFailed):
        where = source.jwks_uri or source.discovery_url
        reasons = [f"{key.kid!r}: {key.problem}" for key in fetched.ignored[:_MOST_REASONS]]
        detail = f"{fetched.detail} ({'; '.join(reasons)})" if reasons else fetched.detail
        return [*found, _no_keys(f"no keys from {where}: {fetched.outcome}, {detail}")]
    return [*found, *_keys(fetched), *_clocks(fetched, before, clock(), settings.token_leeway)]


def _no_keys(message: str) -> Finding:
    return finding(
        Severity.ERROR,
        "keys-unavailable",
        message,
        "check AUTH_SERVER_URL, JWKS_URI, OIDC_CA_FILE, JWKS_ALLOW_HOSTS and the way to the provider",
    )


def _addresses(source: IssuerSource) -> Iterator[Finding]:
    for name, address in (("AUTH_SERVER_URL", source.config.issuer), ("JWKS_URI", source.jwks_uri)):
        if address is not None and not address.startswith("https://"):
            yield finding(
                Severity.WARNING,
                "issuer-plaintext",
                f"{name} is http: an attacker on the network can replace the keys, and so sign tokens",
                "use https, with OIDC_CA_FILE for a CA of your own",
            )


def _keys(fetched: FetchedKeys) -> Iterator[Finding]:
    if fetched.jwks_uri is not None and fetched.jwks_uri.startswith("http://"):
        yield finding(
            Severity.WARNING,
            "issuer-plaintext",
            "the keys come over http: an attacker on the network can replace them, and so sign tokens",
            "have the provider publish a jwks_uri with https",
        )
    for ignored in fetched.keys.ignored:
        yield finding(
            Severity.INFO,
            "key-ignored",
            f"the key {ignored.kid!r} is not used: {ignored.problem}",
            "nothing, unless tokens are signed with it: extauthz takes RS256 (2048 bits or more) and ES256",
        )


def _clocks(fetched: FetchedKeys, before: float, after: float, leeway: float) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(fetched.date or "").timestamp()
    except ValueError:
        return
    ahead = max(theirs - after, before - theirs - _GRAIN_S)
    if ahead <= _SLIGHT_S:
        return
    direction = "ahead of" if theirs > after else "behind"
    severity = Severity.ERROR if ahead > _MOST_LEEWAY_S else Severity.WARNING
    if theirs > after and ahead <= leeway:
        return
    yield finding(
        severity,
        "clocks-differ",
        f"the provider's clock is {ahead:.0f} s {direction} this machine's: "
        "tokens count too early or too late",
        "synchronise the clocks (NTP); TOKEN_LEEWAY, at most 30 s, is for what remains",
    )

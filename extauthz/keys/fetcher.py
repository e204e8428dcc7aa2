"""One bounded fetch of an issuer's keys over HTTP, its outcome as a value.

Bounded in connecting, in total time, in size, in hops: no redirect is followed, no proxy of the environment
is used, no cookie kept, no compressed answer unpacked. The body is parsed strictly and never logged.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from extauthz import __version__
from extauthz.decide.tokens.jwks import IgnoredKey, JwksRejected, KeySet, parse_jwks
from extauthz.keys.addresses import PrivateAddressError, public_socket
from extauthz.keys.source import AddressRejected, FetchUrl, IssuerSource, discovered_jwks_uri
from extauthz.telemetry.counts import FetchOutcome

_READ_CHUNK: Final = 16384
_MAX_MEMBERS: Final = 16384
_MAX_OBJECTS: Final = 4096
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """A usable key set, where it was, and what the provider said about its freshness and the time."""

    keys: KeySet
    jwks_uri: str
    cache_control: str | None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """Why there is no key set; `detail` is safe to log.

    `ignored` are the keys of a set of which none can be used.
    """

    outcome: FetchOutcome
    detail: str
    ignored: tuple[IgnoredKey, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Seconds and bytes that one fetch may take; discovery and keys together in time, each in size."""

    connect_s: float = 2.0
    total_s: float = 5.0
    max_bytes: int = 512 * 1024


@dataclass(frozen=True, slots=True)
class _Body:
    octets: bytes
    cache_control: str | None
    date: str | None


class KeyFetcher:
    """Fetches key sets; an async context manager that owns its connections.

    `allow_hosts` is `JWKS_ALLOW_HOSTS`, `ca_file` is `OIDC_CA_FILE`: trusted in addition to the system's.
    """

    def __init__(
        self,
        *,
        allow_hosts: frozenset[str] = frozenset(),
        ca_file: str | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        """Build the TLS context.

        Raises:
            OSError: `ca_file` cannot be read, or (ssl.SSLError) holds no certificate.
        """
        self._allow_hosts = frozenset(entry.lower() for entry in allow_hosts)
        self._limits = limits or FetchLimits()
        # Not ssl.create_default_context: since Python 3.13 it refuses certificates that it takes before, and
        # its oldest protocol is the system's.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)
        self._anywhere: aiohttp.ClientSession | None = None
        self._public_only: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._anywhere = self._session(None)
        self._public_only = self._session(public_socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._anywhere, self._public_only):
            if session is not None:
                await session.close()

    def _session(
        self, socket_factory: Callable[[aiohttp.AddrInfoType], object] | None
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._tls,
            socket_factory=socket_factory,  # type: ignore[arg-type]  # aiohttp's alias is not exported
            use_dns_cache=False,
            force_close=True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={
                "User-Agent": f"extauthz/{__version__}",
                "Accept": "application/jwk-set+json, application/json",
                "Accept-Encoding": "identity",
            },
        )

    async def fetch(
        self, source: IssuerSource, *, known_jwks_uri: str | None = None
    ) -> FetchedKeys | FetchFailed:
        """Fetch the keys of one issuer.

        Where they are is discovered unless it is configured, or known from a fetch before.
        """
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await self._fetch(source, source.jwks_uri or known_jwks_uri)
        except TimeoutError:
            return FetchFailed(
                FetchOutcome.UNREACHABLE, f"no complete answer within {self._limits.total_s:g} s"
            )

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
        keys = parse_jwks(body.octets)
        if isinstance(keys, JwksRejected):
            return FetchFailed(FetchOutcome.INVALID, f"key set: {keys.problem}")
        # INVARIANT: a set with nothing to verify with never replaces one that has something.
        if not keys.keys:
            return FetchFailed(FetchOutcome.INVALID, "key set: no usable key", keys.ignored)
        return FetchedKeys(keys, jwks_uri, body.cache_control, body.date)

    async def _get(self, address: str, source: IssuerSource) -> _Body | FetchFailed:
        target = FetchUrl.parse(
            address, operator_configured=source.operator_configured, allow_hosts=self._allow_hosts
        )
        if isinstance(target, AddressRejected):
            return FetchFailed(FetchOutcome.UNREACHABLE, target.problem)
        session = self._anywhere if target.private_allowed else self._public_only
        if session is None:
            raise RuntimeError("the fetcher is used outside of its context")
        timeout = aiohttp.ClientTimeout(sock_connect=self._limits.connect_s)
        try:
            async with session.get(target.url, allow_redirects=False, timeout=timeout) as response:
                return await self._read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp raises its own error from the one that the socket factory raised.
            cause = error.__cause__
            if isinstance(cause, PrivateAddressError):
                return FetchFailed(FetchOutcome.UNREACHABLE, str(cause))
            return FetchFailed(FetchOutcome.UNREACHABLE, _kind(error))

    async def _read(self, response: aiohttp.ClientResponse) -> _Body | FetchFailed:
        if response.status in _REDIRECTS:
            detail = f"status {response.status}: no redirect is followed; name the final address as JWKS_URI"
            return FetchFailed(FetchOutcome.REFUSED, detail)
        if response.status != 200:
            return FetchFailed(FetchOutcome.REFUSED, f"status {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return FetchFailed(FetchOutcome.INVALID, "a compressed answer that was not asked for")
        octets = bytearray()
        async for chunk in response.content.iter_chunked(_READ_CHUNK):
            octets += chunk
            if len(octets) > self._limits.max_bytes:
                return FetchFailed(FetchOutcome.INVALID, f"larger than {self._limits.max_bytes} bytes")
        # Reading half a megabyte of tiny members takes a hundred times longer than reading any real key set.
        if octets.count(b",") > _MAX_MEMBERS or octets.count(b"{") > _MAX_OBJECTS:
            return FetchFailed(FetchOutcome.INVALID, "more members than a key set has")
        cache_control = ", ".join(response.headers.getall("Cache-Control", [])) or None
        return _Body(bytes(octets), cache_control, response.headers.get("Date"))


def _kind(error: Exception) -> str:
    # The text of an error may quote what the other side sent; its type and the system's words do not.
    cause = error.__cause__ or error
    words = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__

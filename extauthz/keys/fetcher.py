"""Reads an issuer's keys over HTTP or from a file, with limits.

Input: an `IssuerSource`. Output: `FetchedKeys`, or `FetchFailed` with the cause. Connect time, total time and
size are limited. Redirects, cookies and compressed responses are not used; a proxy only if the source names
one. The body is parsed strictly and never logged.
"""

import asyncio
import errno
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from yarl import URL

from extauthz import __version__
from extauthz.decide.tokens.jwks import IgnoredKey, JwksRejected, KeySet, parse_jwks
from extauthz.keys.addresses import PrivateAddressError, public_socket
from extauthz.keys.source import (
    FROM_ENVIRONMENT,
    AddressRejected,
    FetchUrl,
    IssuerSource,
    discovered_jwks_uri,
)
from extauthz.telemetry.counts import FetchOutcome

_READ_CHUNK: Final = 16384
_MAX_MEMBERS: Final = 16384
_MAX_OBJECTS: Final = 4096
_MAX_TOKEN_BYTES: Final = 16_384
_BEARER_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_LOCAL: Final = "max-age=60"
"""`Cache-Control` of keys that are not fetched over HTTP."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


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


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one fetch: seconds for discovery and keys together, bytes for each response."""

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

    `allow_hosts` is `JWKS_ALLOW_HOSTS`; `ca_file` is `OIDC_CA_FILE`, trusted in addition to the system's CAs.
    """

    def __init__(
        self,
        *,
        allow_hosts: frozenset[str] = frozenset(),
        ca_file: str | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        """Create the TLS context.

        Raises:
            OSError: `ca_file` cannot be read, or (ssl.SSLError) contains no certificate.
        """
        self._allow_hosts = frozenset(entry.lower() for entry in allow_hosts)
        self._limits = limits or FetchLimits()
        self._ca_file = ca_file
        self._tls = _tls_context()
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

    def _tls_for(self, ca_file: Path | None) -> ssl.SSLContext:
        """Return the TLS context for a provider. Raises OSError: its CA file is unreadable or invalid."""
        if ca_file is None:
            return self._tls
        # Read at each fetch, because the file may have been replaced.
        context = _tls_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError:
            raise OSError("ca_file holds no certificate") from None
        except OSError as error:
            raise OSError(f"ca_file: {error.strerror or error}") from None
        return context

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
            octets = await asyncio.to_thread(_read_file, path, self._limits.max_bytes)
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

    async def _get(self, address: str, source: IssuerSource) -> _Body | FetchFailed:
        target = FetchUrl.parse(
            address, operator_configured=source.operator_configured, allow_hosts=self._allow_hosts
        )
        if isinstance(target, AddressRejected):
            return FetchFailed(FetchOutcome.UNREACHABLE, target.problem)
        session = self._anywhere if target.private_allowed else self._public_only
        if session is None:
            raise RuntimeError("the fetcher is used outside its async context")
        timeout = aiohttp.ClientTimeout(sock_connect=self._limits.connect_s)
        try:
            tls = self._tls_for(source.ca_file)
            headers = await _authorization(source, target.url)
        except (OSError, ValueError) as error:
            return FetchFailed(FetchOutcome.UNREACHABLE, str(error))
        try:
            async with session.get(
                target.url,
                allow_redirects=False,
                timeout=timeout,
                ssl=tls,
                proxy=_proxy(source.proxy, target.url),
                headers=headers,
            ) as response:
                return await self._read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp chains the error of the socket factory as the cause of its own.
            cause = error.__cause__
            if isinstance(cause, PrivateAddressError):
                return FetchFailed(FetchOutcome.UNREACHABLE, str(cause))
            return FetchFailed(FetchOutcome.UNREACHABLE, _kind(error))

    async def _read(self, response: aiohttp.ClientResponse) -> _Body | FetchFailed:
        if response.status in _REDIRECTS:
            detail = f"status {response.status}: redirects are not followed; set JWKS_URI to the final URL"
            return FetchFailed(FetchOutcome.REFUSED, detail)
        if response.status != 200:
            return FetchFailed(FetchOutcome.REFUSED, f"status {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return FetchFailed(FetchOutcome.INVALID, "the response is compressed, which was not requested")
        octets = bytearray()
        async for chunk in response.content.iter_chunked(_READ_CHUNK):
            octets += chunk
            if len(octets) > self._limits.max_bytes:
                return FetchFailed(FetchOutcome.INVALID, f"larger than {self._limits.max_bytes} bytes")
        # Parsing half a megabyte of tiny members takes a hundred times longer than parsing a real key set.
        if octets.count(b",") > _MAX_MEMBERS or octets.count(b"{") > _MAX_OBJECTS:
            return FetchFailed(FetchOutcome.INVALID, "more members than a key set has")
        cache_control = ", ".join(response.headers.getall("Cache-Control", [])) or None
        return _Body(bytes(octets), cache_control, response.headers.get("Date"))


def _tls_context() -> ssl.SSLContext:
    # Not ssl.create_default_context: from Python 3.13 it sets VERIFY_X509_STRICT and refuses certificates
    # that earlier versions accept, and its minimum protocol version is the system's.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


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


def _read_file(path: Path, at_most: int) -> bytes:
    # Reading a FIFO or a device may block.
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file")
    with path.open("rb") as file:
        return file.read(at_most + 1)


async def _authorization(source: IssuerSource, url: URL) -> dict[str, str]:
    """Return the Authorization header with the provider's bearer token, only for the provider's own origin.

    Raises OSError or ValueError: the file is unreadable or holds no token; the text does not quote it.
    """
    own = {URL(each).origin() for each in (source.jwks_uri or source.discovery_url,)}
    if source.token_file is None or url.origin() not in own:
        return {}
    try:
        octets = await asyncio.to_thread(_read_file, source.token_file, _MAX_TOKEN_BYTES)
    except OSError as error:
        raise OSError(f"jwks_token_file: {error.strerror or error}") from None
    # RFC 6750 2.1
    if len(octets) > _MAX_TOKEN_BYTES or not _BEARER_TOKEN.fullmatch(token := octets.strip()):
        raise ValueError("jwks_token_file: holds no bearer token")
    return {"Authorization": f"Bearer {token.decode('ascii')}"}


def _proxy(proxy: str | None, url: URL) -> URL | None:
    """Return the HTTP proxy for a URL; None: the connection is direct."""
    if proxy != FROM_ENVIRONMENT:
        return None if proxy is None else URL(proxy)
    if proxy_bypass(f"{url.host}:{url.port}"):
        return None
    found = getproxies_environment().get(url.scheme)
    return None if found is None else URL(found)


def _kind(error: Exception) -> str:
    # The text of an error may quote the response; its type and the system's error text do not.
    cause = error.__cause__ or error
    words = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__

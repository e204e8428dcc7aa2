"""HTTP requests to identity providers, with limits: the only HTTP client of the server side.

Input: a URL and the `IssuerSource` that it belongs to. Output: `ProviderAnswer`, or `RequestFailed` with the
cause. Connect time and size are limited; the caller limits the total time. Redirects, cookies and compressed
responses are not used; a proxy only if the source names one. Bodies are never logged.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from yarl import URL

from extauthz import __version__
from extauthz.keys.addresses import PrivateAddressError, public_socket
from extauthz.keys.file_stamp import FileStamp, file_stamp
from extauthz.keys.followed_file import read_regular_file
from extauthz.keys.source import FROM_ENVIRONMENT, AddressRejected, FetchUrl, IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from extauthz.telemetry.http_spans import trace_configs
from extauthz.telemetry.spans import Tracing

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ_CHUNK: Final = 16384
_MAX_MEMBERS: Final = 16384
_MAX_OBJECTS: Final = 4096
_MAX_TOKEN_BYTES: Final = 16_384
_MAX_CA_CONTEXTS: Final = 100
_KEPT_S: Final = 4.0
"""Idle connections of introspection are closed before most servers close them."""
_BEARER_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_OK: Final = frozenset({200})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one fetch: seconds for discovery and keys together, bytes for each response."""

    connect_s: float = 2.0
    total_s: float = 5.0
    max_bytes: int = 512 * 1024


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A complete response; `media_type` is in lower case, without parameters."""

    status: int
    octets: bytes
    media_type: str
    cache_control: str | None
    date: str | None


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Why a request has no usable response; `detail` is safe to log. `status` is None without a response."""

    outcome: FetchOutcome
    detail: str
    status: int | None = None


class ProviderHttp:
    """An async context manager that owns its connections.

    `allow_hosts` is `JWKS_ALLOW_HOSTS`; `ca_file` is `OIDC_CA_FILE`, trusted in addition to the system's CAs.
    """

    def __init__(
        self,
        *,
        allow_hosts: frozenset[str],
        ca_file: str | None,
        limits: FetchLimits,
        tracing: Tracing | None = None,
    ) -> None:
        """Create the TLS context.

        Raises:
            OSError: `ca_file` cannot be read, or (ssl.SSLError) contains no certificate.
        """
        self.limits = limits
        self._tracing = tracing
        self._allow_hosts = frozenset(entry.lower() for entry in allow_hosts)
        self._ca_file = ca_file
        self._tls = _tls_context()
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)
        self._contexts: dict[Path, tuple[FileStamp, ssl.SSLContext]] = {}
        self._anywhere: aiohttp.ClientSession | None = None
        self._public_only: aiohttp.ClientSession | None = None
        self._kept: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._anywhere = self._session(None)
        self._public_only = self._session(public_socket)
        self._kept = self._session(None, keep=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._anywhere, self._public_only, self._kept):
            if session is not None:
                await session.close()

    def _session(
        self, socket_factory: Callable[[aiohttp.AddrInfoType], object] | None, *, keep: bool = False
    ) -> aiohttp.ClientSession:
        if keep:
            connector = aiohttp.TCPConnector(
                ssl=self._tls, use_dns_cache=False, keepalive_timeout=_KEPT_S, limit=0
            )
        else:
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
            trace_configs=trace_configs(self._tracing),
            headers={
                "User-Agent": f"extauthz/{__version__}",
                "Accept": "application/jwk-set+json, application/json",
                "Accept-Encoding": "identity",
            },
        )

    async def get(self, address: str, source: IssuerSource) -> ProviderAnswer | RequestFailed:
        """Return the response to a GET, which has status 200."""
        target = self._target(address, source)
        if isinstance(target, RequestFailed):
            return target
        try:
            headers = await _authorization(source, target.url)
        except (OSError, ValueError) as error:
            return RequestFailed(FetchOutcome.UNREACHABLE, str(error))
        session = self._anywhere if target.private_allowed else self._public_only
        return await self._sent(session, "GET", target.url, source, headers, None, _OK, self.limits.max_bytes)

    async def post(
        self,
        address: str,
        source: IssuerSource,
        form: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        accepted: frozenset[int],
        max_bytes: int,
    ) -> ProviderAnswer | RequestFailed:
        """Return the response to a form, which has one of the accepted statuses; the connection is kept.

        Only for addresses that the operator configured. The request has to be one that may be repeated: a
        kept connection that the server has closed meanwhile is replaced once.
        """
        target = self._target(address, source)
        if isinstance(target, RequestFailed):
            return target
        if not target.private_allowed:
            return RequestFailed(FetchOutcome.UNREACHABLE, "the operator has not configured the address")
        sent = (self._kept, "POST", target.url, source, headers, form, accepted, max_bytes)
        answer = await self._sent(*sent)
        if isinstance(answer, _Closed):
            answer = await self._sent(*sent)
        return answer

    def _target(self, address: str, source: IssuerSource) -> FetchUrl | RequestFailed:
        target = FetchUrl.parse(
            address, operator_configured=source.operator_configured, allow_hosts=self._allow_hosts
        )
        if isinstance(target, AddressRejected):
            return RequestFailed(FetchOutcome.UNREACHABLE, target.problem)
        return target

    async def _sent(
        self,
        session: aiohttp.ClientSession | None,
        method: str,
        url: URL,
        source: IssuerSource,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        accepted: frozenset[int],
        max_bytes: int,
    ) -> ProviderAnswer | RequestFailed:
        if session is None:
            raise RuntimeError("the client is used outside its async context")
        try:
            tls = self._tls_for(source.ca_file)
            async with session.request(
                method,
                url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=self.limits.connect_s),
                ssl=tls,
                proxy=_proxy(source.proxy, url),
                headers=headers,
                data=form,
            ) as response:
                return await _read(response, accepted, max_bytes)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as error:
            return _Closed(FetchOutcome.UNREACHABLE, _kind(error))
        except _InvalidCaError as error:
            return RequestFailed(FetchOutcome.UNREACHABLE, str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # aiohttp chains the error of the socket factory as the cause of its own.
            cause = error.__cause__
            if isinstance(cause, PrivateAddressError):
                return RequestFailed(FetchOutcome.UNREACHABLE, str(cause))
            return RequestFailed(FetchOutcome.UNREACHABLE, _kind(error))

    def _tls_for(self, ca_file: Path | None) -> ssl.SSLContext:
        """Return the TLS context for a provider, with its file as it is now. Raises _InvalidCaError."""
        if ca_file is None:
            return self._tls
        try:
            stamp = file_stamp(ca_file.stat())
            found = self._contexts.get(ca_file)
            if found is not None and found[0] == stamp:
                return found[1]
            context = _tls_context()
            if self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            context.load_verify_locations(ca_file)
        except ssl.SSLError:
            raise _InvalidCaError("ca_file holds no certificate") from None
        except OSError as error:
            raise _InvalidCaError(f"ca_file: {error.strerror or error}") from None
        if len(self._contexts) >= _MAX_CA_CONTEXTS:
            self._contexts.clear()
        self._contexts[ca_file] = (stamp, context)
        return context


@dataclass(frozen=True, slots=True)
class _Closed(RequestFailed):
    """The server closed the connection before its response."""


class _InvalidCaError(OSError):
    """The CA file of a provider is unreadable or invalid; the text is safe to log."""


async def _read(
    response: aiohttp.ClientResponse, accepted: frozenset[int], max_bytes: int
) -> ProviderAnswer | RequestFailed:
    status = response.status
    if status in REDIRECTS:
        detail = f"status {status}: redirects are not followed"
        return RequestFailed(FetchOutcome.REFUSED, detail, status)
    if status not in accepted:
        return RequestFailed(FetchOutcome.REFUSED, f"status {status}", status)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return RequestFailed(
            FetchOutcome.INVALID, "the response is compressed, which was not requested", status
        )
    octets = bytearray()
    async for chunk in response.content.iter_chunked(_READ_CHUNK):
        octets += chunk
        if len(octets) > max_bytes:
            return RequestFailed(FetchOutcome.INVALID, f"larger than {max_bytes} bytes", status)
    # Parsing half a megabyte of tiny members takes a hundred times longer than parsing a real key set.
    if octets.count(b",") > _MAX_MEMBERS or octets.count(b"{") > _MAX_OBJECTS:
        return RequestFailed(FetchOutcome.INVALID, "more members than a key set has", status)
    return ProviderAnswer(
        status,
        bytes(octets),
        response.content_type.lower(),
        ", ".join(response.headers.getall("Cache-Control", [])) or None,
        response.headers.get("Date"),
    )


def _tls_context() -> ssl.SSLContext:
    # Not ssl.create_default_context: from Python 3.13 it sets VERIFY_X509_STRICT and refuses certificates
    # that earlier versions accept, and its minimum protocol version is the system's.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


async def _authorization(source: IssuerSource, url: URL) -> dict[str, str]:
    """Return the Authorization header with the provider's bearer token, only for the provider's own origin.

    Raises OSError or ValueError: the file is unreadable or holds no token; the text does not quote it.
    """
    own = {URL(each).origin() for each in (source.jwks_uri or source.discovery_url,)}
    if source.token_file is None or url.origin() not in own:
        return {}
    try:
        octets = await asyncio.to_thread(read_regular_file, source.token_file, _MAX_TOKEN_BYTES)
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

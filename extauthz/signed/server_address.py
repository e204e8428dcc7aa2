"""The HTTP server of signed policies, which also takes reports: its address, and connections to it."""

import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp

from extauthz.telemetry.http_spans import trace_configs
from extauthz.telemetry.spans import Tracing

CONNECT_S: Final = 3.0
"""The most seconds that connecting takes."""
_CONNECTIONS: Final = 4
_IDLE_S: Final = 4.0
"""How long an idle connection is kept: shorter than at servers (uvicorn: 5 s), which could close it just when
it is used again."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server, and what to authenticate with. `url` has no path; `tls` is None for plain HTTP.

    With `tracing` its requests have spans.
    """

    url: str
    tls: ssl.SSLContext | None = None
    api_key: str | None = field(default=None, repr=False)
    tracing: Tracing | None = field(default=None, repr=False, compare=False)

    def session(self) -> aiohttp.ClientSession:
        """Return a session without cookies, proxies and decompression; the caller closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self.tls or True, limit=_CONNECTIONS, keepalive_timeout=_IDLE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            trace_configs=trace_configs(self.tracing, propagates=True),
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"accept-encoding": "identity"}
        if self.api_key is not None:
            headers["x-service-api-key"] = self.api_key
        return headers


class ServerConnections:
    """An async context manager that owns connections to one server."""

    def __init__(self, server: ServerAddress) -> None:
        """Take the address; nothing is opened yet."""
        self.server = server
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = self.server.session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session, while the context is open. Raises AssertionError before."""
        assert self._session is not None
        return self._session


def cause_of(error: Exception) -> str:
    """Return why a server did not answer, without anything that it sent: that may hold the key."""
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return "the answer is not HTTP, or not complete"
    return str(error) or type(error).__name__

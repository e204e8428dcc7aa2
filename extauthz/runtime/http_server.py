"""The HTTP server of one application: uvicorn with limits of connections, and a 400 for malformed HTTP.

uvicorn closes connections that are idle after an answer, but waits without limit for the first request and
for the end of request headers: idle connections could use every descriptor of the process, and its liveness
probes would fail.
"""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from extauthz.rest.problems import MEDIA_TYPE, malformed
from extauthz.runtime.rest_tls import RestTls
from extauthz.runtime.tls_server import TlsServer, for_peer
from extauthz.storage.encoding import encode_json

HEADER_TIMEOUT_S: Final = 10.0
"""Header timeout: from the connection, or the previous answer, to the end of the request headers."""

MAX_CONNECTIONS: Final = 512
"""Of one listener; half of the 1,024 descriptors that a process has by default."""

_MOST_DESCRIPTORS: Final = 65_536
_OTHER_DESCRIPTORS: Final = 256
"""Files and sockets of a control plane that are not connections of the API."""

_MALFORMED: Final = encode_json(malformed("this is not HTTP/1.1").document()).encode()
_MALFORMED_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\nconnection: close\r\n\r\n%b"
) % (MEDIA_TYPE.encode(), len(_MALFORMED), _MALFORMED)
_DRAIN_S: Final = 3
_BACKLOG: Final = 128
"""Listen backlog: connections that the kernel accepts before the process does."""


def follower_connections() -> int:
    """Raise the process's own limit of descriptors, and return how many connections that is for.

    Each follower of signed policies has one open while it waits.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(most - _OTHER_DESCRIPTORS, MAX_CONNECTIONS)


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    max_connections: int = MAX_CONNECTIONS,
    tls: RestTls | None = None,
) -> None:
    """Serve until cancelled; then stop listening, finish running requests (3 s at most) and end.

    With `tls` only over TLS. Installs no signal handlers and writes no access log. Closes `listener`.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=type("Protocol", (LimitedProtocol,), {"max_connections": max_connections}),
        backlog=_BACKLOG,
        # A client can write any address into X-Forwarded-For; uvicorn would trust it of peers on loopback.
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_DRAIN_S,
    )
    server = _Server(config) if tls is None else _TlsServer(config, listener, tls, max_connections)
    running = asyncio.ensure_future(server.serve(sockets=[listener] if tls is None else []))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        server.should_exit = True
        await running
        raise
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the runtime."""
        yield


class _TlsServer(TlsServer):
    """The same over TLS."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the runtime."""
        yield


class LimitedProtocol(H11Protocol):
    """Closes connections that exceed the header timeout or the connection limit."""

    header_timeout_s = HEADER_TIMEOUT_S
    max_connections = MAX_CONNECTIONS
    tls: RestTls | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take the arguments of uvicorn's protocol."""
        super().__init__(*args, **options)
        self.app = _with_one_length(self.app)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the header timeout, or close a connection beyond the limit."""
        self.app = for_peer(self.app, self.tls, transport)
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._start_header_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the header timeout."""
        self._cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the header timeout of the next request."""
        self._start_header_timeout()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text adds nothing
        """Answer malformed HTTP with a problem document, unless another answer is being written."""
        if not self._is_answering():
            self.transport.write(_MALFORMED_ANSWER)
        self.transport.close()

    def _is_answering(self) -> bool:
        requested = self.cycle is not None  # uvicorn's annotation leaves out that it is None at first
        return requested and self.cycle.response_started and not self.cycle.response_complete

    def _start_header_timeout(self) -> None:
        self._cancel()
        self._timer = self.loop.call_later(self.header_timeout_s, self._close_unless_answering)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_unless_answering(self) -> None:
        self._timer = None
        # A request that is being answered has limits of its own; the timer starts again after its answer.
        requested = self.cycle is not None  # uvicorn's annotation leaves out that it is None at first
        if not requested or self.cycle.response_complete:
            self.transport.abort()


def _with_one_length(app: ASGIApp) -> ASGIApp:
    """Refuse requests with both Content-Length and Transfer-Encoding (RFC 9112 6.1).

    A proxy may have used the other header: it would take a part of the body for the next request.
    """
    refusal = Response(
        _MALFORMED, 400, {"content-type": MEDIA_TYPE, "cache-control": "no-store", "connection": "close"}
    )

    async def judged(scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]} if scope["type"] == "http" else set()
        ambiguous = {b"content-length", b"transfer-encoding"} <= names
        await (refusal if ambiguous else app)(scope, receive, send)

    return judged

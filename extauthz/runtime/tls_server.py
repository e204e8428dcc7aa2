"""Connections over TLS for uvicorn: handshakes with a time limit, counted, while other connections go on.

asyncio's own server waits a minute for a handshake and tells nothing of it before it is done, so that clients
that send nothing could take every descriptor of the process.
"""

import asyncio
import contextlib
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from extauthz.rest.problems import ProblemError
from extauthz.runtime.rest_tls import RestTls
from extauthz.telemetry.seldom import Seldom

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKE_TIMEOUT_S: Final = 10.0
_CLOSE_S: Final = 1.0
_PAUSE_S: Final = 0.5
"""After accept failed, for example because there are no descriptors left."""
_WITHOUT_CERTIFICATE: Final = frozenset({"/healthz/live", "/healthz/ready"})

_log = structlog.get_logger("extauthz.runtime")


class TlsServer(uvicorn.Server):
    """A uvicorn server that accepts on one listener and makes each connection a TLS connection."""

    handshake_timeout_s = HANDSHAKE_TIMEOUT_S

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, tls: RestTls, max_connections: int
    ) -> None:
        super().__init__(config)
        self._listener, self._tls, self._max_connections = listener, tls, max_connections
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._seldom = Seldom()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept on the listener; `sockets` is empty, so that uvicorn accepts on none."""
        await super().startup(sockets=sockets)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end handshakes, and let running requests finish."""
        waiting = [*self._handshakes, *([] if self._accepting is None else [self._accepting])]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._listener.close()
        await super().shutdown(sockets=sockets)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # A connection that is waiting already is accepted without a pause: others must have their turn.
            await asyncio.sleep(0)
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                if self._seldom.is_due("accept_failed"):
                    _log.warning("accept_failed", problem=str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._handshakes) + len(self.server_state.connections) >= self._max_connections:
                connection.close()
                continue
            task = asyncio.create_task(self._connect(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _connect(self, connection: socket.socket) -> None:
        """Make the handshake; afterwards the protocol owns the connection."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls.context(),
                ssl_handshake_timeout=self.handshake_timeout_s,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            # A client that speaks no TLS, trusts another CA, or went away is not a fault of this process.
            _log.debug("tls_handshake_failed", problem=str(error))
            with contextlib.suppress(OSError):
                connection.close()
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception:  # noqa: BLE001  # one connection must not end the task that owns the others
            connection.close()
            _log.exception("tls_connection_failed")

    def _protocol(self) -> asyncio.Protocol:
        made: Callable[..., Any] = self.config.http_protocol_class
        protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=None
        )
        protocol.tls = self._tls
        return protocol  # type: ignore[no-any-return]  # uvicorn's protocol classes are asyncio.Protocol


def for_peer(app: ASGIApp, tls: RestTls | None, transport: asyncio.Transport) -> ASGIApp:
    """Return the application that the peer of a connection may use: of an unverified client only health."""
    if tls is None or tls.accepts(transport.get_extra_info("peercert")):
        return app

    async def refused(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _WITHOUT_CERTIFICATE:
            problem = ProblemError(
                HTTPStatus.FORBIDDEN, "this listener requires a client certificate that it accepts"
            )
            await problem.response()(scope, receive, send)
        else:
            await app(scope, receive, send)

    return refused

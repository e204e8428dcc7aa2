"""The HTTP server of one application: a listening socket, and uvicorn with the limits of `http_limits`."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from extauthz.admin.http_limits import LimitedProtocol

_DRAIN_S: Final = 3
_BACKLOG: Final = 128
"""Listen backlog: connections that the kernel accepts before the process does."""


class ListenError(OSError):
    """An address that cannot be bound; the message has the address and the reason."""


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on one address; port 0 takes a free one. Raises `ListenError`."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server((str(address[0]), int(address[1])), family=family)
        # Accepted connections inherit it; asyncio sets it only for sockets that name their protocol. Without
        # it the body, a second small write, waits 40 ms for the delayed acknowledgement of the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {why.lower()}") from error


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled; then stop listening, finish running requests (3 s at most) and end.

    Installs no signal handlers and writes no access log. Closes `listener`.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=LimitedProtocol,
        backlog=_BACKLOG,
        # A client can write any address into X-Forwarded-For; uvicorn would trust it of peers on loopback.
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_DRAIN_S,
    )
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
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

"""The HTTP server of one application: uvicorn with the limits of `http_limits`."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from extauthz.admin.http_limits import LimitedProtocol

_DRAIN_S: Final = 3
_BACKLOG: Final = 128
"""Listen backlog: connections that the kernel accepts before the process does."""


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

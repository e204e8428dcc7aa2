"""A real HTTP server with one scripted answer for each request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """Serve an application on loopback and yield its address."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Scripted:
    """A server that answers with one handler a request, the last of them for all that follow."""

    url: str = ""
    handlers: Sequence[Handler] = ()
    requests: list[web.Request] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        handler = self.handlers[min(len(self.requests), len(self.handlers) - 1)]
        self.requests.append(request)
        self.arrivals.append(asyncio.get_running_loop().time())
        await request.read()
        return await handler(request)


@asynccontextmanager
async def scripted(*handlers: Handler, port: int = 0) -> AsyncIterator[Scripted]:
    server = Scripted(handlers=handlers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with serving(app, port) as server.url:
        yield server


def says(status: int, document: object = None, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if document is None:
            return web.Response(status=status, headers=sent)
        return web.json_response(document, status=status, headers=sent)

    return handler


async def disconnects(request: web.Request) -> web.StreamResponse:
    """Drop the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def is_silent(request: web.Request) -> web.StreamResponse:
    """Never answer; the server's end is the end of it."""
    await asyncio.get_running_loop().create_future()
    return web.Response()

"""A real HTTP identity provider on loopback, with correct or faulty answers."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.tokens import SigningKey, jwks

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyServer:
    """Serves discovery and `/jwks`; `keys`, `headers` and `handler` may change at any time."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.keys: list[SigningKey] = []
        self.headers: dict[str, str] = {}
        self.handler: Handler = self.serve_keys
        self.discovery: dict[str, object] = {}
        self.requests: Counter[str] = Counter()
        self.answered = asyncio.Condition()

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path] += 1
        async with self.answered:
            self.answered.notify_all()
        if request.path == "/.well-known/openid-configuration":
            document = {"issuer": self.issuer, "jwks_uri": self.jwks_uri} | self.discovery
            return web.json_response(document)
        return await self.handler(request)

    async def serve_keys(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=jwks(*self.keys), content_type="application/json", headers=self.headers)

    async def asked(self, times: int) -> None:
        """Wait until the keys have been asked for this often."""
        async with asyncio.timeout(10), self.answered:
            await self.answered.wait_for(lambda: self.requests["/jwks"] >= times)


def answering(*, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return handler


@asynccontextmanager
async def key_server(
    *keys: SigningKey, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[KeyServer]:
    server = KeyServer("http" if tls is None else "https")
    server.keys = list(keys)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()

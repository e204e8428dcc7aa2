"""Connections without a complete request are closed in time and do not delay others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from extauthz.runtime.http_server import MAX_CONNECTIONS, LimitedProtocol, serve
from extauthz.runtime.listener import listen

WHOLE = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
PART = WHOLE[:-2]
STREAMED = b"POST /stream HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A listener whose one page answers once `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self._listener = listen("127.0.0.1", 0)
        self._open: list[asyncio.StreamWriter] = []

    async def page(self, _: Request) -> Response:
        self.asked.set()
        await self.go.wait()
        return PlainTextResponse("here")

    async def stream(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await self.go.wait()
            yield b"last"

        return StreamingResponse(parts())

    async def connect(self, said: bytes) -> Stream:
        reader, writer = await asyncio.open_connection(*self._listener.getsockname())
        self._open.append(writer)
        writer.write(said)
        return reader, writer

    @asynccontextmanager
    async def running(self, *, max_connections: int = MAX_CONNECTIONS) -> AsyncIterator["Served"]:
        pages = [Route("/", self.page), Route("/stream", self.stream, methods=["POST"])]
        app = Starlette(routes=pages)
        task = asyncio.create_task(serve(app, self._listener, max_connections=max_connections))
        try:
            async with asyncio.timeout(10):
                yield self
        finally:
            for writer in self._open:
                writer.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def closed(stream: Stream) -> bytes:
    """Return the octets that arrive before the server closes the connection."""
    try:
        return await stream[0].read()
    except ConnectionResetError:
        return b""


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedProtocol, "header_timeout_s", 0.1)


@pytest.mark.parametrize("said", [b"", b"GET", PART])
def test_connection_is_closed_when_request_headers_time_out(said: bytes) -> None:
    async def run() -> bytes:
        async with Served().running() as served:
            return await closed(await served.connect(said))

    assert asyncio.run(run()) == b""


def test_connection_is_closed_when_the_next_request_headers_time_out() -> None:
    async def run() -> bytes:
        async with Served().running() as served:
            served.go.set()
            reader, writer = await served.connect(WHOLE)
            await reader.readuntil(b"\r\n\r\nhere")
            writer.write(PART)
            return await closed((reader, writer))

    assert asyncio.run(run()) == b""


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        WHOLE[:-2] + b"Content-Length: -1\r\n\r\n",
        WHOLE[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        WHOLE[:-2] + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        WHOLE[:-2] + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + WHOLE,
    ],
)
def test_malformed_http_is_answered_with_a_400_problem(said: bytes) -> None:
    async def run() -> bytes:
        async with Served().running() as served:
            return await closed(await served.connect(said))

    head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert json.loads(body)["status"] == 400


def test_a_started_answer_is_not_interrupted_by_an_error_answer() -> None:
    async def run() -> bytes:
        async with Served().running() as served:
            reader, writer = await served.connect(STREAMED)
            await reader.readuntil(b"first")
            writer.write(b"no number\r\n")
            return await closed((reader, writer))

    assert b"HTTP/1.1" not in asyncio.run(run())


def test_an_answer_may_take_longer_than_a_head() -> None:
    async def run() -> bytes:
        async with Served().running() as served:
            asking = await served.connect(WHOLE)
            await served.asked.wait()
            await closed(await served.connect(PART))
            served.go.set()
            return await asking[0].readline()

    assert asyncio.run(run()) == b"HTTP/1.1 200 OK\r\n"


def test_a_connection_above_the_limit_is_closed_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedProtocol, "header_timeout_s", 60.0)

    async def run() -> tuple[bytes, bytes]:
        async with Served().running(max_connections=1) as served:
            first = await served.connect(WHOLE)
            await served.asked.wait()
            refused = await closed(await served.connect(b""))
            served.go.set()
            return refused, await first[0].readline()

    assert asyncio.run(run()) == (b"", b"HTTP/1.1 200 OK\r\n")

"""A TCP proxy in front of the REST API that loses requests, or answers, of its clients' connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Lost = Literal["request", "answer"]


@dataclass
class CuttingProxy:
    """`lost` says what of which request is lost, counted from 0; `down` refuses everything after that.

    Answers to requests with the text `silent` in their path are always lost; those with `impatient` are
    answered with 504 after they were done, as by a proxy that does not wait.
    """

    url: str = ""
    lost: tuple[int, Lost] | None = None
    stays_down: bool = False
    down: bool = False
    silent: str = ""
    impatient: str = ""
    seen: list[str] = field(default_factory=list)

    def reset(self, lost: tuple[int, Lost] | None = None, *, stays_down: bool = False) -> None:
        self.lost, self.stays_down, self.down, self.seen = lost, stays_down, False, []


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP/1.1 message with a Content-Length; empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    lines = head.lower().split(b"\r\n")
    sizes = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(sizes[0]) if sizes else b"")


@asynccontextmanager
async def cutting_proxy(url: str) -> AsyncIterator[CuttingProxy]:
    """Run a proxy in front of a server."""
    server = urlsplit(url)
    proxy = CuttingProxy()
    writers: list[asyncio.StreamWriter] = []

    async def serve(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        writers.append(answers)
        if proxy.down:
            answers.close()
            return
        upstream, requests = await asyncio.open_connection(server.hostname, server.port)
        writers.append(requests)
        while not proxy.down and (request := await _message(client)):
            number = len(proxy.seen)
            proxy.seen.append(" ".join(request.decode("latin-1").split(" ")[:2]))
            lost = proxy.lost[1] if proxy.lost is not None and proxy.lost[0] == number else None
            proxy.down = proxy.stays_down and lost is not None
            if lost == "request":
                break
            requests.write(request)
            answer = await _message(upstream)
            if lost == "answer" or (proxy.silent and proxy.silent in proxy.seen[-1]):
                break
            if proxy.impatient and proxy.impatient in proxy.seen[-1]:
                answer = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 4\r\n\r\nlate"
            answers.write(answer)
            await answers.drain()
        requests.close()
        answers.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
    proxy.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listening.close()
        for writer in writers:
            writer.close()
        await listening.wait_closed()

"""Applications started and ended as a server does it (ASGI, Lifespan), and what the client logs meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Start an application; yield the state that its requests would see."""
    to_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    running = asyncio.create_task(app(scope, to_app.get, from_app.put))
    try:
        await to_app.put({"type": "lifespan.startup"})
        answer = await asyncio.wait_for(from_app.get(), 10)
        assert answer["type"] == "lifespan.startup.complete", answer
        yield state
        await to_app.put({"type": "lifespan.shutdown"})
        answer = await asyncio.wait_for(from_app.get(), 10)
        assert answer["type"] == "lifespan.shutdown.complete", answer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class ClientLog(logging.Handler):
    """What the client has logged, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._waiting: list[tuple[str, asyncio.Future[str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname} {record.getMessage()}"
        self.lines.append(line)
        for part, future in self._waiting:
            if part in line and not future.done():
                future.set_result(line)

    async def saw(self, part: str) -> str:
        """Wait for the first line that contains `part`."""
        for line in self.lines:
            if part in line:
                return line
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, future))
        return await asyncio.wait_for(future, 10)


@contextmanager
def client_log() -> Iterator[ClientLog]:
    logger, handler = logging.getLogger("extauthz_client"), ClientLog()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)

"""A server that drips its answer is given up after a time as a whole, whatever asks it."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from extauthz.commands import health
from extauthz.commands.mcp_server_lists import NoListError, server_lists
from tests.integration.scripted_server import scripted

pytestmark = pytest.mark.anyio

ENDLESS: dict[str, Callable[[], tuple[dict[str, str], bytes]]] = {
    "a body without an end": lambda: ({"Content-Type": "application/json"}, b" "),
    "an announced length": lambda: ({"Content-Type": "application/json", "Content-Length": "9999999"}, b" "),
    "comments of a stream of events": lambda: ({"Content-Type": "text/event-stream"}, b": ping\n\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_answers_that_drip_are_given_up_in_time(kind: str) -> None:
    headers, part = ENDLESS[kind]()

    async def drips(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        while True:
            await answer.write(part)
            await asyncio.sleep(0.02)

    async with scripted(drips) as server:
        with pytest.raises(NoListError, match=r"does not answer: no whole answer within 0\.5 s"):
            await asyncio.to_thread(server_lists, server.url, timeout_s=0.5)
        assert len(server.requests) == 1


async def test_health_gives_up_an_answer_that_drips(capsys: pytest.CaptureFixture[str]) -> None:
    async def drips(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b".")
            await asyncio.sleep(0.05)

    async with scripted(drips) as server:
        status = await asyncio.to_thread(health.run, {}, url=server.url, ready=False, as_json=False)
    assert status != 0
    assert "no whole answer within 2 s" in capsys.readouterr().err

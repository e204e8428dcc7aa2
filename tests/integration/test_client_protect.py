"""Registration runs in the background: it neither delays nor ends the application, and retries until done."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from extauthz.demo.processes import free_port
from extauthz_client import ExtauthzClient, ServiceKey, protect, resource
from tests.integration.lifespans import ClientLog, client_log, started
from tests.integration.scripted_server import Scripted, disconnects, is_silent, says, scripted

pytestmark = pytest.mark.anyio

STORED = {
    "id": "7",
    "name": "invoice:read",
    "displayName": "invoice:read",
    "serviceName": "billing",
    "defaultRoles": ["finance"],
    "routes": [{"methods": ["GET"], "path": "/invoices", "action": "read", "authentication": "required"}],
}
TAKEN = says(201, [STORED])
REGISTERED = "INFO registered at extauthz: invoice:read"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def log() -> Iterator[ClientLog]:
    with client_log() as watching:
        yield watching


@resource("invoice:read", default_roles=["finance"])
async def read_invoices(_: Request) -> Response:
    return PlainTextResponse("ok")


def application(**options: Any) -> Starlette:
    return Starlette(routes=[Route("/invoices", read_invoices)], **options)


def protected(app: Starlette, url: str, **options: Any) -> ExtauthzClient:
    client = ExtauthzClient(url, ServiceKey("sak_live_1"), attempts=1, **options)
    protect(app, client, service_name="billing")
    return client


async def sent(server: Scripted) -> list[Any]:
    return [json.loads(await request.read()) for request in server.requests]


async def test_routes_are_registered_at_each_start(log: ClientLog) -> None:
    app = application()
    async with scripted(TAKEN) as server:
        protected(app, server.url)
        for _ in range(2):
            async with started(app):
                assert await log.saw(REGISTERED) == REGISTERED
            log.lines.clear()

        assert [request.path for request in server.requests] == ["/api/v1/resources/list"] * 2
        assert (
            await sent(server)
            == [
                [
                    {
                        "name": "invoice:read",
                        "serviceName": "billing",
                        "defaultRoles": ["finance"],
                        "routes": [{"methods": ["GET"], "path": "/invoices"}],
                    }
                ]
            ]
            * 2
        )


async def test_an_application_without_declarations_sends_no_request(log: ClientLog) -> None:
    app = Starlette()
    async with scripted(TAKEN) as server:
        protected(app, server.url)
        async with started(app):
            await log.saw("INFO registered at extauthz: nothing")

        assert server.requests == []


async def test_the_applications_own_lifespan_runs_as_before(log: ClientLog) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(running: Starlette) -> AsyncIterator[dict[str, str]]:
        assert running is app
        seen.append("started")
        app.router.routes.append(Route("/late", resource("late:read")(lambda _: PlainTextResponse("ok"))))
        async with client:
            yield {"pool": "open"}
        seen.append("ended")

    app = application(lifespan=lifespan)
    async with scripted(TAKEN) as server:
        client = protected(app, server.url)
        async with started(app) as state:
            assert state == {"pool": "open"}
            await log.saw("INFO registered at extauthz: invoice:read, late:read")
        assert seen == ["started", "ended"]
        with pytest.raises(RuntimeError, match="async with"):
            await client.resources()


async def test_fastapis_lifespans_and_routers_come_together(log: ClientLog) -> None:
    def lifespan(name: str) -> Any:
        @asynccontextmanager
        async def own(_: FastAPI) -> AsyncIterator[dict[str, bool]]:
            yield {name: True}

        return own

    app = FastAPI(lifespan=lifespan("app"))
    before, after = APIRouter(lifespan=lifespan("before")), APIRouter(lifespan=lifespan("after"))
    before.add_api_route("/before", resource("before:read")(lambda: None))
    after.add_api_route("/after", resource("after:read")(lambda: None))
    app.include_router(before)
    async with scripted(TAKEN) as server:
        protected(app, server.url)
        app.include_router(after, prefix="/v1")
        async with started(app) as state:
            assert state == {"app": True, "before": True, "after": True}
            await log.saw("INFO registered at extauthz: before:read, after:read")
        ((first, second),) = await sent(server)
        assert [first["routes"][0]["path"], second["routes"][0]["path"]] == ["/before", "/v1/after"]


async def test_a_start_never_waits(log: ClientLog) -> None:
    app = application()
    async with scripted(is_silent) as server:
        protected(app, server.url, timeout_s=30)
        async with asyncio.timeout(5):
            async with started(app):
                pass
        assert log.lines == []


async def test_registration_is_retried_until_it_succeeds(log: ClientLog) -> None:
    app, port = application(), free_port()
    protected(app, f"http://127.0.0.1:{port}")
    async with started(app):
        warning = await log.saw("WARNING the registration at extauthz failed, it is tried again")
        assert f"POST http://127.0.0.1:{port}/api/v1/resources/list" in warning
        async with scripted(disconnects, TAKEN, port=port) as server:
            await log.saw(REGISTERED)
            assert len(server.requests) == 2


async def test_a_refusal_is_reported_with_the_name_and_tried_again(log: ClientLog) -> None:
    app = application()
    problem = {
        "title": "Unprocessable Content",
        "detail": "the request has one problem",
        "errors": [{"pointer": "/0/routes/0/path", "message": "a path template starts with '/'"}],
    }
    async with scripted(says(422, problem), TAKEN) as server:
        protected(app, server.url)
        async with started(app):
            assert await log.saw("WARNING") == (
                "WARNING extauthz refused the registration, it is tried again: 422 Unprocessable Content: "
                "the request has one problem; invoice:read: /routes/0/path a path template starts with '/'"
            )
            await log.saw(REGISTERED)


async def test_a_server_that_is_not_the_api_is_reported_and_asked_again(log: ClientLog) -> None:
    app = application()
    async with scripted(says(200, {"hello": "world"}), TAKEN) as server:
        protected(app, server.url)
        async with started(app):
            await log.saw("WARNING the registration at extauthz failed, it is tried again: the API answered")
            await log.saw(REGISTERED)


async def test_routes_that_cannot_be_read_do_not_end_the_application(log: ClientLog) -> None:
    class Strange(BaseRoute):
        endpoint = read_invoices

        @property
        def path(self) -> str:
            raise RuntimeError("no path today")

    app = Starlette(routes=[Strange()])
    async with scripted(TAKEN) as server:
        protected(app, server.url)
        async with started(app):
            assert (await log.saw("ERROR")).startswith("ERROR the registration at extauthz failed")


async def test_an_application_that_does_not_start_registers_nothing(log: ClientLog) -> None:
    @asynccontextmanager
    async def lifespan(running: Starlette) -> AsyncIterator[None]:
        if running is app:
            raise RuntimeError("no database")
        yield

    app = application(lifespan=lifespan)
    async with scripted(TAKEN) as server:
        client = protected(app, server.url)
        with pytest.raises(AssertionError, match="no database"):
            async with started(app):
                pass
        assert server.requests == []
        with pytest.raises(RuntimeError, match="async with"):
            await client.resources()


async def test_nothing_is_left_when_the_application_ends(log: ClientLog) -> None:
    app = application()
    before = asyncio.all_tasks()
    protected(app, f"http://127.0.0.1:{free_port()}")
    async with started(app):
        await log.saw("WARNING")
    assert asyncio.all_tasks() == before


def test_an_application_can_start_in_one_loop_after_another(log: ClientLog) -> None:
    app, port = application(), free_port()
    protected(app, f"http://127.0.0.1:{port}")

    async def once() -> int:
        async with scripted(TAKEN, port=port) as server, started(app):
            await log.saw(REGISTERED)
            log.lines.clear()
            return len(server.requests)

    assert [asyncio.run(once()), asyncio.run(once())] == [1, 1]

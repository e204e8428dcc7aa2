"""The health port: liveness, readiness and metrics over a real socket."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from extauthz.admin.health import health_app, health_routes
from extauthz.runtime.http_server import serve
from extauthz.runtime.listener import ListenError, listen
from extauthz.telemetry.counts import Counts
from extauthz.telemetry.exposition import render
from extauthz.telemetry.readiness import Readiness

READY = Readiness(ready=True, checks={"casbin": True, "policies": True})


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[tuple[str, "asyncio.Task[None]"]]:
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(serve(app, listener))
    try:
        yield url, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def answer(
    path: str, *, readiness: Callable[[], Readiness] = lambda: READY, method: str = "GET"
) -> tuple[int, str, bytes]:
    async def ask() -> tuple[int, str, bytes]:
        app = health_app(readiness, lambda: render(Counts("a").snapshot()))
        async with (
            served(app) as (url, _),
            aiohttp.ClientSession() as session,
            session.request(method, url + path) as response,
        ):
            return response.status, response.headers["content-type"], await response.read()

    return asyncio.run(ask())


def test_a_process_that_answers_is_alive() -> None:
    status, content_type, body = answer("/healthz/live")
    assert (status, content_type, json.loads(body)) == (200, "application/json", {"status": "ok"})


@pytest.mark.parametrize(
    ("readiness", "status", "body"),
    [
        (READY, 200, {"status": "ok", "checks": {"casbin": "ok", "policies": "ok"}}),
        (
            Readiness(ready=True, checks={"database": False, "policies": True}),
            200,
            {"status": "degraded", "checks": {"database": "unavailable", "policies": "ok"}},
        ),
        (
            Readiness(ready=False, checks={"policies": False}),
            503,
            {"status": "degraded", "checks": {"policies": "unavailable"}},
        ),
        (Readiness(ready=False, checks={}), 503, {"status": "degraded", "checks": {}}),
    ],
)
def test_readiness_reports_each_check_that_applies(
    readiness: Readiness, status: int, body: dict[str, object]
) -> None:
    found, content_type, text = answer("/healthz/ready", readiness=lambda: readiness)
    assert (found, content_type, json.loads(text)) == (status, "application/json", body)


def test_a_readiness_that_cannot_be_known_is_unready_without_a_traceback() -> None:
    def broken() -> Readiness:
        raise RuntimeError("secret detail")

    status, _, body = answer("/healthz/ready", readiness=broken)
    assert (status, json.loads(body)) == (503, {"status": "degraded", "checks": {}})


def test_metrics_are_prometheus_text() -> None:
    status, content_type, body = answer("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"# TYPE extauthz_decisions_total counter\n" in body


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/", 404, "Not Found"),
        ("GET", "/healthz", 404, "Not Found"),
        ("GET", "/healthz/ready/../../etc", 404, "Not Found"),
        ("POST", "/healthz/live", 405, "Method Not Allowed"),
    ],
)
def test_anything_else_is_a_problem_document(method: str, path: str, status: int, title: str) -> None:
    found, content_type, body = answer(path, method=method)
    assert (found, content_type) == (status, "application/problem+json")
    assert json.loads(body) == {"type": "about:blank", "title": title, "status": status}


def test_metrics_that_cannot_be_rendered_are_a_problem_document() -> None:
    def broken() -> bytes:
        raise RuntimeError("secret detail")

    async def ask() -> tuple[int, str]:
        async with (
            served(health_app(lambda: READY, broken)) as (url, _),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/metrics") as response,
        ):
            return response.status, await response.text()

    status, text = asyncio.run(ask())
    assert status == 500
    assert "secret" not in text


def test_the_routes_can_be_part_of_another_application() -> None:
    async def ask() -> int:
        app = FastAPI()
        app.router.routes.extend(health_routes(lambda: READY, lambda: b""))
        async with (
            served(app) as (url, _),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/healthz/ready") as response,
        ):
            return response.status

    assert asyncio.run(ask()) == 200


def test_a_busy_port_is_one_readable_error() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: address already in use$"
        ):
            listen("127.0.0.1", port)


def test_an_answer_in_two_writes_does_not_wait_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_of_another_host_is_one_readable_error() -> None:
    with pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        listen("192.0.2.1", 0)
    with pytest.raises(ListenError, match=r"^cannot listen on not a host:0: "):
        listen("not a host", 0)


def test_cancelling_ends_the_server_and_frees_the_port_without_touching_signals() -> None:
    async def run() -> int:
        before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
        async with (
            served(health_app(lambda: READY, lambda: b"")) as (url, task),
            aiohttp.ClientSession() as session,
        ):
            async with session.get(f"{url}/healthz/live") as response:
                assert response.status == 200
            assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return int(url.rpartition(":")[2])

    port = asyncio.run(run())
    with listen("127.0.0.1", port):
        pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_public_keys_are_served_where_there_are_any() -> None:
    async def ask(key_set: Callable[[], bytes] | None) -> tuple[int, str, str, bytes]:
        async with (
            served(health_app(lambda: READY, lambda: b"", key_set)) as (url, _),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/.well-known/jwks.json") as response,
        ):
            kind, cached = response.content_type, response.headers["cache-control"]
            return response.status, kind, cached, await response.read()

    found = asyncio.run(ask(lambda: b'{"keys": []}'))
    assert found == (200, "application/jwk-set+json", "no-store", b'{"keys": []}')
    assert asyncio.run(ask(None))[0] == 404

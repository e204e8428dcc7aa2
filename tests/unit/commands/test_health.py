"""`extauthz health`, against a real server that is healthy, unhealthy, or absent."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from extauthz.admin.health import health_app
from extauthz.commands.health import health_problem
from extauthz.runtime.http_server import serve
from extauthz.runtime.listener import listen
from extauthz.telemetry.readiness import Readiness


@contextmanager
def endpoints(readiness: Callable[[], Readiness]) -> Iterator[int]:
    """Serve the health endpoints on loopback; yields their port."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    serving = loop.create_task(serve(health_app(readiness, lambda: b""), listener))
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([serving]),))
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
        loop.close()


def well() -> Readiness:
    return Readiness(ready=True, checks={"casbin": True})


def unwell() -> Readiness:
    return Readiness(ready=False, checks={"policies": False})


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port that is bound and never listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_sidecar_is_found_by_its_port(nowhere: int) -> None:
    with endpoints(well) as port:
        environ = {"HOST": "0.0.0.0", "SIDECAR_PORT": str(port), "PORT": str(nowhere)}
        assert health_problem(environ, url=None, ready=False) is None
        assert health_problem(environ, url=None, ready=True) is None


def test_a_control_plane_is_found_by_its_port(nowhere: int) -> None:
    with endpoints(well) as port:
        environ = {"SIDECAR_PORT": str(nowhere), "PORT": str(port)}
        assert health_problem(environ, url=None, ready=False) is None


def test_an_unready_process_lives_and_is_not_ready(nowhere: int) -> None:
    with endpoints(unwell) as port:
        environ = {"SIDECAR_PORT": str(port), "PORT": str(nowhere)}
        assert health_problem(environ, url=None, ready=False) is None
        problem = health_problem(environ, url=f"http://127.0.0.1:{port}/healthz/ready", ready=False)
        assert problem is not None
        assert "503" in problem
        assert '"policies":"unavailable"' in problem
        assert health_problem(environ, url=None, ready=True) is not None


def test_a_refused_connection_names_every_address(nowhere: int) -> None:
    environ = {"SIDECAR_PORT": str(nowhere), "PORT": str(nowhere)}
    problem = health_problem(environ, url=None, ready=False)
    assert problem is not None
    assert problem.count(f"http://127.0.0.1:{nowhere}/healthz/live") == 2
    assert "connection refused" in problem


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:80", "http://127.0.0.1:port/", "http://[::1"])
def test_an_invalid_url_is_reported_in_a_sentence(url: str) -> None:
    assert health_problem({}, url=url, ready=False) is not None

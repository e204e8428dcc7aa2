"""`/healthz/live`, `/healthz/ready` and `/metrics`: on the sidecar's own port, and as part of the REST API.

Liveness says only that this process answers: it must never fail because something else is away.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from extauthz.admin.patience import PatientProtocol
from extauthz.admin.problems import title_of
from extauthz.telemetry.exposition import CONTENT_TYPE

_NOT_CACHED: Final = {"cache-control": "no-store"}
MAX_PROBLEMS: Final = 20
MAX_PROBLEM_LENGTH: Final = 400
_DRAIN_S: Final = 3
_BACKLOG: Final = 128
"""So many are accepted in a row, before any of them can be told that it is one too many."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether to send this process work, and what was looked at.

    `checks` maps `database`, `casbin`, `policies` and `jwks`, those that apply, to whether they are
    available. A failed check does not by itself mean unready: the caller that builds this decides what gates.
    `problems` say in words what is wrong, whether it gates or not.
    """

    ready: bool
    checks: Mapping[str, bool]
    problems: Sequence[str] = ()

    @property
    def status(self) -> str:
        """`ok` when ready with every check available and no problem, else `degraded`."""
        return "ok" if self.ready and all(self.checks.values()) and not self.problems else "degraded"

    def document(self) -> dict[str, object]:
        """Return the body of `/healthz/ready`; `problems` is there when there are any."""
        checks = {name: "ok" if available else "unavailable" for name, available in self.checks.items()}
        document: dict[str, object] = {"status": self.status, "checks": checks}
        if self.problems:
            document["problems"] = shown_problems(self.problems)
        return document


def shown_problems(problems: Iterable[str]) -> list[str]:
    """Return the problems that a health endpoint shows: each once, bounded in number and length."""
    found = list(dict.fromkeys(problems))
    shown = [problem[:MAX_PROBLEM_LENGTH] for problem in found[:MAX_PROBLEMS]]
    return [*shown, f"{len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else shown


class ListenError(OSError):
    """An address that cannot be bound; the message says which one, and why."""


def health_app(readiness: Callable[[], Readiness], metrics: Callable[[], bytes]) -> Starlette:
    """Return the application of the health port. Anything else there is 404 problem+json."""
    return Starlette(routes=health_routes(readiness, metrics), exception_handlers={HTTPException: _problem})


def health_routes(readiness: Callable[[], Readiness], metrics: Callable[[], bytes]) -> list[Route]:
    """Return the three routes, to be part of another application.

    Both callables are quick, look at what is already known, and are called for each request.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NOT_CACHED)

    async def ready(_: Request) -> Response:
        try:
            found = readiness()
        except Exception:  # noqa: BLE001  # who cannot say that it is ready is not
            structlog.get_logger().exception("readiness_not_known")
            found = Readiness(ready=False, checks={})
        return JSONResponse(
            found.document(),
            status_code=HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE,
            headers=_NOT_CACHED,
        )

    async def scrape(_: Request) -> Response:
        try:
            text = metrics()
        except Exception:  # noqa: BLE001  # a scrape that fails is not worth a traceback to its caller
            structlog.get_logger().exception("metrics_not_rendered")
            return _problem_response(HTTPStatus.INTERNAL_SERVER_ERROR)
        return Response(text, headers={"content-type": CONTENT_TYPE} | _NOT_CACHED)

    return [
        Route("/healthz/live", live, include_in_schema=False),
        Route("/healthz/ready", ready, include_in_schema=False),
        Route("/metrics", scrape, include_in_schema=False),
    ]


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on one address; port 0 takes a free one. Raises `ListenError`."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server((str(address[0]), int(address[1])), family=family)
        # Accepted connections inherit it; asyncio sets it only where the socket names its protocol. Without
        # it the body, a second small write, waits 40 ms for the peer's delayed acknowledgement of the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {why.lower()}") from error


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled; then stop listening, finish what runs (3 s at most) and end.

    Installs no signal handlers and writes no access log. Closes `listener`.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        http=PatientProtocol,
        backlog=_BACKLOG,
        # A forwarded address is whatever its sender wrote; uvicorn would believe it of peers on loopback.
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
    """uvicorn without its signal handlers: signals belong to the runtime."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _problem_response(HTTPStatus.INTERNAL_SERVER_ERROR)
    response = _problem_response(HTTPStatus(error.status_code))
    response.headers.update(error.headers or {})
    return response


def _problem_response(status: HTTPStatus) -> Response:
    """Return RFC 9457 problem details that say no more than the status."""
    return JSONResponse(
        {"type": "about:blank", "title": title_of(status), "status": status.value},
        status_code=status,
        headers=_NOT_CACHED,
        media_type="application/problem+json",
    )

"""The admin REST API: every operation on its route, problems for everything else, and its description."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route

from extauthz import __version__
from extauthz.admin import (
    attribute_policy_operations,
    audit,
    checks,
    openapi,
    resource_operations,
    role_bindings,
    role_rule_operations,
)
from extauthz.admin.health import health_routes
from extauthz.admin.operation import Operation
from extauthz.admin.problems import INTERNAL_ERROR, ProblemDetails
from extauthz.admin.reference import render_reference
from extauthz.admin.services import AdminServices

# In this order: the paths under /resources that are words stand before those that are ids.
OPERATIONS: Final[tuple[Operation, ...]] = (
    *checks.OPERATIONS,
    *role_rule_operations.OPERATIONS,
    *resource_operations.OPERATIONS,
    *role_bindings.OPERATIONS,
    *attribute_policy_operations.OPERATIONS,
    *audit.OPERATIONS,
)

_log = structlog.get_logger("extauthz.admin")


def build_app(services: AdminServices) -> FastAPI:
    """Return the application. It holds no state of its own: all of it is in `services`."""
    app = FastAPI(
        title="extauthz",
        version=__version__,
        # Ours: described from the same operations, and rendered without anybody else's servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _http_problem, Exception: _last_resort},
    )
    document = openapi.document(OPERATIONS)
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's own way to replace it
    app.router.routes.extend(health_routes(services.readiness, services.metrics))
    app.router.routes.append(Route("/docs", _reference(document), include_in_schema=False))
    for operation in OPERATIONS:
        app.add_api_route(
            operation.path,
            _endpoint(operation, services),
            methods=[operation.method],
            response_model=None,
            name=operation.name,
        )
    return app


def _endpoint(operation: Operation, services: AdminServices) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await operation.answer(request, services)

    return endpoint


def _reference(document: dict[str, object]) -> Callable[[Request], Awaitable[Response]]:
    page = render_reference(document)

    async def endpoint(_: Request) -> Response:
        # Nothing in the page may load or run anything: it is text and its own style.
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    return endpoint


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(_allowed(request))}
    detail = {
        HTTPStatus.NOT_FOUND: "there is nothing at this path",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method[:20]} is not for this path",
    }.get(HTTPStatus(error.status_code), "")
    status = HTTPStatus(error.status_code)
    return ProblemDetails(status, detail, headers=tuple(headers.items())).response()


def _allowed(request: Request) -> list[str]:
    """Return every method of the path (RFC 9110 15.5.6); its operations are routes of their own."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


async def _last_resort(_: Request, error: Exception) -> Response:
    _log.error("request_failed", exc_info=error)
    return INTERNAL_ERROR.response()

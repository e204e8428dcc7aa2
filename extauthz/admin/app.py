"""The admin REST API: every operation on its route, problems for everything else, and its description."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
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
    casbin_csv,
    checks,
    identity_providers,
    openapi,
    resource_operations,
    role_bindings,
    role_rule_operations,
    service_keys,
    session_operations,
    tenant_operations,
)
from extauthz.admin.health import health_routes
from extauthz.admin.operation import Operation
from extauthz.admin.problems import INTERNAL_ERROR, ProblemDetails
from extauthz.admin.reference import render_reference
from extauthz.admin.services import AdminServices
from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.storage.audit import INSTALLATION

# In this order: the paths under /resources that are words stand before those that are ids.
OPERATIONS: Final[tuple[Operation, ...]] = (
    *checks.OPERATIONS,
    *role_rule_operations.OPERATIONS,
    *resource_operations.OPERATIONS,
    *role_bindings.OPERATIONS,
    *attribute_policy_operations.OPERATIONS,
    *service_keys.OPERATIONS,
    *casbin_csv.OPERATIONS,
    *audit.OPERATIONS,
    *session_operations.OPERATIONS,
    *tenant_operations.OPERATIONS,
    *identity_providers.OPERATIONS,
)
FLUSH_EVERY_S: Final = 2.0

_LAST_FLUSH_S: Final = 2.0
_log = structlog.get_logger("extauthz.admin")


def build_app(services: AdminServices) -> FastAPI:
    """Return the application. It holds no state of its own: all of it is in `services`."""
    operations = served(services.mode)
    app = FastAPI(
        title="extauthz",
        version=__version__,
        # Ours: described from the same operations, and rendered without anybody else's servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_writing_notes(services),
        exception_handlers={HTTPException: _http_problem, Exception: _last_resort},
    )
    document = openapi.document(operations)
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's own way to replace it
    app.router.routes.extend(health_routes(services.readiness, services.metrics))
    app.router.routes.append(Route("/docs", _reference(document), include_in_schema=False))
    app.router.routes.extend(_words_are_no_ids(operations))
    for operation in operations:
        app.add_api_route(
            operation.path,
            _endpoint(operation, services),
            methods=[operation.method],
            response_model=None,
            name=operation.name,
        )
    return app


def served(mode: TenancyMode) -> tuple[Operation, ...]:
    """Return what is served: in selfhost there are no tenants to administer, so those paths lead nowhere."""
    return tuple(operation for operation in OPERATIONS if mode is TenancyMode.SAAS or not operation.saas_only)


def _words_are_no_ids(operations: tuple[Operation, ...]) -> list[Route]:
    """Return routes that keep, say, PATCH of `/resources/policies` from meaning the resource of that id."""
    methods: dict[str, set[str]] = {}
    for operation in operations:
        methods.setdefault(operation.path, set()).add(operation.method)
    return [
        Route(word, _not_for_this_path, methods=sorted(methods[shape] - methods[word]))
        for shape in methods
        for word in methods
        if "{" not in word
        and shape.count("{") == 1
        and shape.endswith("/{id}")
        and word.rpartition("/")[0] == shape.removesuffix("/{id}")
        and methods[shape] - methods[word]
    ]


async def _not_for_this_path(_: Request) -> Response:
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


def _writing_notes(
    services: AdminServices,
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """Return the lifespan of the application: what it notes of callers is written every few seconds."""
    tenant = DEFAULT_TENANT if services.mode is TenancyMode.SELFHOST else INSTALLATION

    async def flush() -> None:
        try:
            await services.key_use.flush(services.pool)
            await services.failures.flush(services.pool, tenant, services.new_id)
        except Exception:  # noqa: BLE001  # a bug of ours must not end what notes the next ones
            _log.exception("notes_not_written")

    async def keep_flushing() -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await flush()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as background:
            flushing = background.create_task(keep_flushing())
            yield
            flushing.cancel()
        # A database that does not answer must not keep the process from ending.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FLUSH_S):
                await flush()

    return lifespan


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
    found = [
        route
        for route in request.app.router.routes
        if isinstance(route, Route)
        and route.endpoint is not _not_for_this_path
        and route.matches(request.scope)[0] is not Match.NONE
    ]
    own = [route for route in found if "{" not in route.path]
    return sorted({method for route in own or found for method in route.methods or ()})


async def _last_resort(_: Request, error: Exception) -> Response:
    _log.error("request_failed", exc_info=error)
    return INTERNAL_ERROR.response()

"""The admin REST API as an application: its routers, problems for other paths, its description."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.routing import Route as PlainRoute

from extauthz import __version__
from extauthz.admin import (
    attribute_policies,
    audit,
    authzen,
    authzen_search,
    casbin_csv,
    change_guards,
    checks,
    decision_tests,
    decisions,
    draft_approvals,
    draft_changes,
    drafts,
    explanations,
    identity_providers,
    policy_tests,
    recordings,
    registration,
    replays,
    resources,
    role_bindings,
    role_rules,
    service_keys,
    sessions,
    sidecar_keys,
    sidecars,
    tenants,
)
from extauthz.admin.authzen_metadata import metadata_routes
from extauthz.admin.follower_keys import FollowerKeys
from extauthz.admin.health import HEALTH_PATHS, health_routes
from extauthz.admin.sidecar_recordings import SidecarRecordingApi
from extauthz.admin.sidecar_reports import SidecarReportApi
from extauthz.admin.signed_policies import FollowerApi
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.rest import openapi
from extauthz.rest.observation import Observation
from extauthz.rest.operation import Operation
from extauthz.rest.plain_paths import PlainPaths
from extauthz.rest.problems import ProblemError, internal_error
from extauthz.rest.protocol_operation import repeat_request_id
from extauthz.rest.reference import render_reference
from extauthz.rest.services import AdminServices
from extauthz.storage import idempotency
from extauthz.storage.audit import INSTALLATION

# In this order: paths under /resources that end in a word stand before those that end in an id.
_ROUTERS: Final = (
    checks.router,
    authzen.router,
    authzen_search.router,
    explanations.router,
    decisions.router,
    role_rules.router,
    registration.router,
    resources.router,
    role_bindings.router,
    attribute_policies.router,
    service_keys.router,
    casbin_csv.router,
    drafts.router,
    draft_changes.router,
    draft_approvals.router,
    policy_tests.router,
    decision_tests.router,
    change_guards.router,
    audit.router,
    recordings.router,
    sidecars.router,
    replays.router,
    sessions.router,
    sidecar_keys.router,
)
_SAAS_ROUTERS: Final = (
    authzen.tenant_router,
    authzen_search.tenant_router,
    tenants.router,
    identity_providers.router,
)
_ADMIN: Final = "/admin/"
FLUSH_EVERY_S: Final = 2.0
SWEEP_EVERY_S: Final = 3600.0

_LAST_FLUSH_S: Final = 2.0
_log = structlog.get_logger("extauthz.admin")


class Part(Enum):
    """Which paths an application serves: all, all but /admin, or only /admin with health."""

    WHOLE = "whole"
    API = "api"
    ADMIN = "admin"

    def serves(self, path: str) -> bool:
        """Return whether an operation's path belongs to the part."""
        return self is Part.WHOLE or path.startswith(_ADMIN) is (self is Part.ADMIN)


def build_app(services: AdminServices, part: Part = Part.WHOLE) -> FastAPI:
    """Return the application. All of its state is in `services`.

    One process has one application that is not `Part.ADMIN`: it owns the tasks of the lifespan.
    """
    is_admin = part is Part.ADMIN
    app = FastAPI(
        title="extauthz",
        version=__version__,
        # The page of `reference` instead, which loads nothing from other servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=None if is_admin else _lifespan(services),
        exception_handlers=_EXCEPTION_HANDLERS,
    )
    app.state.services = services
    app.add_middleware(PlainPaths)
    app.add_middleware(Observation, counts=services.recorder.counts, tracing=services.tracing)
    routes = served(services.mode, part)
    # FastAPI's own way to replace it.
    app.openapi = partial(openapi_document, services.mode, part)  # type: ignore[method-assign]
    health = health_routes(services.readiness, services.metrics, services.key_set)
    if is_admin:
        app.router.routes.extend(each for each in health if each.path in HEALTH_PATHS)
    else:
        app.router.routes.extend(health)
        app.router.routes.extend(metadata_routes(services.mode, services.authzen_base_url))
        follower_keys = FollowerKeys(services)
        app.router.routes.extend(_from_sidecars(services, follower_keys))
        if services.heads is not None:
            app.router.routes.extend(FollowerApi(services.pool, follower_keys, services.heads).routes())
    app.router.routes.append(PlainRoute("/docs", _reference(services.mode, part), include_in_schema=False))
    app.router.routes.extend(_words_before_ids(routes))
    app.router.routes.extend(routes)
    return app


def build_worker_app(services: AdminServices) -> Starlette:
    """Return the application for the workers of this process: what sidecars report and record."""
    return Starlette(
        routes=_from_sidecars(services, FollowerKeys(services)),
        exception_handlers=_EXCEPTION_HANDLERS,
    )


def _from_sidecars(services: AdminServices, keys: FollowerKeys) -> list[BaseRoute]:
    batches = SidecarRecordingApi(services, keys).routes() if services.recording.takes_batches else ()
    return [*batches, *SidecarReportApi(services, keys).routes()]


def served(mode: TenancyMode, part: Part = Part.WHOLE) -> list[Operation]:
    """Return the routes of a mode: in selfhost the paths to administer tenants are 404."""
    routers = _ROUTERS + (_SAAS_ROUTERS if mode is TenancyMode.SAAS else ())
    routes = [cast("Operation", route) for router in routers for route in router.routes]
    return [route for route in routes if part.serves(route.path)]


@cache
def openapi_document(mode: TenancyMode, part: Part = Part.WHOLE) -> dict[str, Any]:
    """Return the OpenAPI document of a mode, built when it is first asked for, because that takes long."""
    found = openapi.document(served(mode, part))
    if part is Part.ADMIN:
        paths = found["paths"]
        found["paths"] = {path: paths[path] for path in paths if _is_of_admin(path)}
    return found


def _is_of_admin(path: str) -> bool:
    return path.startswith(_ADMIN) or path in HEALTH_PATHS


def _words_before_ids(routes: list[Operation]) -> list[PlainRoute]:
    """Return routes that keep, say, PATCH of `/resources/policies` from meaning the resource of that id."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, set()).update(route.methods or ())
    return [
        PlainRoute(word, _not_for_this_path, methods=sorted(methods[shape] - methods[word]))
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


def _lifespan(services: AdminServices) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """Return the lifespan: notes about callers are written, expired answers are deleted."""
    tenant = DEFAULT_TENANT if services.mode is TenancyMode.SELFHOST else INSTALLATION

    async def flush() -> None:
        try:
            await services.key_use.flush(services.pool)
            await services.failures.flush(services.pool, tenant, services.new_id)
        except Exception:  # noqa: BLE001  # one failure must not end the task
            _log.exception("notes_not_written")

    async def keep_flushing() -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await flush()

    async def keep_sweeping() -> None:
        while True:
            directory = services.policies.current()
            for each in (INSTALLATION, *(directory.snapshots if directory else ())):
                try:
                    await idempotency.sweep(services.pool, each)
                except Exception:  # noqa: BLE001  # one failure must not end the task
                    _log.exception("idempotency_keys_not_swept")
            await asyncio.sleep(SWEEP_EVERY_S)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(work()) for work in (keep_flushing, keep_sweeping)]
            yield
            for task in tasks:
                task.cancel()
        # A database that does not answer must not keep the process from ending.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FLUSH_S):
                await flush()

    return lifespan


def _reference(mode: TenancyMode, part: Part) -> Callable[[Request], Awaitable[Response]]:
    @cache
    def page() -> str:
        return render_reference(openapi_document(mode, part))

    async def endpoint(_: Request) -> Response:
        # The page loads and runs nothing: it is text and its own style.
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
        return HTMLResponse(page(), headers={"Content-Security-Policy": policy})

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
    response = ProblemError(status, detail, headers=headers.items()).response()
    return repeat_request_id(request, response) if "/access/v1/" in request.url.path else response


def _allowed(request: Request) -> list[str]:
    """Return every method of the path (RFC 9110 15.5.6); each is a route of its own."""
    found = [
        route
        for route in request.app.router.routes
        if isinstance(route, PlainRoute)
        and route.endpoint is not _not_for_this_path
        and route.matches(request.scope)[0] is not Match.NONE
    ]
    own = [route for route in found if "{" not in route.path]
    return sorted({method for route in own or found for method in route.methods or ()})


async def _last_resort(_: Request, error: Exception) -> Response:
    _log.error("request_failed", exc_info=error)
    return internal_error().response()


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


_EXCEPTION_HANDLERS: Final[dict[Any, Any]] = {
    HTTPException: _http_problem,
    ProblemError: _problem,
    Exception: _last_resort,
}

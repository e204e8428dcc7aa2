"""`/healthz/live`, `/healthz/ready`, `/metrics`: on the sidecar's own port, and as part of the REST API.

So is `/.well-known/jwks.json`, the public keys of assertions, where there are any.

Liveness says only that this process answers: it must never fail because another service is unavailable.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extauthz.rest.problems import ProblemError, internal_error
from extauthz.telemetry.exposition import CONTENT_TYPE
from extauthz.telemetry.readiness import Readiness

HEALTH_PATHS: Final = frozenset({"/healthz/live", "/healthz/ready"})
_NOT_CACHED: Final = {"cache-control": "no-store"}


def health_app(
    readiness: Callable[[], Readiness],
    metrics: Callable[[], bytes],
    key_set: Callable[[], bytes] | None = None,
) -> Starlette:
    """Return the application of the health port. Anything else there is 404 problem+json."""
    return Starlette(
        routes=health_routes(readiness, metrics, key_set), exception_handlers={HTTPException: _problem}
    )


def health_routes(
    readiness: Callable[[], Readiness],
    metrics: Callable[[], bytes],
    key_set: Callable[[], bytes] | None = None,
) -> list[Route]:
    """Return the routes, to be part of another application.

    The callables are quick, look at what is already known, and are called for each request. `key_set` returns
    the JWK Set of assertions; None: there are none.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_NOT_CACHED)

    async def ready(_: Request) -> Response:
        try:
            found = readiness()
        except Exception:  # noqa: BLE001  # unknown readiness is not ready
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
            return internal_error().response()
        return Response(text, headers={"content-type": CONTENT_TYPE} | _NOT_CACHED)

    async def keys(_: Request) -> Response:
        assert key_set is not None
        # RFC 7517 8.5.1.
        return Response(key_set(), media_type="application/jwk-set+json", headers=_NOT_CACHED)

    published = [] if key_set is None else [Route("/.well-known/jwks.json", keys, include_in_schema=False)]
    return [
        *published,
        Route("/healthz/live", live, include_in_schema=False),
        Route("/healthz/ready", ready, include_in_schema=False),
        Route("/metrics", scrape, include_in_schema=False),
    ]


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ProblemError(HTTPStatus(error.status_code), "", headers=(error.headers or {}).items()).response()

"""`GET /.well-known/authzen-configuration`: where AuthZEN's endpoints are, for every caller."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.decide.authzen_metadata import WELL_KNOWN, metadata_of, path_of
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.answers import Reply
from extauthz.rest.problems import ProblemError, not_found
from extauthz.rest.protocol_operation import repeat_request_id
from extauthz.storage.tenants import SLUG

_CACHED: Final = {"Cache-Control": "public, max-age=3600"}
_NO_BASE_URL: Final = (
    "AUTHZEN_BASE_URL is not set, and the REST API is not on a loopback address: set it to the https URL at "
    "which clients reach this API"
)


def metadata_routes(mode: TenancyMode, base_url: str | None) -> list[Route]:
    """Return the routes of the metadata; `base_url` None: they answer that it cannot be told."""
    place = WELL_KNOWN + ("" if base_url is None else path_of(base_url))
    if mode is TenancyMode.SELFHOST:
        return [Route(place, _answering(lambda _: _metadata(base_url, None)), include_in_schema=False)]
    return [
        Route(place, _answering(lambda _: _without_tenant(place)), include_in_schema=False),
        Route(
            f"{place}/{{tenant}}", _answering(lambda it: _of_tenant(base_url, it)), include_in_schema=False
        ),
    ]


def _answering(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            response = answer(request)
        except ProblemError as problem:
            response = problem.response()
        return repeat_request_id(request, response)

    return endpoint


def _metadata(base_url: str | None, tenant: str | None) -> Response:
    if base_url is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, _NO_BASE_URL)
    return Reply(HTTPStatus.OK, metadata_of(base_url, tenant), _CACHED).response()


def _of_tenant(base_url: str | None, request: Request) -> Response:
    tenant = request.path_params["tenant"]
    # The answer follows from the name alone: an anonymous caller does not learn which tenants there are.
    if not SLUG.fullmatch(tenant):
        raise not_found(f"{tenant[:80]!r} is not the name of a tenant")
    return _metadata(base_url, tenant)


def _without_tenant(place: str) -> Response:
    raise not_found(f"with MODE=saas the metadata are those of a tenant, at {place}/{{tenant}}")

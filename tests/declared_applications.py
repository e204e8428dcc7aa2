"""Applications with declared endpoints, and what their declarations become."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import Resource, resource
from extauthz_client.declare import declared_resources

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

Endpoint = Callable[[Request], Any]


def endpoint(name: str | None, **declared: Any) -> Endpoint:
    """Return a new endpoint that is declared to lead to a resource (None: undeclared)."""

    async def answer(_: Request) -> Response:
        return PlainTextResponse("ok")

    return answer if name is None else resource(name, **declared)(answer)


def declared(*routes: BaseRoute, **options: Any) -> list[Resource]:
    """Return what is registered, having checked that the API would take it."""
    found = declared_resources(routes, "billing", **options)
    problems: list[Problem] = []
    for each in found:
        parse_resource(each.document(), "", problems)
    assert problems == []
    return found


def mesh_routes(*routes: BaseRoute, **options: Any) -> set[tuple[str, str, str]]:
    """Return what is registered as (resource, methods, path)."""
    return {
        (each.name, " ".join(route.methods), (route.host or "") + route.path)
        for each in declared(*routes, **options)
        for route in each.routes
    }

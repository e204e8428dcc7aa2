"""Every route of a Starlette or FastAPI application, in the order in which the application tries them."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.endpoints import HTTPEndpoint
from starlette.routing import Host, Mount, WebSocketRoute

from extauthz_client.declarations import ANY_METHOD, AppRoute
from extauthz_client.paths import AppPath, host_pattern

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

_CLASS_METHODS: Final = ("get", "post", "put", "patch", "delete", "options")


def walk(
    routes: "Sequence[BaseRoute]", *, host: str | None = None, prefix: str = "", problem: str | None = None
) -> list[AppRoute]:
    """Return the routes, those of mounted applications, hosts and included routers in their places."""
    return list(_walk(routes, host, prefix.rstrip("/"), problem))


def _walk(
    routes: "Sequence[BaseRoute]", host: str | None, prefix: str, problem: str | None
) -> Iterator[AppRoute]:
    for original, route in _effective(routes):
        if isinstance(original, Host):
            name = host_pattern(original.host)
            unknown = (
                None
                if name is not None
                else f"its host {original.host!r} is neither a name nor '*.suffix': use one of these"
            )
            yield from _walk(route.routes, name, prefix, problem or unknown)
        elif isinstance(original, Mount):
            path = prefix + route.path
            if route.routes:
                yield from _walk(route.routes, host, path, problem)
            else:
                everything = frozenset({ANY_METHOD})
                yield _route(f"{path}/{{path:path}}", host, everything, original.app, problem)
        elif isinstance(original, WebSocketRoute):
            websocket = problem or "it is a WebSocket: declare a route of HTTP"
            yield _route(prefix + route.path, host, frozenset({"GET"}), route.endpoint, websocket)
        elif getattr(route, "endpoint", None) is not None and getattr(route, "path", None) is not None:
            methods = _methods(route)
            handlers = _handlers(route.endpoint, methods)
            yield _route(prefix + route.path, host, methods, route.endpoint, problem, handlers)


def _route(
    path: str,
    host: str | None,
    methods: frozenset[str],
    endpoint: object,
    problem: str | None,
    handlers: dict[str, object] | None = None,
) -> AppRoute:
    return AppRoute(
        path, AppPath.parse(path), host, methods, endpoint, problem=problem, handlers=handlers or {}
    )


def _effective(routes: "Sequence[BaseRoute]") -> "Iterator[tuple[BaseRoute, Any]]":
    """Yield each route, and what has its path: routers that FastAPI includes keep their routes' own paths."""
    fastapi = sys.modules.get("fastapi.routing")
    # Since FastAPI 0.137.2; before 0.137, including a router copied its routes.
    contexts = getattr(fastapi, "iter_route_contexts", None)
    if contexts is None:
        yield from ((route, route) for route in routes)
    else:
        yield from ((context.original_route, context) for context in contexts(routes))


def _methods(route: Any) -> frozenset[str]:
    methods = getattr(route, "methods", None)
    endpoint = route.endpoint
    if not methods and _is_class_of_methods(endpoint):
        methods = {method.upper() for method in _CLASS_METHODS if hasattr(endpoint, method)}
        methods |= {"GET"} if hasattr(endpoint, "head") else set()
    if not methods:
        return frozenset({ANY_METHOD})
    return frozenset("GET" if method == "HEAD" else method for method in methods)


def _handlers(endpoint: object, methods: frozenset[str]) -> dict[str, object]:
    if not _is_class_of_methods(endpoint):
        return {}
    found = {method: getattr(endpoint, method.lower(), None) for method in methods}
    if found.get("GET") is None:
        found["GET"] = getattr(endpoint, "head", None)
    return found


def _is_class_of_methods(endpoint: object) -> bool:
    return inspect.isclass(endpoint) and issubclass(endpoint, HTTPEndpoint)

"""Declare in code what a route needs, and register it when the application starts.

    @app.get("/invoices/{number}")
    @resource("invoice:read", default_roles=["finance"])
    async def read_invoice(number: str) -> ...: ...

    protect(app, client, service_name="billing")

At start-up every declared route becomes a route of its resource, so that the mesh enforces what the code
says. Registering runs concurrently with the application: when it fails it warns and tries again, and the
application serves on.
"""

import asyncio
import functools
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from extauthz_client.api import ExtauthzClient
from extauthz_client.errors import ApiError, ClientError
from extauthz_client.models import Authentication, Resource, Route
from extauthz_client.paths import AppPath
from extauthz_client.route_discovery import ANY_METHOD, AppRoute, walk

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute
    from starlette.types import Lifespan

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])

_DECLARED: Final = "__extauthz_resource__"
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0

_log = logging.getLogger("extauthz_client")
# The name before 0.2, for one release: its handlers and its level go on to apply.
_log.parent = logging.getLogger("extauthz.client")


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the decorator leaves on an endpoint."""

    name: str
    display_name: str | None
    default_roles: tuple[str, ...]
    action: str | None
    authentication: Authentication | None
    public: bool | None


def resource(
    name: str,
    *,
    default_roles: Collection[str] = (),
    display_name: str | None = None,
    action: str | None = None,
    authentication: Authentication | None = None,
    public: bool | None = None,
) -> Callable[[_Endpoint], _Endpoint]:
    """Declare the resource that an endpoint's route leads to; the endpoint itself is unchanged.

    On a method of an `HTTPEndpoint` it is for that method alone, and goes before what its class declares.

    `default_roles` are allowed the resource's default action the first time it is ever registered.
    `action` None is that default action: the text after the last `:` of the name, else `access`.
    `public` is of the resource, so of every route that leads to it: True allows it to everyone, False no
    longer does, None leaves it as it is. Making a resource public, and `authentication` other than
    `required`, need a tenant admin.

    Raises:
        ValueError: the endpoint has a resource already.
        TypeError: `default_roles` is one string.
    """
    if isinstance(default_roles, str):
        raise TypeError(f"default_roles is a list of roles: [{default_roles!r}]")
    declared = _Declared(name, display_name, tuple(default_roles), action, authentication, public)

    def declare(endpoint: _Endpoint) -> _Endpoint:
        if _DECLARED in getattr(endpoint, "__dict__", {}):
            raise ValueError(f"{endpoint!r} leads to {getattr(endpoint, _DECLARED).name!r} already")
        setattr(endpoint, _DECLARED, declared)
        return endpoint

    return declare


def declared_resources(
    routes: "Sequence[BaseRoute]", service_name: str, *, host: str | None = None, prefix: str = ""
) -> list[Resource]:
    """Return the resources that the routes of a Starlette or FastAPI application declare.

    `host` is for routes without a `Host` of their own; `prefix` is what the mesh sees before the
    application's paths. What the mesh cannot express, or would not judge as the application dispatches, is
    warned of and left out: the mesh then knows no route to it.
    """
    found: dict[str, Resource] = {}
    for route, declared in _registrable(walk(routes, host=host, prefix=prefix)):
        known = found.get(declared.name) or Resource(declared.name, service_name)
        methods = tuple(sorted(route.methods))
        found[declared.name] = Resource(
            name=declared.name,
            service_name=service_name,
            display_name=declared.display_name or known.display_name,
            default_roles=tuple(dict.fromkeys((*known.default_roles, *declared.default_roles))),
            public=_narrower(known.public, declared.public),
            routes=(
                *known.routes,
                Route(methods, route.path.template, route.host, declared.action, declared.authentication),
            ),
        )
    return list(found.values())


def _narrower(first: bool | None, second: bool | None) -> bool | None:
    """Return what holds of a resource that two endpoints declare: closed, before public, before nothing."""
    said = [each for each in (first, second) if each is not None]
    return all(said) if said else None


@dataclass(frozen=True, slots=True)
class _Reached:
    """A route with a path of the mesh and the methods that get there."""

    path: AppPath
    host: str | None
    methods: frozenset[str]
    shown: str


def _registrable(routes: Sequence[AppRoute]) -> list[tuple[_Reached, _Declared]]:
    reached: list[tuple[_Reached, _Declared | None]] = []
    for route, declared in (part for whole in routes for part in _parts(whole)):
        path = AppPath.parse(route.path)
        problem = path if isinstance(path, str) else route.problem
        if problem is not None or isinstance(path, str):
            if declared is not None:
                _log.warning(
                    "%s is not registered for %r: %s; requests for it are denied, or judged by a wider route",
                    route.path,
                    declared.name,
                    problem,
                )
            continue
        one = _Reached(path, route.host, route.methods, route.path)
        methods = route.methods - _taken(one, [earlier for earlier, _ in reached])
        if methods:
            reached.append((_Reached(path, route.host, methods, route.path), declared))
        elif declared is not None:
            _log.warning(
                "%s is not registered for %r: an earlier route takes its requests", route.path, declared.name
            )
    return _uncontested([(route, declared) for route, declared in reached if declared is not None])


def _taken(later: _Reached, earlier: Sequence[_Reached]) -> frozenset[str]:
    """Return the methods that the application never passes on to a route, because others come first."""
    covering = [
        route for route in earlier if route.host in (None, later.host) and route.path.covers(later.path)
    ]
    taken = frozenset[str]().union(*(route.methods for route in covering))
    return later.methods if ANY_METHOD in taken else taken


def _uncontested(routes: Sequence[tuple[_Reached, _Declared]]) -> list[tuple[_Reached, _Declared]]:
    """Leave out what is one template to the mesh and several resources to the application."""
    claims: dict[tuple[object, ...], tuple[_Reached, _Declared]] = {}
    contested: set[tuple[object, ...]] = set()
    kept: list[tuple[_Reached, _Declared, list[tuple[object, ...]]]] = []
    for route, declared in routes:
        keys: list[tuple[object, ...]] = []
        for method in sorted(route.methods):
            key = (route.host, route.path.shape, method)
            first, other = claims.setdefault(key, (route, declared))
            if first is route:
                keys.append(key)
            elif (other.name, other.action, other.authentication) != (
                declared.name, declared.action, declared.authentication
            ):  # fmt: skip
                contested.add(key)
                _log.warning(
                    "%s %s (%r) and %s (%r) are one path to the mesh; neither is registered",
                    method, first.shown, other.name, route.shown, declared.name,
                )  # fmt: skip
        kept.append((route, declared, keys))
    return [
        (_Reached(route.path, route.host, methods, route.shown), declared)
        for route, declared, keys in kept
        if (methods := frozenset(str(key[2]) for key in keys if key not in contested))
    ]


def _parts(route: AppRoute) -> list[tuple[AppRoute, _Declared | None]]:
    """Return a route by what its methods declare: most often it is one part."""
    whole = _declared_on(route.endpoint)
    parts: dict[_Declared | None, set[str]] = {}
    for method in sorted(route.methods):
        parts.setdefault(_declared_on(route.handlers.get(method)) or whole, set()).add(method)
    return [(replace(route, methods=frozenset(methods)), declared) for declared, methods in parts.items()]


def _declared_on(endpoint: object) -> _Declared | None:
    while isinstance(endpoint, functools.partial) and not hasattr(endpoint, _DECLARED):
        endpoint = endpoint.func
    declared = getattr(endpoint, _DECLARED, None)
    return declared if isinstance(declared, _Declared) else None


def protect(
    app: "Starlette", client: ExtauthzClient, *, service_name: str, host: str | None = None, prefix: str = ""
) -> None:
    """Have the application register what its routes declare, each time it starts.

    Works with every Starlette application, FastAPI's among them; call it on the outermost one, whose lifespan
    the server runs. The application's own lifespan runs as before; routes that it adds are seen. The client
    is opened and closed with the application. `host` and `prefix` as in `declared_resources`.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with client, inner(running) as state:
            registering = asyncio.create_task(
                register_until_done(
                    client, lambda: declared_resources(app.routes, service_name, host=host, prefix=prefix)
                )
            )
            try:
                yield state
            finally:
                registering.cancel()
                await asyncio.gather(registering, return_exceptions=True)

    app.router.lifespan_context = cast("Lifespan[Any]", lifespan)


async def register_until_done(
    client: ExtauthzClient,
    declared: Callable[[], Sequence[Resource]],
    *,
    first_pause_s: float = _FIRST_PAUSE_S,
) -> None:
    """Register until it worked; a failure is warned of and tried ever more rarely, at last once a minute.

    It never raises.
    """
    pause = first_pause_s
    resources: Sequence[Resource] | None = None
    while True:
        asked_to_wait = 0.0
        try:
            if resources is None:
                resources = declared()
            if resources:
                await client.register(resources)
        except ApiError as error:
            asked_to_wait = error.retry_after_s or 0.0
            problems = "".join(f"; {_readable(problem, resources or ())}" for problem in error.errors)
            _log.warning(
                "extauthz refused the registration, it is tried again: %s%s", error.summary, problems
            )
        except ClientError as error:
            _log.warning("the registration at extauthz failed, it is tried again: %s", error)
        except Exception:  # noqa: BLE001  # INVARIANT: registering never ends the host application
            _log.exception("the registration at extauthz failed, it is tried again")
        else:
            _log.info("registered at extauthz: %s", ", ".join(each.name for each in resources) or "nothing")
            return
        await asyncio.sleep(max(asked_to_wait, pause * (0.5 + random.random() / 2)))  # noqa: S311
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _readable(problem: Mapping[str, object], resources: Sequence[Resource]) -> str:
    """Return a problem with the name of the resource that its pointer leads to."""
    pointer, message = str(problem.get("pointer", "")), str(problem.get("message", ""))
    position = pointer.removeprefix("/").partition("/")[0]
    if position.isdigit() and int(position) < len(resources):
        return f"{resources[int(position)].name}: {pointer.removeprefix('/' + position)} {message}"
    return f"{pointer} {message}"

"""Declare in code what a route needs, and register it when the application starts.

    @app.get("/invoices/{number}")
    @resource("invoice:read", default_roles=["finance"])
    async def read_invoice(number: str) -> ...: ...

    protect(app, client, service_name="billing")

At start-up every declared route becomes a route of its resource, so that the mesh enforces what the code
says. Registering runs beside the application: when it fails it warns and tries again, and the application
serves on.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from extauthz.client.api import ExtauthzClient
from extauthz.client.errors import ApiError, ClientError
from extauthz.client.models import Resource, Route

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])

_DECLARED: Final = "__extauthz_resource__"
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
# Starlette's path parameters: `{name}` or `{name:convertor}`.
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?\}")

_log = logging.getLogger("extauthz.client")


@dataclass(frozen=True, slots=True)
class Declared:
    """What the decorator leaves on an endpoint."""

    name: str
    display_name: str | None
    default_roles: tuple[str, ...]
    action: str | None
    authentication: Literal["required", "optional"] | None


def resource(
    name: str,
    *,
    default_roles: Sequence[str] = (),
    display_name: str | None = None,
    action: str | None = None,
    authentication: Literal["required", "optional"] | None = None,
) -> Callable[[_Endpoint], _Endpoint]:
    """Declare the resource that an endpoint's route leads to; the endpoint itself is unchanged.

    `default_roles` are allowed the resource the first time it is ever registered.
    """

    def declare(endpoint: _Endpoint) -> _Endpoint:
        setattr(
            endpoint, _DECLARED, Declared(name, display_name, tuple(default_roles), action, authentication)
        )
        return endpoint

    return declare


def declared_resources(
    routes: Iterable[Any], service_name: str, *, host: str | None = None
) -> list[Resource]:
    """Return the resources that the routes of a Starlette or FastAPI application declare, by name.

    A route whose path cannot be a template (a `path` parameter that is not last) is warned of and left
    out.
    """
    found: dict[str, Resource] = {}
    for path, methods, declared in _walk(routes, ""):
        template = path_template(path)
        if template is None:
            _log.warning("%s cannot be registered: its 'path' parameter is not its end", path)
            continue
        route = Route(methods, template, host, declared.action, declared.authentication)
        known = found.get(declared.name)
        roles = dict.fromkeys((*(known.default_roles if known else ()), *declared.default_roles))
        found[declared.name] = Resource(
            name=declared.name,
            service_name=service_name,
            display_name=declared.display_name or (known.display_name if known else None),
            default_roles=tuple(roles),
            routes=(*(known.routes if known else ()), route),
        )
    return list(found.values())


def _walk(routes: Iterable[Any], prefix: str) -> Iterable[tuple[str, tuple[str, ...], Declared]]:
    for route in routes:
        path = prefix + getattr(route, "path", "")
        inner = getattr(route, "routes", None)
        if inner:
            yield from _walk(inner, path)
            continue
        declared = getattr(getattr(route, "endpoint", None), _DECLARED, None)
        if isinstance(declared, Declared):
            # HEAD is decided as GET, so it is never listed.
            methods = sorted(set(getattr(route, "methods", None) or ()) - {"HEAD"})
            yield path, tuple(methods) or ("*",), declared


def path_template(path: str) -> str | None:
    """Return the path template of a Starlette path, None where it has none."""
    template = _PARAMETER.sub(lambda found: "/**" if found[2] == "path" else f"{{{found[1]}}}", path)
    template = template.replace("//**", "/**")
    return None if "/**" in template.removesuffix("/**") else template or "/"


def protect(app: Any, client: ExtauthzClient, *, service_name: str, host: str | None = None) -> None:
    """Have the application register what its routes declare, each time it starts.

    Works with every Starlette application, FastAPI's among them; the application's own lifespan runs inside.
    The client is opened and closed with the application.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with client:
            resources = declared_resources(app.routes, service_name, host=host)
            registering = asyncio.create_task(register_until_done(client, resources))
            try:
                async with inner(running) as state:
                    yield state
            finally:
                registering.cancel()
                await asyncio.gather(registering, return_exceptions=True)

    app.router.lifespan_context = lifespan


async def register_until_done(client: ExtauthzClient, resources: Sequence[Resource]) -> None:
    """Register until it worked; a refusal is warned of and tried ever more rarely."""
    pause = _FIRST_PAUSE_S
    while resources:
        try:
            await client.register(resources)
        except ApiError as error:
            _log.warning("extauthz refused the registration: %s %s", error, list(error.errors))
        except ClientError as error:
            _log.warning("extauthz is not reachable, the registration is tried again: %s", error)
        except Exception:  # noqa: BLE001  # INVARIANT: registering never ends the host application
            _log.exception("the registration at extauthz failed and is tried again")
        else:
            _log.info("extauthz: %d resources registered", len(resources))
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)

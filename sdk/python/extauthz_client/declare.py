"""Declare in code what a route needs, and register it when the application starts.

    @app.get("/invoices/{number}")
    @resource("invoice:read", default_roles=["finance"])
    async def read_invoice(number: str) -> ...: ...

    protect(app, client, service_name="billing")

At start-up every declared route becomes a route of its resource, so that the mesh enforces what the code
says. Registering runs concurrently with the application: when it fails it warns and tries again, and the
application serves on. This module is for Starlette and FastAPI; `extauthz_client.flask` and
`extauthz_client.django` have a `protect` of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from extauthz_client.api import ExtauthzClient
from extauthz_client.declarations import DeclaredResources, collected, resource
from extauthz_client.models import Resource
from extauthz_client.registration import Registration

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute
    from starlette.types import Lifespan

__all__ = ["declared_resources", "protect", "register_until_done", "resource"]


def declared_resources(
    routes: "Sequence[BaseRoute]", service_name: str, *, host: str | None = None, prefix: str = ""
) -> DeclaredResources:
    """Return the resources that the routes of a Starlette or FastAPI application declare.

    `host` is for routes without a `Host` of their own; `prefix` is what the mesh sees before the
    application's paths. What the mesh cannot express, or would not judge as the application dispatches, is
    warned of and left out: the mesh then knows no route to it.
    """
    from extauthz_client.route_discovery import walk

    return collected(walk(routes, host=host, prefix=prefix), service_name)


def protect(
    app: "Starlette", client: ExtauthzClient, *, service_name: str, host: str | None = None, prefix: str = ""
) -> Registration:
    """Have the application register what its routes declare, each time it starts.

    Works with every Starlette application, FastAPI's among them; call it on the outermost one, whose lifespan
    the server runs. The application's own lifespan runs as before; routes that it adds are seen. The client
    is opened and closed with the application. `host` and `prefix` as in `declared_resources`. The answer has
    the state of the registration.

    Raises:
        TypeError: the client is a synchronous one.
    """
    if not isinstance(client, ExtauthzClient):
        raise TypeError("Starlette and FastAPI need an ExtauthzClient, which tasks can use")
    inner = app.router.lifespan_context
    registration = Registration(
        lambda: declared_resources(app.routes, service_name, host=host, prefix=prefix)
    )

    @asynccontextmanager
    async def lifespan(running: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with client, inner(running) as state:
            registering = asyncio.create_task(registration.run(client))
            try:
                yield state
            finally:
                registering.cancel()
                await asyncio.gather(registering, return_exceptions=True)

    app.router.lifespan_context = cast("Lifespan[Any]", lifespan)
    return registration


async def register_until_done(
    client: ExtauthzClient, declared: Callable[[], Sequence[Resource]], *, first_pause_s: float = 1.0
) -> None:
    """Register until it worked; a failure is warned of and tried ever more rarely, at last once a minute.

    It never raises.
    """
    await Registration(declared, first_pause_s=first_pause_s).run(client)

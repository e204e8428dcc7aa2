"""What a registrar may touch: resources of its service, and on them routes under its prefixes.

A registrar is a service key with `resources:write`. Tenant admins pass everything here. Routes that a
resource has already are left alone: a service declares all of its routes at each start, also those that a
tenant admin added.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from extauthz.admin.operation import Call
from extauthz.admin.prefixes import RoutePrefix, read_prefixes
from extauthz.admin.problems import ProblemDetails, forbidden
from extauthz.compile.documents import parse_resource
from extauthz.domain.policy import AuthenticationRequirement, Resource, Route
from extauthz.domain.problem import Problem
from extauthz.storage.rows import Stored

if TYPE_CHECKING:
    from extauthz.storage.service_keys import KeyGrant


def service_of(call: Call) -> str | None:
    """Return the only service whose resources the caller may see and write; None: any."""
    grant = _bounds(call)
    return None if grant is None else grant.service_name


def sees(call: Call, stored: Stored) -> bool:
    """Tell whether the caller may see a resource."""
    service = service_of(call)
    return service is None or stored.document["serviceName"] == service


def foreign_services(
    call: Call, resources: Sequence[Resource], *, bulk: bool = False
) -> ProblemDetails | None:
    """Refuse to write resources of another service; with `bulk` problems point into a list."""
    service = service_of(call)
    if service is None:
        return None
    problems = [
        Problem(f"{_at(position, bulk=bulk)}/serviceName", f"must be {service!r}, the service of the key")
        for position, resource in enumerate(resources)
        if resource.service != service
    ]
    return (
        forbidden("the key registers resources of its own service only", errors=problems)
        if problems
        else None
    )


def foreign_routes(
    call: Call, written: Sequence[tuple[Resource, Stored | None]], names: Sequence[str] | None = None
) -> ProblemDetails | None:
    """Refuse routes that the caller may not add, and to take away those it could not have added.

    `written` are resources with the rows they replace; `names`, where the body is a list, those in it.
    """
    grant = _bounds(call)
    if grant is None:
        return None
    prefixes = read_prefixes(grant.prefixes)
    problems: list[Problem] = []
    for resource, stored in written:
        pointer = "" if names is None else f"/{names.index(resource.name)}"
        present = _routes(stored)
        for index, route in enumerate(resource.routes):
            if route not in present and (problem := _problem(route, prefixes)):
                problems.append(Problem(f"{pointer}/routes/{index}", problem))
        problems += [
            Problem(f"{pointer}/routes", f"lacks {route.path!r}, which is not under a prefix of the key")
            for route in present
            if route not in resource.routes and not _covered(route, prefixes)
        ]
    return (
        forbidden("the key registers routes under its own prefixes only", errors=problems)
        if problems
        else None
    )


def foreign_removal(call: Call, stored: Stored) -> ProblemDetails | None:
    """Refuse to delete a resource together with routes that the caller could not have added."""
    grant = _bounds(call)
    if grant is None:
        return None
    prefixes = read_prefixes(grant.prefixes)
    foreign = [route.path for route in _routes(stored) if not _covered(route, prefixes)]
    if not foreign:
        return None
    return forbidden(f"the resource has routes under no prefix of the key: {', '.join(foreign[:5])}")


def _bounds(call: Call) -> "KeyGrant | None":
    return None if call.caller.is_tenant_admin else call.caller.grant


def _at(position: int, *, bulk: bool) -> str:
    return f"/{position}" if bulk else ""


def _routes(stored: Stored | None) -> tuple[Route, ...]:
    if stored is None:
        return ()
    document = {name: value for name, value in stored.document.items() if name != "id"}
    resource = parse_resource(document, "", [])
    return () if resource is None else resource.routes


def _problem(route: Route, prefixes: Sequence[RoutePrefix]) -> str | None:
    if route.authentication is AuthenticationRequirement.OPTIONAL:
        return "opens to requests without a credential, which only a tenant admin may do"
    if not _covered(route, prefixes):
        where = f"{route.host or 'every host'}{route.path}"
        return f"is under no prefix of the key ({', '.join(prefix.text for prefix in prefixes)}): {where}"
    return None


def _covered(route: Route, prefixes: Sequence[RoutePrefix]) -> bool:
    return any(prefix.covers_route(route) for prefix in prefixes)

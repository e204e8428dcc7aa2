"""Registrars: service keys with `resources:write`, which register resources of their own service.

On those they declare routes under the prefixes of the key. Routes that a resource has already are left
alone: a service declares all of its routes at each start, also those that a tenant admin added. Tenant
admins pass every function here. Errors: `ProblemError` 403 with every problem.
"""

from collections.abc import Sequence

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.routes.route_prefixes import RoutePrefix, read_prefixes
from extauthz.domain.policy import AuthenticationRequirement, Route
from extauthz.domain.problem import Problem
from extauthz.rest.authentication import Caller
from extauthz.rest.problems import forbidden
from extauthz.storage.public_resources import is_public
from extauthz.storage.rows import Document, Stored
from extauthz.storage.service_keys import KeyGrant


def service_of(caller: Caller) -> str | None:
    """Return the only service whose resources the caller may see and write; None: every service."""
    grant = _registrar(caller)
    return None if grant is None else grant.service_name


def sees_resource(caller: Caller, stored: Stored) -> bool:
    """Tell whether the caller may see a resource."""
    return service_of(caller) in {None, stored.document["serviceName"]}


def require_service(caller: Caller, services: Sequence[tuple[str, str]]) -> None:
    """Refuse to write resources of another service; `services` are names with the pointers to them."""
    own = service_of(caller)
    problems = [
        Problem(pointer, f"must be {own!r}, the service of the key")
        for service, pointer in services
        if own not in {None, service}
    ]
    if problems:
        raise forbidden("the key registers resources of its own service only", errors=problems)


def require_declarable(
    caller: Caller, written: Sequence[tuple[bool, Sequence[Route] | None, Stored | None, str]]
) -> None:
    """Refuse what a registrar may not declare: `public`, and routes that are not under its prefixes.

    `written` are `public` and the routes of declarations (None: they stay), the rows that these replace, and
    the pointers to them. Routes that the registrar could not have added must stay.
    """
    grant = _registrar(caller)
    if grant is None:
        return
    prefixes = read_prefixes(grant.prefixes)
    problems: list[Problem] = []
    for public, routes, stored, pointer in written:
        if public is not (stored is not None and is_public(stored.document)):
            message = "only a tenant admin makes a resource public, or no longer public"
            problems.append(Problem(f"{pointer}/public", message))
            continue
        if routes is None:
            continue
        present = _routes(stored)
        for index, route in enumerate(routes):
            if route not in present and (problem := _route_problem(route, prefixes)):
                problems.append(Problem(f"{pointer}/routes/{index}", problem))
        problems += [
            Problem(f"{pointer}/routes", f"lacks {route.path!r}, which is not under a prefix of the key")
            for route in present
            if route not in routes and not _covered(route, prefixes)
        ]
    if problems:
        detail = "the key declares no public resource, and routes under its own prefixes only"
        raise forbidden(detail, errors=problems)


def require_document_declarable(caller: Caller, document: Document, stored: Stored | None) -> None:
    """Refuse a stored document of a resource that a registrar may not declare in the place of `stored`."""
    routes = _routes_of(document)
    if routes is None:
        raise forbidden("its routes cannot be read")
    require_declarable(caller, [(is_public(document), routes, stored, "")])


def require_removal(caller: Caller, stored: Stored) -> None:
    """Refuse to delete a resource together with routes that the caller could not have added."""
    grant = _registrar(caller)
    if grant is None:
        return
    prefixes = read_prefixes(grant.prefixes)
    foreign = [route.path for route in _routes(stored) if not _covered(route, prefixes)]
    if foreign:
        raise forbidden(f"the resource has routes under no prefix of the key: {', '.join(foreign[:5])}")


def require_may_cascade(caller: Caller, *, cascade: bool) -> None:
    """Refuse to delete the rules that name a resource together with it."""
    if cascade and service_of(caller) is not None:
        raise forbidden("'cascade' deletes rules, which is for tenant admins")


def _registrar(caller: Caller) -> KeyGrant | None:
    return None if caller.is_tenant_admin else caller.grant


def _routes(stored: Stored | None) -> tuple[Route, ...]:
    return (() if stored is None else _routes_of(stored.document)) or ()


def _routes_of(stored: Document) -> tuple[Route, ...] | None:
    # CLAIM_HEADERS may have changed since; it says nothing about routes.
    document = {name: value for name, value in stored.items() if name not in {"id", "headers"}}
    resource = parse_resource(document, "", [])
    return None if resource is None else resource.routes


def _route_problem(route: Route, prefixes: Sequence[RoutePrefix]) -> str | None:
    if route.authentication is not AuthenticationRequirement.REQUIRED:
        return "opens to requests without a credential, which only a tenant admin may do"
    if not _covered(route, prefixes):
        where = f"{route.host or 'every host'}{route.path}"
        return f"is under no prefix of the key ({', '.join(prefix.text for prefix in prefixes)}): {where}"
    return None


def _covered(route: Route, prefixes: Sequence[RoutePrefix]) -> bool:
    return any(prefix.covers_route(route) for prefix in prefixes)

"""What endpoints declare, and the resources and routes that it comes to. Knows no framework.

A framework's module returns its routes as `AppRoute`s, in the order in which the application tries them.
What the mesh cannot express, or would not judge as the application dispatches, is warned of with the place
of the declaration, and left out: the mesh then knows no route to it.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from extauthz_client.models import Authentication, Authorization, Resource, Route
from extauthz_client.paths import AppPath, host_problem

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])

ANY_METHOD: Final = "*"
_DECLARED: Final = "__extauthz_resource__"

log: Final = logging.getLogger("extauthz_client")
# The name before 0.2, for one release: its handlers and its level go on to apply.
log.parent = logging.getLogger("extauthz.client")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the decorator leaves on an endpoint."""

    name: str
    display_name: str | None
    default_roles: tuple[str, ...]
    action: str | None
    authentication: Authentication | None
    public: bool | None
    headers: tuple[tuple[str, str], ...] | None
    authorization: Authorization | None
    assertion: bool | None
    require_bound: bool | None


@dataclass(frozen=True, slots=True)
class AppRoute:
    """A route as the mesh meets it: its path as the framework writes it, and as a template or a message.

    HEAD is GET, as for every decision. `handlers` are what the class of an endpoint has for single methods.
    `problem` says why the mesh cannot lead to it. `takes` are the methods that the application passes on to
    it, None for `methods`.
    """

    path: str
    template: AppPath | str
    host: str | None
    methods: frozenset[str]
    endpoint: object
    problem: str | None = None
    handlers: Mapping[str, object] = field(default_factory=dict)
    takes: frozenset[str] | None = None


class DeclaredResources(list[Resource]):
    """The resources of an application; `places` has the endpoints that declare each, by its name."""

    def __init__(self, resources: Collection[Resource] = (), places: Mapping[str, list[str]] | None = None):
        """Take both."""
        super().__init__(resources)
        self.places: Mapping[str, list[str]] = places or {}

    def declared_by(self, names: Collection[str]) -> str:
        """Return the places of some resources as a text; of many, the first three."""
        places = list(dict.fromkeys(place for name in names for place in self.places.get(name, ())))
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        return ", ".join(places[:3]) + more


def resource(
    name: str,
    *,
    default_roles: Collection[str] = (),
    display_name: str | None = None,
    action: str | None = None,
    authentication: Authentication | None = None,
    public: bool | None = None,
    headers: Mapping[str, str] | None = None,
    authorization: Authorization | None = None,
    assertion: bool | None = None,
    require_bound: bool | None = None,
) -> Callable[[_Endpoint], _Endpoint]:
    """Declare the resource that an endpoint's route leads to; the endpoint itself is unchanged.

    On a method of a class of handlers (`HTTPEndpoint`, `MethodView`, Django's `View`) it is for that method
    alone, and goes before what its class declares.

    `default_roles` are allowed the resource's default action the first time it is ever registered.
    `action` None is that default action: the text after the last `:` of the name, else `access`.
    `public` is of the resource, so of every route that leads to it: True allows it to everyone, False no
    longer does, None leaves it as it is. Making a resource public, and `authentication` other than
    `required`, need a tenant admin. So are what the workload gets (`headers`: header to attribute `user.*`,
    `authorization="remove"`, `assertion=False`), and `require_bound`: only tokens that are bound to a
    certificate. None leaves each of these as it is.

    Raises:
        ValueError: the endpoint has a resource already.
        TypeError: `default_roles` is one string.
    """
    if isinstance(default_roles, str):
        raise TypeError(f"default_roles is a list of roles: [{default_roles!r}]")
    declared = Declaration(
        name,
        display_name,
        tuple(default_roles),
        action,
        authentication,
        public,
        None if headers is None else tuple(sorted(headers.items())),
        authorization,
        assertion,
        require_bound,
    )

    def declare(endpoint: _Endpoint) -> _Endpoint:
        if _DECLARED in getattr(endpoint, "__dict__", {}):
            raise ValueError(f"{endpoint!r} leads to {getattr(endpoint, _DECLARED).name!r} already")
        setattr(endpoint, _DECLARED, declared)
        return endpoint

    return declare


@dataclass(frozen=True, slots=True)
class _Reached:
    """A route with a path of the mesh and the methods that get there."""

    path: AppPath
    host: str | None
    methods: frozenset[str]
    takes: frozenset[str]
    shown: str
    place: str


def collected(routes: Sequence[AppRoute], service_name: str, *, ordered: bool = True) -> DeclaredResources:
    """Return the resources that routes declare.

    `ordered`: the application takes the first route that matches; else the most specific one, as the mesh.
    """
    found: dict[str, Resource] = {}
    places: dict[str, list[str]] = {}
    roles: dict[str, tuple[str, ...]] = {}
    for route, declared in _registrable(routes, ordered=ordered):
        name = declared.name
        known = found.get(name) or Resource(name, service_name)
        methods = tuple(sorted(route.methods))
        own = Route(methods, route.path.template, route.host, declared.action, declared.authentication)
        found[name] = joined(known, declared, own, route.place, places.get(name, []), roles.get(name))
        places.setdefault(name, []).append(route.place)
        if declared.default_roles:
            roles[name] = found[name].default_roles
    return DeclaredResources(found.values(), places)


def joined(
    known: Resource,
    declared: Declaration,
    route: Route,
    place: str,
    places: Sequence[str],
    roles: tuple[str, ...] | None,
) -> Resource:
    """Return a resource with one more of its routes; where endpoints contradict, the narrower one holds.

    `place` is the endpoint's, `places` those of the endpoints before. `roles` are the default roles that they
    named, None where none did.
    """
    headers = None if declared.headers is None else dict(declared.headers)
    own_roles = tuple(dict.fromkeys(declared.default_roles)) or None
    first_name = known.display_name or declared.display_name
    for name, first, second, kept in (
        ("default_roles", _sorted(roles), _sorted(own_roles), "what both have"),
        ("display_name", first_name, declared.display_name or first_name, "the first"),
        ("public", known.public, declared.public, "the narrower one"),
        ("headers", known.headers, headers, "the narrower one"),
        ("authorization", known.authorization, declared.authorization, "the narrower one"),
        ("assertion", known.assertion, declared.assertion, "the narrower one"),
        ("require_bound", known.require_bound, declared.require_bound, "the narrower one"),
    ):
        if first is not None and second is not None and first != second:
            log.warning(
                "%s is declared with %s=%r by %s and with %s=%r by %s; %s is registered; declare it alike",
                declared.name, name, first, ", ".join(places), name, second, place, kept,
            )  # fmt: skip
    if roles is not None and own_roles is not None:
        own_roles = tuple(each for each in roles if each in own_roles)
    if headers is not None and known.headers is not None:
        headers = {each: headers[each] for each in headers if known.headers.get(each) == headers[each]}
    removed = "remove" in (known.authorization, declared.authorization)
    return Resource(
        name=declared.name,
        service_name=known.service_name,
        display_name=first_name,
        default_roles=known.default_roles if own_roles is None else own_roles,
        public=_all(known.public, declared.public),
        routes=(*known.routes, route),
        headers=known.headers if headers is None else headers,
        authorization="remove" if removed else known.authorization or declared.authorization,
        assertion=_any(known.assertion, declared.assertion),
        require_bound=_any(known.require_bound, declared.require_bound),
    )


def _sorted(roles: tuple[str, ...] | None) -> list[str] | None:
    return None if roles is None else sorted(roles)


def _all(first: bool | None, second: bool | None) -> bool | None:
    said = [each for each in (first, second) if each is not None]
    return all(said) if said else None


def _any(first: bool | None, second: bool | None) -> bool | None:
    said = [each for each in (first, second) if each is not None]
    return any(said) if said else None


def _registrable(routes: Sequence[AppRoute], *, ordered: bool) -> list[tuple[_Reached, Declaration]]:
    reached: list[tuple[_Reached, Declaration | None]] = []
    earlier = _Earlier()
    for whole in routes:
        kept: list[_Reached] = []
        for route, declared in _parts(whole):
            path, place = route.template, place_of(route)
            problem = path if isinstance(path, str) else route.problem or host_problem(route.host)
            if problem is not None or isinstance(path, str):
                if declared is not None:
                    log.warning(
                        "%s is not registered for %r: %s; requests for it are denied, or judged by a wider "
                        "route (declared by %s)",
                        route.path, declared.name, problem, place,
                    )  # fmt: skip
                continue
            takes = route.methods if route.takes is None else route.takes
            one = _Reached(path, route.host, route.methods, takes, route.path, place)
            methods = route.methods - (earlier.taken(one) if ordered else frozenset())
            if methods:
                reached.append((replace(one, methods=methods), declared))
                kept.append(one)
            elif declared is not None:
                log.warning(
                    "%s is not registered for %r: an earlier route takes its requests; move it before that "
                    "one (declared by %s)",
                    route.path, declared.name, place,
                )  # fmt: skip
        for one in kept:
            earlier.add(one)
    return _uncontested(reached)


@dataclass(slots=True)
class _Node:
    """The routes whose segments end here, and what follows; a parameter is followed under None."""

    routes: list[_Reached] = field(default_factory=list)
    after: "dict[str | None, _Node]" = field(default_factory=dict)


class _Earlier:
    """The routes that come before others, by their segments."""

    def __init__(self) -> None:
        self._first = _Node()

    def add(self, route: _Reached) -> None:
        node = self._first
        for segment in route.path.segments:
            node = node.after.setdefault(segment if isinstance(segment, str) else None, _Node())
        node.routes.append(route)

    def taken(self, later: _Reached) -> frozenset[str]:
        """Return the methods that the application never passes on to a route, because others come first."""
        taken = frozenset[str]().union(
            *(
                route.takes
                for route in self._like(later.path)
                if route.host in (None, later.host) and route.path.covers(later.path)
            )
        )
        return later.methods if ANY_METHOD in taken else taken

    def _like(self, path: AppPath) -> Iterator[_Reached]:
        """Yield the routes whose literal segments are those of a path, as far as they go."""
        nodes = [self._first]
        for segment in path.segments:
            for node in nodes:
                yield from node.routes
            keys = {segment if isinstance(segment, str) else None, None}
            nodes = [node.after[key] for node in nodes for key in keys if key in node.after]
        for node in nodes:
            yield from node.routes


def _uncontested(
    routes: Sequence[tuple[_Reached, Declaration | None]],
) -> list[tuple[_Reached, Declaration]]:
    """Leave out what is one template to the mesh and several resources to the application."""
    claims: dict[tuple[object, ...], tuple[_Reached, Declaration | None]] = {}
    contested: set[tuple[object, ...]] = set()
    kept: list[tuple[_Reached, Declaration | None, list[tuple[object, ...]]]] = []
    for route, declared in routes:
        keys: list[tuple[object, ...]] = []
        for method in sorted(route.methods):
            key = (route.host, route.path.shape, method)
            first, other = claims.setdefault(key, (route, declared))
            if first is route:
                keys.append(key)
            elif _claim(other) != _claim(declared):
                contested.add(key)
                log.warning(
                    "%s %s (%s) and %s (%s) are one path to the mesh; neither is registered; give both one "
                    "resource, or other paths (declared by %s and %s)",
                    method, first.shown, _shown(other), route.shown, _shown(declared),
                    first.place, route.place,
                )  # fmt: skip
        kept.append((route, declared, keys))
    return [
        (replace(route, methods=methods), declared)
        for route, declared, keys in kept
        if declared is not None
        and (methods := frozenset(str(key[2]) for key in keys if key not in contested))
    ]


def _claim(declared: Declaration | None) -> tuple[object, ...] | None:
    return None if declared is None else (declared.name, declared.action, declared.authentication)


def _shown(declared: Declaration | None) -> str:
    return "undeclared" if declared is None else repr(declared.name)


def _parts(route: AppRoute) -> list[tuple[AppRoute, Declaration | None]]:
    """Return a route by what its methods declare: most often it is one part."""
    whole = declaration_on(route.endpoint)
    parts: dict[Declaration | None, set[str]] = {}
    for method in sorted(route.methods):
        parts.setdefault(declaration_on(route.handlers.get(method)) or whole, set()).add(method)
    return [(replace(route, methods=frozenset(methods)), declared) for declared, methods in parts.items()]


def declaration_on(endpoint: object) -> Declaration | None:
    """Return what an endpoint declares."""
    while isinstance(endpoint, functools.partial) and not hasattr(endpoint, _DECLARED):
        endpoint = endpoint.func
    declared = getattr(endpoint, _DECLARED, None)
    return declared if isinstance(declared, Declaration) else None


def place_of(route: AppRoute) -> str:
    """Return the module and the name of an endpoint; of a class's only handler, the method's."""
    methods = [route.handlers[each] for each in sorted(route.methods) if route.handlers.get(each) is not None]
    return named(methods[0] if len(methods) == 1 else route.endpoint)


def named(endpoint: object) -> str:
    """Return the module and the name of an endpoint."""
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    known = endpoint if inspect.isroutine(endpoint) or inspect.isclass(endpoint) else type(endpoint)
    return f"{known.__module__}.{known.__qualname__}"

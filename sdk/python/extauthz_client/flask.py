"""Registers what the routes of a Flask application declare.

    @app.get("/invoices/<number>")
    @resource("invoice:read", default_roles=["finance"])
    def read_invoice(number): ...

    protect(app, client, service_name="billing")

Call `protect` when all routes are there. Registering runs in a daemon thread: when it fails it warns and
tries again, and the application serves on.
"""

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from extauthz_client.api import SyncExtauthzClient
from extauthz_client.declarations import (
    ANY_METHOD,
    AppRoute,
    DeclaredResources,
    collected,
    declaration_on,
    log,
)
from extauthz_client.paths import ANY_REST, ANY_SEGMENT, AppPath, Parameter
from extauthz_client.registration import BackgroundRegistration

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.routing import Rule

# As in werkzeug: `<name>`, `<convertor:name>`, `<convertor(arguments):name>`.
_PARAMETER: Final = re.compile(
    r"<(?:(?P<convertor>[a-zA-Z_][a-zA-Z0-9_]*)(?:\((?P<arguments>.*?)\))?:)?(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>"
)
_UNREGISTERED: Final = (
    "%s (%s) was added after protect() and is not registered; call protect() after the last route"
)


def protect(
    app: "Flask", client: SyncExtauthzClient, *, service_name: str, host: str | None = None, prefix: str = ""
) -> BackgroundRegistration:
    """Register what the routes of the application declare, in the background.

    The client is open until the registration is stopped, so views can use it, too. `host` is for rules
    without a host or subdomain of their own; `prefix` is what the mesh sees before the application's paths.
    """
    from flask import request_started

    rules = list(app.url_map.iter_rules())
    views = dict(app.view_functions)
    registered = {id(rule) for rule in rules}

    def warn_of_later_rules(sender: "Flask", **_: Any) -> None:
        request_started.disconnect(warn_of_later_rules, sender)
        for rule in sender.url_map.iter_rules():
            route = _route(sender, rule, sender.view_functions, host, prefix)
            if id(rule) not in registered and route is not None and _is_declared(route):
                log.warning(_UNREGISTERED, rule.rule, rule.endpoint)

    request_started.connect(warn_of_later_rules, app, weak=False)
    return BackgroundRegistration(
        client,
        lambda: _collected([_route(app, rule, views, host, prefix) for rule in rules], service_name),
    )


def declared_resources(
    app: "Flask", service_name: str, *, host: str | None = None, prefix: str = ""
) -> DeclaredResources:
    """Return the resources that the routes of an application declare.

    `host` and `prefix` as in `protect`. What the mesh cannot express is warned of and left out.
    """
    rules = app.url_map.iter_rules()
    return _collected([_route(app, rule, app.view_functions, host, prefix) for rule in rules], service_name)


def _collected(routes: list[AppRoute | None], service_name: str) -> DeclaredResources:
    # werkzeug takes the most specific rule, as the mesh does.
    return collected([route for route in routes if route is not None], service_name, ordered=False)


def _is_declared(route: AppRoute) -> bool:
    return any(declaration_on(each) is not None for each in (route.endpoint, *route.handlers.values()))


def _route(
    app: "Flask", rule: "Rule", views: Mapping[str, Any], host: str | None, prefix: str
) -> AppRoute | None:
    view = views.get(rule.endpoint)
    if view is None or rule.build_only:
        return None
    found, problem = _host(app, rule, host)
    if rule.websocket:
        problem = "it is a WebSocket: declare a route of HTTP"
    own = getattr(view, "view_class", None)
    methods = _methods(rule)
    handlers = {each: getattr(own, each.lower(), None) for each in methods} if inspect.isclass(own) else {}
    if handlers.get("GET", view) is None:
        handlers["GET"] = getattr(own, "head", None)
    endpoint = view if own is None or declaration_on(view) is not None else own
    path = prefix.rstrip("/") + rule.rule
    return AppRoute(path, _template(app, path), found, methods, endpoint, problem=problem, handlers=handlers)


def _methods(rule: "Rule") -> frozenset[str]:
    if rule.methods is None:
        return frozenset({ANY_METHOD})
    # Flask answers OPTIONS by itself, unless the rule says that the view does.
    left_out = {"HEAD"} | ({"OPTIONS"} if getattr(rule, "provide_automatic_options", False) else set())
    methods = frozenset(rule.methods) - left_out
    return methods | {"GET"} if "HEAD" in rule.methods and "GET" not in rule.methods else methods


def _host(app: "Flask", rule: "Rule", host: str | None) -> tuple[str | None, str | None]:
    """Return the host of a rule as the mesh's, and why it has none."""
    if app.url_map.host_matching:
        written = rule.host or ""
    elif rule.subdomain:
        server = app.config.get("SERVER_NAME")
        if not server:
            return None, f"its subdomain {rule.subdomain!r} needs SERVER_NAME: set it"
        written = f"{rule.subdomain}.{server}"
    else:
        written = ""
    if not written:
        return host, None
    name = written.rsplit(":", 1)[0] if written.rpartition(":")[2].isdigit() else written
    label, _, suffix = name.partition(".")
    wild = _PARAMETER.fullmatch(label)
    if wild is not None and not wild["arguments"] and suffix and "<" not in suffix:
        return f"*.{suffix}", None
    if "<" in name:
        return None, f"its host {written!r} is neither a name nor '*.suffix': use one of these"
    return name, None


def _template(app: "Flask", path: str) -> AppPath | str:
    segments: list[str | Parameter | None] = []
    text = ""
    parts: list[Parameter] = []
    end = 1
    for found in [*_PARAMETER.finditer(path), None]:
        literal = path[end : found.start() if found else len(path)]
        first, *others = literal.split("/")
        text += first
        for each in others:
            segments.append(_segment(text, parts))
            text, parts = each, []
        if found is not None:
            parts.append(_parameter(app, found))
            end = found.end()
    segments.append(_segment(text, parts))
    return AppPath.of(segments)


def _segment(literal: str, parameters: list[Parameter]) -> str | Parameter | None:
    if not parameters:
        return literal
    return parameters[0] if len(parameters) == 1 and not literal else None


def _parameter(app: "Flask", found: "re.Match[str]") -> Parameter:
    convertor = found["convertor"] or "default"
    converter_type = app.url_map.converters[convertor]
    if not converter_type.part_isolating:
        return Parameter(found["name"], ANY_REST)
    name = ANY_SEGMENT if convertor in ("default", "string") and not found["arguments"] else found[0]
    return Parameter(found["name"], name)

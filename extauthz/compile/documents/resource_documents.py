"""Documents of resources with their routes become `Resource`s; every problem is reported, with its place.

docs/reference/policy-language.md defines them. Input: a parsed document. Output: a `Resource`, or problems.
"""

from sys import intern
from typing import Final

from extauthz.compile.documents.claim_headers import parse_forwarding
from extauthz.compile.documents.mcp_routes import parse_mcp
from extauthz.compile.fields import Fields, shown
from extauthz.compile.routes.route_index import Template
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.names import are_too_long, name_problem
from extauthz.domain.policy import (
    WILDCARD,
    AuthenticationRequirement,
    Resource,
    Route,
    default_action,
    default_authentication,
)
from extauthz.domain.principal import ANONYMOUS_ROLE
from extauthz.domain.problem import Problem

MAX_ROUTES: Final = 200
MAX_METHODS: Final = 40
MAX_METHOD_LENGTH: Final = 64
MAX_DEFAULT_ROLES: Final = 1000
_TOKEN_CHARACTERS: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def parse_resource(
    document: object, pointer: str, problems: list[Problem], claim_headers: frozenset[str] = frozenset()
) -> Resource | None:
    """Read a resource with its routes; None when any problem was noted.

    `displayName`, `defaultRoles` and `public` are checked here and stored by the caller that registers the
    resource.
    """
    before = len(problems)
    fields = Fields(document, pointer, problems)
    name, service = fields.text("name"), fields.text("serviceName")
    for member, value in (("name", name), ("serviceName", service)):
        if value == WILDCARD:
            fields.note(member, "found '*', a name is needed")
    action = default_action(name) if name else "access"
    if name and (problem := resource_name_problem(name)):
        fields.note("name", problem)
    if fields.has("displayName"):
        fields.text("displayName", required=False)
    else:
        fields.get("displayName")
    default_roles = fields.items("defaultRoles", required=False)
    if default_roles:
        _default_roles(fields, name)
    public = fields.flag("public", default=False)
    if public and (problem := public_problem(name)):
        fields.note("public", problem)
    authentication = default_authentication(public=public)
    entries = fields.items("routes", required=False)
    forwarding = parse_forwarding(fields, claim_headers)
    require_bound = fields.flag("require_bound", default=False)
    fields.done()
    if len(entries) > MAX_ROUTES:
        fields.note("routes", f"has {len(entries)} entries, at most {MAX_ROUTES} fit")
        return None
    if len(default_roles) > MAX_DEFAULT_ROLES:
        fields.note("defaultRoles", f"has {len(default_roles)} entries, at most {MAX_DEFAULT_ROLES} fit")
        return None
    routes = [
        route
        for position, entry in enumerate(entries)
        if (
            route := _parse_route(
                entry, f"{fields.at('routes')}/{position}", problems, action, authentication
            )
        )
    ]
    if len(problems) > before or not (name and service):
        return None
    return Resource(intern(name), intern(service), tuple(routes), forwarding, require_bound)


def resource_name_problem(name: str) -> str | None:
    """Tell what is wrong with the action that the name of a resource ends with."""
    action = default_action(name)
    problem = "is '*'" if action == WILDCARD else name_problem(action)
    return problem and f"found {shown(name)}, the action after its last ':' {problem}"


def _default_roles(fields: Fields, name: str | None) -> None:
    canonical = frozenset(fields.names("defaultRoles", default=None))
    for index, role in enumerate(fields.items("defaultRoles", required=False)):
        if role == WILDCARD:
            fields.note_item("defaultRoles", index, "found '*', a role is needed")
        elif isinstance(role, str) and role in canonical and (problem := default_role_problem(role, name)):
            fields.note_item("defaultRoles", index, problem)


def default_role_problem(role: str, name: str | None) -> str | None:
    """Tell whether a default role makes the rule on a resource of this name too long."""
    if not name or not are_too_long(role, WILDCARD, name, default_action(name)):
        return None
    return "is too long for a rule on a resource of this name"


def public_problem(name: str | None) -> str | None:
    """Tell whether the rules of a public resource of this name are too long."""
    return default_role_problem(ANONYMOUS_ROLE, name)


def _parse_route(
    entry: object,
    pointer: str,
    problems: list[Problem],
    action: str,
    default: AuthenticationRequirement,
) -> Route | None:
    before = len(problems)
    fields = Fields(entry, pointer, problems)
    host = None
    if fields.get("host") is not None:
        host = _route_host(fields)
    methods = _methods(fields)
    path = fields.get("path")
    template = Template.parse(path) if isinstance(path, str) else "a string is needed"
    if isinstance(template, str) and fields.is_object:
        fields.note(
            "path", f"found {shown(path)}, {template}" if fields.has("path") else f"is missing, {template}"
        )
    if fields.has("action"):
        action = fields.text("action") or action
        if action == WILDCARD:
            fields.note("action", "found '*', one action is needed")
    else:
        fields.get("action")
    authentication = fields.choice("authentication", AuthenticationRequirement, default=default)
    mcp = parse_mcp(fields, methods, () if isinstance(template, str) else template.names)
    fields.done()
    if len(problems) > before or isinstance(template, str) or authentication is None:
        return None
    return Route(host, methods, template.text, intern(action), authentication, mcp)


def _route_host(fields: Fields) -> str | None:
    host, problem = route_host(fields.get("host"))
    if problem:
        fields.note("host", problem)
    return host


def route_host(value: object) -> tuple[str | None, str | None]:
    """Return the canonical host pattern of a route, or what is wrong with it."""
    if not isinstance(value, str):
        return None, f"found {shown(value)}, a host or '*.suffix' is needed"
    wild = value.startswith("*.")
    host = canonical_host(value.removeprefix("*.") if wild else value)
    if isinstance(host, HostRejected):
        return None, f"found {shown(value)}, a host or '*.suffix' is needed: {host.reason}"
    if wild and host.startswith("["):
        return None, f"found {shown(value)}, an address has no subdomains"
    return f"*.{host}" if wild else host, None


def _methods(fields: Fields) -> tuple[str, ...]:
    entries = fields.items("methods", required=True, at_least=1)
    if len(entries) > MAX_METHODS:
        fields.note("methods", f"has {len(entries)} entries, at most {MAX_METHODS} fit")
        return ()
    if len(entries) == 1 and entries[0] == WILDCARD:
        return (WILDCARD,)
    found: list[str] = []
    for index, entry in enumerate(entries):
        if problem := method_problem(entry):
            fields.note_item("methods", index, problem)
        elif entry not in found:
            found.append(intern(str(entry)))
    return tuple(found)


def method_problem(entry: object) -> str | None:
    """Tell what is wrong with one of several methods of a route."""
    if entry == "HEAD":
        return "found 'HEAD', which is decided as GET; list 'GET'"
    if not isinstance(entry, str) or not entry or not _TOKEN_CHARACTERS.issuperset(entry) or "*" in entry:
        return f"found {shown(entry)}, an upper-case method or only '*' is needed"
    if len(entry) > MAX_METHOD_LENGTH:
        return f"is longer than {MAX_METHOD_LENGTH} characters"
    return None

"""Untrusted policy documents become typed policies; every problem is reported at once, with its place.

docs/reference/policy-language.md defines them: role rules, role bindings, attribute policies,
resources with routes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from sys import intern
from typing import Any, Final, TypeVar, cast

from extauthz.compile.casbin_conditions import parse_matcher
from extauthz.compile.claim_headers import parse_forwarding
from extauthz.compile.conditions import parse_condition
from extauthz.compile.fields import Fields, shown
from extauthz.compile.inheritance import CYCLE
from extauthz.compile.plain_role_rules import PlainRoleRules
from extauthz.compile.routes import Template
from extauthz.compile.values import parse_time
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.names import name_problem
from extauthz.domain.policy import (
    MAX_ALLOW_PRIORITY,
    MAX_PRIORITY,
    MIN_ALLOW_PRIORITY,
    MIN_PRIORITY,
    PUBLIC_SUBJECTS,
    WILDCARD,
    AttributePolicy,
    AuthenticationRequirement,
    Mode,
    PolicySet,
    Resource,
    RoleBinding,
    RoleRule,
    Route,
    SubjectKind,
    default_action,
    default_authentication,
)
from extauthz.domain.principal import ANONYMOUS_ROLE
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.workload import written_problem

MAX_ROUTES: Final = 200
MAX_METHODS: Final = 40
MAX_METHOD_LENGTH: Final = 64
MAX_OCTETS_OF_NAMES: Final = 2400
"""Of all names of a rule or a binding in UTF-8: the database keeps them together in one entry of an index."""
MAX_DEFAULT_ROLES: Final = 1000
LAST_INSTANT: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""A fraction of a second later, and the nearest floating-point number is a year that has no text."""
_TOKEN_CHARACTERS: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What documents are read under.

    `condition_headers` are the headers that conditions may name, `claim_headers` those that resources may set
    from claims. `default_domain` is the domain of a policy
    that names none (None: it must name one). A document without an id gets `assigned_id`, or is refused when
    that is None. `highest_allow` bounds the priority of an allow, `guardrails` says whether a deny may stand
    above every allow.
    """

    condition_headers: frozenset[str] = frozenset()
    default_domain: str | None = WILDCARD
    assigned_id: str | None = None
    highest_allow: int = MAX_ALLOW_PRIORITY
    guardrails: bool = True
    claim_headers: frozenset[str] = frozenset()


_DEFAULT_READING: Final = Reading()


class Format(StrEnum):
    """The notation of `rule_data`: a tree of conditions, or a matcher expression."""

    JSON = "json"
    CASBIN = "casbin"


class BoundKind(StrEnum):
    """What a role binding gives a role to."""

    USER = "user"
    SERVICE = "service"
    WORKLOAD = "workload"
    ROLE = "role"


def parse_role_rule(
    document: object, pointer: str, problems: list[Problem], reading: Reading
) -> RoleRule | None:
    """Read a Casbin `p` line; None when any problem was noted. Its members are the fields of `RoleRule`."""
    before = len(problems)
    fields = Fields(document, pointer, problems)
    rule_id = _identifier(fields, reading)
    values: dict[str, Any] = {
        name: _member(fields, name, kind, required=name not in _OPTIONAL) for name, kind in _ROLE_RULE.items()
    }
    fields.done()
    kind = subject_kind(values["sub"], values["sub_kind"], values["effect"])
    if not isinstance(kind, SubjectKind):
        fields.note("sub_kind", kind)
    elif problem := workload_problem(kind, values["sub"]):
        fields.note("sub", problem)
    names = {name: value for name in ("sub", "dom", "obj", "act") if (value := values[name]) is not None}
    if problem := octets_problem(names):
        problems.append(Problem(fields.pointer, problem))
    if len(problems) > before or rule_id is None:
        return None
    return RoleRule(rule_id, **values | {"sub_kind": kind})


_ROLE_RULE: Final[Mapping[str, object]] = {
    name: kind for name, kind in RoleRule.__annotations__.items() if name != "id"
}
_OPTIONAL: Final = frozenset({"sub_kind", *RoleRule._field_defaults})


def _member(fields: Fields, name: str, kind: object, *, required: bool) -> object:
    """Read one member by the type of the entity's field: a name, or one of an enumeration's words."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if required or fields.has(name):
            return fields.choice(name, kind)
        return fields.get(name)
    return fields.text(name, required=required)


def subject_kind(sub: str | None, given: SubjectKind | None, effect: Effect | None) -> SubjectKind | str:
    """Return the kind of a rule's subject where `given` was or was not written, or what is wrong with it."""
    if sub == WILDCARD:
        if given not in {None, SubjectKind.ANY}:
            return f"found {shown(given)}, the subject '*' is always of kind 'any'"
        return SubjectKind.ANY
    if given is SubjectKind.ANY and effect is Effect.ALLOW:
        return "found 'any', a named subject of kind 'any' is for denies only"
    if given is not None:
        return given
    return SubjectKind.ANY if effect is Effect.DENY else SubjectKind.ROLE


def workload_problem(kind: SubjectKind | BoundKind | None, name: str | None) -> str | None:
    """Tell what is wrong with the name of a subject of kind `workload`."""
    if name is None or kind is None or kind.value != SubjectKind.WORKLOAD.value:
        return None
    problem = written_problem(name)
    return None if problem is None else f"found {shown(name)}, it must be {problem}"


def parse_role_binding(
    document: object, pointer: str, problems: list[Problem], reading: Reading
) -> RoleBinding | None:
    """Read a Casbin `g` line; None when any problem was noted."""
    before = len(problems)
    fields = Fields(document, pointer, problems)
    binding_id = _identifier(fields, reading)
    user, role, dom = (fields.text(name) for name in ("user", "role", "dom"))
    for name, value in (("user", user), ("role", role)):
        if value == WILDCARD:
            fields.note(name, "found '*', only a domain may be a wildcard in a binding")
    kind = fields.choice("user_kind", BoundKind)
    if wrong := workload_problem(kind, user):
        fields.note("user", wrong)
    expires_at = _instant(fields, "expires_at")
    fields.done()
    if kind is BoundKind.ROLE and user is not None and user == role:
        fields.note("role", f"{CYCLE}: {user} -> {user}")
    names = {
        name: value for name, value in (("user", user), ("role", role), ("dom", dom)) if value is not None
    }
    if problem := octets_problem(names):
        problems.append(Problem(fields.pointer, problem))
    if len(problems) > before or not (binding_id and user and role and dom and kind):
        return None
    return RoleBinding(binding_id, user, SubjectKind(kind.value), role, dom, expires_at)


def octets_problem(names: Mapping[str, str]) -> str | None:
    """Tell whether the names of a rule or a binding are too long together."""
    if not _too_long(*names.values()):
        return None
    return f"{', '.join(names)} have more than {MAX_OCTETS_OF_NAMES} bytes of UTF-8 together"


def _too_long(*names: str) -> bool:
    # No character has more than four bytes, so that hardly any name has to be encoded.
    return (
        4 * sum(map(len, names)) > MAX_OCTETS_OF_NAMES
        and sum(len(name.encode()) for name in names) > MAX_OCTETS_OF_NAMES
    )


def _instant(fields: Fields, name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    found = expiry(value)
    if isinstance(found, str):
        fields.note(name, found)
        return None
    return found


def expiry(value: object) -> float | str:
    """Return the POSIX seconds of a time, or what is wrong with it."""
    moment = parse_time(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return f"found {shown(value)}, an RFC 3339 time such as '2026-01-31T08:00:00Z' is needed"
    if moment > LAST_INSTANT:
        return f"found {shown(value)}, which is after {LAST_INSTANT:%Y-%m-%dT%H:%M:%SZ}; leave it out"
    return moment.timestamp()


def parse_attribute_policy(
    document: object, pointer: str, problems: list[Problem], reading: Reading
) -> AttributePolicy | None:
    """Read an attribute policy; None when any problem was noted."""
    before = len(problems)
    fields = Fields(document, pointer, problems)
    policy_id = _identifier(fields, reading)
    name, resource = fields.text("name"), fields.text("resource")
    actions = fields.names("actions", default=(WILDCARD,))
    if fields.has("domain") or reading.default_domain is None:
        domain = fields.text("domain")
    else:
        domain = reading.default_domain
        fields.get("domain")
    effect = fields.choice("effect", Effect)
    priority = fields.integer("priority", default=0, lowest=MIN_PRIORITY, highest=MAX_PRIORITY)
    if problem := priority_problem(effect, priority, reading):
        fields.note("priority", f"found {priority}, {problem}")
    enabled = fields.flag("enabled", default=True)
    mode = fields.choice("mode", Mode, default=Mode.ENFORCE)
    notation = fields.choice("format", Format, default=Format.JSON)
    condition = None
    if fields.has("rule_data"):
        read = parse_matcher if notation is Format.CASBIN else parse_condition
        condition = read(
            fields.get("rule_data"),
            fields.at("rule_data"),
            problems,
            condition_headers=reading.condition_headers,
        )
    elif fields.is_object:
        fields.note("rule_data", "is missing, a condition is needed")
    fields.done()
    if len(problems) > before or not (
        policy_id and name and resource and domain and effect and mode and condition
    ):
        return None
    return AttributePolicy(
        policy_id, name, resource, actions, domain, effect, priority, enabled, mode, condition
    )


def priority_problem(effect: Effect | None, priority: int, reading: Reading) -> str | None:
    """Tell what is wrong with the priority of a policy with this effect."""
    if effect is Effect.ALLOW and not MIN_ALLOW_PRIORITY <= priority <= reading.highest_allow:
        return f"an allow has a priority from {MIN_ALLOW_PRIORITY} to {reading.highest_allow}"
    if effect is Effect.DENY and priority > MAX_ALLOW_PRIORITY and not reading.guardrails:
        return f"priorities above {MAX_ALLOW_PRIORITY} are guardrails, written by tenant admins only"
    return None


def parse_resource(
    document: object, pointer: str, problems: list[Problem], reading: Reading = _DEFAULT_READING
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
    forwarding = parse_forwarding(fields, reading.claim_headers)
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
    if not name or not _too_long(role, WILDCARD, name, default_action(name)):
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
    if isinstance(template, str):
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
    fields.done()
    if len(problems) > before or isinstance(template, str) or authentication is None:
        return None
    return Route(host, methods, template.text, intern(action), authentication)


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


def _identifier(fields: Fields, reading: Reading) -> str | None:
    if not fields.has("id") and reading.assigned_id is not None:
        fields.get("id")
        return reading.assigned_id
    identifier = fields.text("id", max_length=128)
    if identifier == WILDCARD:
        fields.note("id", "found '*', an id is needed")
    return identifier


def parse_policy_set(document: object, reading: Reading) -> PolicySet | list[Problem]:
    """Read one mapping of lists, the form that policy files have; the answer is every problem in it."""
    problems: list[Problem] = []
    fields = Fields(document, "", problems)

    def each(table: str, parse: Callable[[object, str, list[Problem]], _T | None]) -> tuple[_T, ...]:
        pointer = fields.at(table)
        found = (
            parse(entry, f"{pointer}/{position}", problems)
            for position, entry in enumerate(fields.items(table, required=False))
        )
        return tuple(entity for entity in found if entity is not None)

    def role_rules() -> Iterator[RoleRule]:
        # There are many: nothing is made here that a rule in order does not need.
        plain, pointer = PlainRoleRules(), fields.at("role_rules")
        for position, entry in enumerate(fields.items("role_rules", required=False)):
            rule = plain.read(entry)
            if rule is None:
                rule = parse_role_rule(entry, f"{pointer}/{position}", problems, reading)
            if rule is not None:
                yield rule

    policies = PolicySet(
        resources=each("resources", partial(parse_resource, reading=reading)),
        role_rules=tuple(role_rules()),
        role_bindings=each("role_bindings", partial(parse_role_binding, reading=reading)),
        attribute_policies=each("attribute_policies", partial(parse_attribute_policy, reading=reading)),
    )
    fields.done()
    return problems or with_declared_rules(policies, document)


def with_declared_rules(policies: PolicySet, document: object) -> PolicySet:
    """Add the role rules that `defaultRoles` and `public` stand for; their ids name where they come from."""
    resources = document.get("resources") or () if isinstance(document, Mapping) else ()
    added = tuple(
        RoleRule(
            id=rule_id,
            sub=sub,
            sub_kind=kind,
            dom=WILDCARD,
            obj=resource.name,
            act=resource.default_action,
            effect=Effect.ALLOW,
        )
        for resource, entry in zip(policies.resources, resources, strict=True)
        for rule_id, sub, kind in _declared(resource.name, entry)
    )
    if not added:
        return policies
    return PolicySet(
        policies.resources,
        (*policies.role_rules, *added),
        policies.role_bindings,
        policies.attribute_policies,
    )


def _declared(name: str, entry: Mapping[str, object]) -> Iterator[tuple[str, str, SubjectKind]]:
    """Yield id, subject and kind of the allow rules that a resource declares."""
    for role in dict.fromkeys(cast("Sequence[str]", entry.get("defaultRoles") or ())):
        yield f"default:{name}:{role}", role, SubjectKind.ROLE
    if entry.get("public") is True:
        for sub, kind in PUBLIC_SUBJECTS:
            yield f"public:{name}:{sub}", sub, kind

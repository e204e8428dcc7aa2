"""Untrusted policy documents become typed policies; every problem is reported at once, with its place.

docs/reference/policy-language.md defines them: role rules, role bindings, attribute policies,
resources with routes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final, cast

from extauthz.compile.conditions.casbin_conditions import parse_matcher
from extauthz.compile.conditions.condition_trees import parse_condition
from extauthz.compile.documents.plain_role_rules import PlainRoleRules
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.fields import Fields, shown
from extauthz.compile.roles.inheritance import CYCLE
from extauthz.domain.names import octets_problem
from extauthz.domain.policy import (
    MAX_ALLOW_PRIORITY,
    MAX_PRIORITY,
    MIN_ALLOW_PRIORITY,
    MIN_PRIORITY,
    PUBLIC_SUBJECTS,
    WILDCARD,
    AttributePolicy,
    Entity,
    Mode,
    PolicySet,
    Resource,
    RoleBinding,
    RoleRule,
    SubjectKind,
)
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.time_text import parse_time
from extauthz.domain.workload import written_problem

LAST_INSTANT: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""A fraction of a second later, and the nearest floating-point number is a year that has no text."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What documents are read under.

    `condition_headers` are the headers that conditions may name, `claim_headers` those that resources may set
    from claims. `default_domain` is the domain of a policy that names none (None: it must name one). With an
    `assigned_id`, which every document gets, none may have an id; without, each needs one. `highest_allow`
    bounds the priority of an allow, `guardrails` says whether a deny may stand above every allow.
    """

    condition_headers: frozenset[str] = frozenset()
    default_domain: str | None = WILDCARD
    assigned_id: str | None = None
    highest_allow: int = MAX_ALLOW_PRIORITY
    guardrails: bool = True
    claim_headers: frozenset[str] = frozenset()


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


def _identifier(fields: Fields, reading: Reading) -> str | None:
    if reading.assigned_id is not None:
        if fields.has("id"):
            fields.get("id")
            fields.note("id", "is assigned; leave it out")
        return reading.assigned_id
    identifier = fields.text("id", max_length=128)
    if identifier == WILDCARD:
        fields.note("id", "found '*', an id is needed")
    return identifier


SERVER_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "resources": frozenset({"id", "createdAt", "updatedAt", "warnings"}),
    "role_rules": frozenset({"created_at", "updated_at", "warnings"}),
    "role_bindings": frozenset({"created_at", "updated_at", "warnings"}),
    "attribute_policies": frozenset({"version", "deleted_at", "created_at", "updated_at", "warnings"}),
}
"""What the REST API adds to each kind of document when it shows it; files may have it, and it is ignored."""


PolicyEntry = tuple[str, int, object, Entity | None]
"""The list that an entry is in, its position, the entry, and what it means; None where it has problems."""


def read_entries(document: object, reading: Reading, problems: list[Problem]) -> Iterator[PolicyEntry]:
    """Yield every entry of one mapping of lists, the form that policy files have; note every problem."""
    fields = Fields(document, "", problems)
    readers: dict[str, Callable[[object, str, list[Problem]], Entity | None]] = {
        "resources": partial(parse_resource, claim_headers=reading.claim_headers),
        "role_rules": partial(parse_role_rule, reading=reading),
        "role_bindings": partial(parse_role_binding, reading=reading),
        "attribute_policies": partial(parse_attribute_policy, reading=reading),
    }
    plain = PlainRoleRules()
    for table, read in readers.items():
        pointer, shown_only = fields.at(table), SERVER_MEMBERS[table]
        # There are many role rules: nothing is made here that a rule in order does not need.
        read_plain = plain.read if table == "role_rules" else None
        for position, entry in enumerate(fields.items(table, required=False)):
            entity: Entity | None = None if read_plain is None else read_plain(entry)
            if entity is None:
                place = f"{pointer}/{position}"
                written = _as_written(entry, place, shown_only, problems)
                entity = read(written, place, problems)
            yield table, position, entry, entity
    fields.done()


def _as_written(entry: object, pointer: str, shown_only: frozenset[str], problems: list[Problem]) -> object:
    """Return an entry without the members that only the REST API sets."""
    if not isinstance(entry, Mapping) or shown_only.isdisjoint(entry):
        return entry
    if entry.get("deleted_at") is not None and "deleted_at" in shown_only:
        message = "is set: a deleted policy is not in force; take it out of the file"
        problems.append(Problem(f"{pointer}/deleted_at", message))
    return {name: value for name, value in entry.items() if name not in shown_only}


def parse_policy_set(document: object, reading: Reading) -> PolicySet | list[Problem]:
    """Read one mapping of lists, the form that policy files have; the answer is every problem in it."""
    problems: list[Problem] = []
    tables: dict[str, list[Any]] = {table: [] for table in SERVER_MEMBERS}
    declared: list[RoleRule] = []
    for table, _, entry, entity in read_entries(document, reading, problems):
        if entity is None:
            continue
        tables[table].append(entity)
        if table == "resources":
            assert isinstance(entity, Resource)
            declared += declared_rules(entity, cast("Mapping[str, object]", entry))
    if problems:
        return problems
    tables["role_rules"] += declared
    return PolicySet(**{table: tuple(entities) for table, entities in tables.items()})


def declared_rules(resource: Resource, entry: Mapping[str, object]) -> list[RoleRule]:
    """Return the role rules that `defaultRoles` and `public` stand for; their ids name their origin."""
    return [
        RoleRule(
            id=rule_id,
            sub=sub,
            sub_kind=kind,
            dom=WILDCARD,
            obj=resource.name,
            act=resource.default_action,
            effect=Effect.ALLOW,
        )
        for rule_id, sub, kind in _declared(resource.name, entry)
    ]


def _declared(name: str, entry: Mapping[str, object]) -> Iterator[tuple[str, str, SubjectKind]]:
    """Yield id, subject and kind of the allow rules that a resource declares."""
    for role in dict.fromkeys(cast("Sequence[str]", entry.get("defaultRoles") or ())):
        yield f"default:{name}:{role}", role, SubjectKind.ROLE
    if entry.get("public") is True:
        for sub, kind in PUBLIC_SUBJECTS:
            yield f"public:{name}:{sub}", sub, kind

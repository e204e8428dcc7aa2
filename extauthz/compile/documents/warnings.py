"""Warnings about documents that are valid and likely to surprise their author.

docs/reference/policy-language.md#warnings lists them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from extauthz.compile.conditions.attribute_names import attribute_named
from extauthz.compile.conditions.attributes import RESERVED_PARAMETERS, WhenAbsent
from extauthz.compile.conditions.never_true import never_true
from extauthz.compile.conditions.readings import reading_of
from extauthz.compile.documents.mesh_denies import asked_in_vain
from extauthz.compile.fields import shown
from extauthz.compile.routes.route_index import Template
from extauthz.domain.path import decode_segment
from extauthz.domain.policy import (
    All,
    Always,
    AnyOf,
    AttributeName,
    AttributePolicy,
    Condition,
    Node,
    Not,
    PolicySet,
    Resource,
    UnreadableCondition,
    default_action,
)
from extauthz.domain.reasons import Effect
from extauthz.domain.sidecar_report import ReportedBodies


class WarningCode(StrEnum):
    """What a warning is about."""

    DENY_CAN_BE_UNKNOWN = "deny_can_be_unknown"
    DENY_HOLDS_IN_MESH = "deny_holds_in_mesh"
    ALLOW_OUTBIDS_ROLE_DENIES = "allow_outbids_role_denies"
    PARAMETER_HAS_ONLY_LONG_FORM = "parameter_has_only_long_form"
    CONDITION_NEVER_TRUE = "condition_never_true"
    LITERAL_LOOKS_LIKE_WILDCARD = "literal_looks_like_wildcard"
    DEFAULT_ROLES_NOT_IN_FORCE = "default_roles_not_in_force"
    PUBLIC_NOT_IN_FORCE = "public_not_in_force"
    UNREADABLE_ROW = "unreadable_row"
    BODY_NOT_SENT = "body_not_sent"


MISTAKES: Final = frozenset({WarningCode.CONDITION_NEVER_TRUE, WarningCode.LITERAL_LOOKS_LIKE_WILDCARD})
"""What is hardly ever meant as it is written; the others may well be."""

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class DocumentWarning:
    """One warning: `pointer` is the RFC 6901 place in the document."""

    code: WarningCode
    pointer: str
    message: str


def likely_mistakes(policies: PolicySet) -> list[DocumentWarning]:
    """Return what is hardly ever meant as it is written; pointers name the entry in the set."""
    found = [
        replace(warning, pointer=f"/{table}/{position}{warning.pointer}")
        for table, warnings in (
            ("resources", [resource_warnings(each) for each in policies.resources]),
            ("attribute_policies", [policy_warnings(each) for each in policies.attribute_policies]),
        )
        for position, own in enumerate(warnings)
        for warning in own
    ]
    return [warning for warning in found if warning.code in MISTAKES]


def policy_warnings(policy: AttributePolicy) -> list[DocumentWarning]:
    """Return what may surprise the author of an attribute policy."""
    never = [
        DocumentWarning(WarningCode.CONDITION_NEVER_TRUE, pointer, message)
        for pointer, message in never_true(policy.condition)
    ]
    return [*never, *_surprises(policy)]


def _surprises(policy: AttributePolicy) -> list[DocumentWarning]:
    if policy.effect is Effect.DENY:
        return [
            *_denied_in_mesh(policy.condition),
            *_unknown_denies(policy.condition),
        ]
    if policy.priority > 0:
        return [
            DocumentWarning(
                WarningCode.ALLOW_OUTBIDS_ROLE_DENIES,
                "/priority",
                f"at {policy.priority} this allow decides before every role rule, denies included",
            )
        ]
    return []


def _denied_in_mesh(condition: Node) -> Iterator[DocumentWarning]:
    if names := asked_in_vain(condition):
        yield DocumentWarning(
            WarningCode.DENY_HOLDS_IN_MESH,
            "/rule_data",
            f"no request of the mesh has {' or '.join(map(repr, names[:_NAMED]))}, so this deny holds for "
            f"all mesh traffic that its other conditions do not exclude; where it is meant for questions by "
            f"name only, add an exists condition with the value true in an AND",
        )


def _unknown_denies(condition: Node) -> list[DocumentWarning]:
    return [
        DocumentWarning(
            WarningCode.DENY_CAN_BE_UNKNOWN,
            pointer,
            f"without {name!r} this is unknown, and an unknown deny matches; "
            f"say what absence means with an exists condition in the same AND or OR",
        )
        for pointer, name in _unguarded(condition, "/rule_data", frozenset())
    ]


def _unguarded(node: Node, pointer: str, guarded: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the place and the attribute of everything that absence makes unknown.

    Next to `exists` true in an AND, or `exists` false in an OR, absence has decided already: Kleene's AND is
    false and his OR true whatever the rest is.
    """
    match node:
        case Always() | UnreadableCondition():
            return
        case Not(condition):
            yield from _unguarded(condition, f"{pointer}/condition", guarded)
        case All(conditions):
            guarded |= {name for each in conditions for name in _demanded(each, present=True)}
            for position, each in enumerate(conditions):
                yield from _unguarded(each, f"{pointer}/conditions/{position}", guarded)
        case AnyOf(conditions):
            guarded |= {name for each in conditions for name in _demanded(each, present=False)}
            for position, each in enumerate(conditions):
                yield from _unguarded(each, f"{pointer}/conditions/{position}", guarded)
        case Condition(operator="exists"):
            return
        case Condition(attribute, _, value):
            yield from _absence(attribute, f"{pointer}/attribute", guarded)
            if isinstance(value, AttributeName):
                yield from _absence(value.name, f"{pointer}/value/attribute", guarded)


def _absence(name: str, pointer: str, guarded: frozenset[str]) -> Iterator[tuple[str, str]]:
    # Unknown query parameters and headers are malformed ones, which no `exists` guards.
    plain = reading_of(name)[1]
    if attribute_named(name).absent is WhenAbsent.UNKNOWN and plain not in guarded:
        yield pointer, plain


def _demanded(node: Node, *, present: bool) -> Iterator[str]:
    """Yield the attributes whose presence (or absence) the node asks for by itself."""
    match node:
        case Condition(attribute, "exists", value) if value is present:
            yield attribute
        case Not(Condition(attribute, "exists", value)) if value is not present:
            yield attribute
        case All(conditions) if present:
            for each in conditions:
                yield from _demanded(each, present=present)
        case AnyOf(conditions) if not present:
            for each in conditions:
                yield from _demanded(each, present=present)
        case _:
            return


def resource_warnings(resource: Resource) -> list[DocumentWarning]:
    """Return what may surprise the author of a resource's routes."""
    found: list[DocumentWarning] = []
    for position, route in enumerate(resource.routes):
        template = Template.parse(route.path)
        assert isinstance(template, Template), "routes are checked when their document is read"
        found += [
            DocumentWarning(
                WarningCode.PARAMETER_HAS_ONLY_LONG_FORM,
                f"/routes/{position}/path",
                f"'resource.{name}' is the resource's own; conditions reach this parameter as "
                f"'resource.parameters.{name}' only",
            )
            for name in template.names
            if name in RESERVED_PARAMETERS
        ]
        found += [
            DocumentWarning(WarningCode.LITERAL_LOOKS_LIKE_WILDCARD, f"/routes/{position}/path", message)
            for segment in template.segments
            if segment is not None and (message := _wildcard_problem(segment)) is not None
        ]
    return found


_LOOKS_LIKE_PARAMETER: Final = re.compile(r":\w.*|\$\w.*|.*\*.*|\(.*\)", re.ASCII | re.DOTALL)


def _wildcard_problem(segment: str) -> str | None:
    """Return what is to be said of a literal segment that looks like a wildcard of another router."""
    text = decode_segment(segment)
    if _LOOKS_LIKE_PARAMETER.fullmatch(text) is None:
        return None
    return (
        f"the segment {text!r} is literal and matches only itself; '{{name}}' is one segment, "
        "a final '/**' everything below"
    )


def default_roles_warnings(
    name: str, declared: Sequence[str], in_force: Sequence[str]
) -> list[DocumentWarning]:
    """Return what to say of a resource whose default roles in force are others than those declared."""
    missing = [role for role in declared if role not in in_force]
    kept = [role for role in in_force if role not in declared]
    said = [
        *([f"{_listed(missing)} declared and not in force"] if missing else []),
        *([f"{_listed(kept)} in force and no longer declared"] if kept else []),
    ]
    if not said:
        return []
    return [
        DocumentWarning(
            WarningCode.DEFAULT_ROLES_NOT_IN_FORCE,
            "/defaultRoles",
            f"{', '.join(said)}: default roles become role rules when a name is registered for the first "
            f"time; change the role rules on {shown(name)} instead (dom '*', "
            f"act {shown(default_action(name))})",
        )
    ]


def public_warning(name: str) -> DocumentWarning:
    """Return what to say of a resource that is declared public, and lacks one of the rules for it."""
    return DocumentWarning(
        WarningCode.PUBLIC_NOT_IN_FORCE,
        "/public",
        f"declared and not in force: an allow rule for '*' or 'anonymous' on {shown(name)} (dom '*', act "
        f"{shown(default_action(name))}) was deleted; write it again, or declare false and then true",
    )


def body_not_sent(pointer: str, reported: ReportedBodies, *, longest: int) -> list[DocumentWarning]:
    """Return what to say of an entry that reads bodies, where it is not known that bodies arrive.

    `longest` is CONDITION_BODY_MAX of this process, which counts where no sidecar reports. Nothing is said
    where all that report have had no check yet, or one of them does not say.
    """
    why = _why_no_body(reported, longest)
    if why is None:
        return []
    message = (
        f"it reads the body of requests, and {why}; without a body an allow never matches and a deny always "
        "does: see that the proxies send bodies (docs/gateways.md#bodies)"
    )
    return [DocumentWarning(WarningCode.BODY_NOT_SENT, pointer, message)]


def _why_no_body(reported: ReportedBodies, longest: int) -> str | None:
    if not reported.sidecars:
        return None if longest else "CONDITION_BODY_MAX=0: none is read"
    if reported.silent or reported.arrived:
        return None
    if reported.reading_none == reported.sidecars:
        return f"the sidecars that report ({reported.sidecars}) have CONDITION_BODY_MAX=0: none is read"
    if reported.unreadable:
        return (
            f"requests with a JSON or form body came to {reported.unreadable} of the sidecars that report "
            f"({reported.sidecars}), none with bytes that conditions can read"
        )
    if reported.without:
        return f"no sidecar that reports ({reported.sidecars}) has seen a request with a body yet"
    return None


def _listed(roles: Sequence[str]) -> str:
    named = ", ".join(map(shown, roles[:_NAMED]))
    more = f" and {len(roles) - _NAMED} more" if len(roles) > _NAMED else ""
    return f"{named}{more} {'is' if len(roles) == 1 else 'are'}"

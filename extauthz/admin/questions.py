"""The body of `POST /api/v1/check` (docs/reference/contract.md#check-by-name)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extauthz.admin.callers import Caller
from extauthz.admin.problems import ProblemDetails, forbidden, invalid
from extauthz.compile.fields import Fields
from extauthz.decide.by_name import NamedQuestion, read_one_name
from extauthz.decide.tokens.claims import ClaimRejected, freeze_claims, token_roles
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem

_MAX_REVISION: Final = 2**63 - 1
_USER_FIXED: Final = ("id", "kind", "tenant", "domain")
_RESOURCE_FIXED: Final = ("name", "service")


class SubjectKind(StrEnum):
    """What a subject may be that somebody else asks about."""

    USER = "user"
    SERVICE = "service"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Question:
    """What `principal` may do, by the policies of `min_revision` or later."""

    principal: Principal
    named: NamedQuestion
    min_revision: int


def read_question(
    document: object, caller: Caller, *, excluded_roles: frozenset[str]
) -> Question | ProblemDetails:
    """Read what the caller asks, judged by its rights: a bearer of a token asks about itself only."""
    problems: list[Problem] = []
    fields = Fields(document, "", problems)
    about_itself = caller.principal is not None
    subject = fields.text("subject", required=not about_itself)
    kind = fields.choice("subject_kind", SubjectKind, default=SubjectKind.USER)
    domain = read_one_name(fields, "domain", required=False)
    resource, action = read_one_name(fields, "resource"), read_one_name(fields, "action")
    min_revision = fields.integer("min_revision", default=0, lowest=0, highest=_MAX_REVISION)
    claims, parameters = _attributes(fields, problems, about_itself=about_itself)
    fields.done()
    if problems or resource is None or action is None or kind is None:
        return invalid(problems)
    if caller.principal is not None:
        principal = caller.principal
        if subject not in (None, principal.id) or kind.value != principal.kind.value:
            return forbidden("a caller with a token may ask about itself only: leave 'subject' out")
        if domain not in (None, principal.domain):
            return forbidden("a caller with a token may ask about its own domain only: leave 'domain' out")
        return Question(principal, NamedQuestion(resource, action, parameters), min_revision)
    roles = token_roles(claims, "roles", excluded=excluded_roles)
    if isinstance(roles, ClaimRejected):
        return invalid([Problem("/attributes/user/roles", roles.problem)])
    principal = Principal(
        kind=PrincipalKind(kind.value),
        id=subject,
        tenant=caller.tenant,
        domain=domain,
        roles=roles,
        authentication=Authentication.API_KEY,
        claims=freeze_claims(claims),
    )
    return Question(principal, NamedQuestion(resource, action, parameters), min_revision)


def _attributes(
    fields: Fields, problems: list[Problem], *, about_itself: bool
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return the claims and the route parameters that the caller says there are."""
    if not fields.has("attributes"):
        fields.get("attributes")
        return {}, {}
    given = Fields(fields.get("attributes"), fields.at("attributes"), problems)
    parameters = _members(given, "resource", problems, fixed=_RESOURCE_FIXED)
    if not about_itself:
        claims = _members(given, "user", problems, fixed=_USER_FIXED)
    else:
        claims = {}
        if given.has("user"):
            given.get("user")
            given.note("user", "a caller with a token has the claims of its token; leave it out")
    given.done()
    return claims, freeze_claims(parameters)


def _members(
    given: Fields, name: str, problems: list[Problem], *, fixed: tuple[str, ...]
) -> Mapping[str, object]:
    value = given.get(name)
    if not given.has(name):
        return {}
    members = Fields(value, given.at(name), problems)
    if not members.is_object:
        return {}
    for member in fixed:
        if members.has(member):
            members.note(member, "is not for the caller to say")
    assert isinstance(value, Mapping)
    return {str(member): entry for member, entry in value.items()}

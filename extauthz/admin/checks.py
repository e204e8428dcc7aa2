"""`POST /api/v1/check` and the older role-only check: the decision of the mesh, asked over REST."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.named_decisions import NOT_NOW, decided, excluded_roles, message_of, not_now
from extauthz.compile.fields import shown as quoted
from extauthz.decide.by_name import NamedQuestion
from extauthz.decide.tokens.claims import ClaimRejected, freeze_claims, token_roles
from extauthz.domain.policy import default_action
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.verdict import AllowedByName, NamedVerdict
from extauthz.domain.workload import peer_problem
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import also, answer
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import forbidden, invalid, unavailable
from extauthz.rest.services import AdminServices

_MIN_REVISION_WAIT_S: Final = 1.0
_MAX_REVISION: Final = 2**63 - 1
_ENTRANCE: Final = "rest"


class Attributes(doc.Model):
    """Attributes that conditions may compare."""

    resource: dict[str, Any] = doc.about(
        "route parameters; `name` and `service` are the resource's own", default={}
    )
    user: dict[str, Any] = doc.about(
        "claims of the subject, with `roles`; not for callers with a token", default={}
    )
    action: dict[str, Any] = doc.about("`action.properties.*`; no request of the mesh has them", default={})
    context: dict[str, Any] = doc.about("`context.*`; no request of the mesh has them", default={})


class CheckRequest(doc.BodyModel):
    """A question: may the subject do the action on the resource?"""

    subject: doc.Omissible[doc.Name] = doc.optional(
        "a caller with a token may leave it out, or name itself", "alice"
    )
    subject_kind: Literal["user", "service", "workload"] = "user"
    domain: doc.Omissible[doc.OneName] = doc.optional("the domain of the subject; never `*`")
    resource: doc.OneName = doc.about("the name of a resource", "invoice:read")
    action: doc.OneName = doc.about("the action", "read")
    min_revision: doc.NonNegative = doc.about(
        "decide under this revision or a later one; waits at most 1 s, then 503", default=0, le=_MAX_REVISION
    )
    attributes: Attributes = doc.example(
        {"resource": {"id": "4711"}},
        default=Attributes.model_construct(resource={}, user={}, action={}, context={}),
    )

    @classmethod
    def problems_in(cls, document: Mapping[str, object], ctx: RequestContext) -> list[Problem]:
        """Return what is wrong with the subject and the attributes of a question by this caller."""
        problems = subject_problems(document, ctx)
        attributes = document.get("attributes")
        if ctx.caller.principal is not None and isinstance(attributes, Mapping) and "user" in attributes:
            wanted = "a caller with a token has the claims of its token; leave it out"
            others = {**attributes, "user": None}
            problems.append(Problem("/attributes/user", wanted))
            return problems + attribute_problems({"attributes": others})
        return problems + attribute_problems(document)


def subject_problems(document: Mapping[str, object], ctx: RequestContext) -> list[Problem]:
    """Return what is wrong with the subject of a question; a caller with a token may leave it out."""
    own = ctx.caller.principal
    subject = document.get("subject", None if own is None else own.id)
    if own is None and "subject" not in document:
        return [Problem("/subject", "is missing, the subject to ask about is needed")]
    if (
        document.get("subject_kind") == PrincipalKind.WORKLOAD
        and isinstance(subject, str)
        and (problem := peer_problem(subject))
    ):
        return [Problem("/subject", f"found {quoted(subject)}, which {problem}")]
    return []


def attribute_problems(document: Mapping[str, object]) -> list[Problem]:
    """Return which attributes of a question are not the caller's to give."""
    attributes = document.get("attributes")
    if not isinstance(attributes, Mapping):
        return []
    return [
        *_set_by_server(attributes, "user", ("id", "kind", "tenant", "domain")),
        *_set_by_server(attributes, "resource", ("name", "service")),
    ]


def _set_by_server(attributes: Mapping[str, object], member: str, names: Sequence[str]) -> list[Problem]:
    given = attributes.get(member)
    return [
        Problem(f"/attributes/{member}/{name}", "is set by the server")
        for name in names
        if isinstance(given, Mapping) and name in given
    ]


class CheckDecision(doc.Model):
    """A decision."""

    refused_example: ClassVar = {
        "decision": "deny",
        "matched_rule_id": None,
        "reason": "no_matching_rule",
        "message": "no rule allows it",
    }
    decision: Literal["allow", "deny"] = doc.example("allow")
    matched_rule_id: str | None = doc.example(doc.EXAMPLE_ID)
    reason: str = doc.example("rule_matched", "no_matching_rule")
    message: str = doc.example("a rule allows it")
    decision_id: doc.RowId
    policy_revision: doc.NonNegative = doc.about("revision of the tenant's policies", 7)


class AccessRequest(doc.BodyModel):
    """A question about the default action of a resource."""

    name: doc.OneName = doc.about("the name of a resource", "invoice:read")


class AccessAnswer(doc.Model):
    """Whether role rules allow it."""

    authorized: doc.Flag = doc.example(True)


router: Final = APIRouter(tags=["Check"], route_class=Operation)


@router.post("/api/v1/check", **answer(CheckDecision, responses=also(403, CheckDecision)))
async def check(ctx: Annotated[RequestContext, requires(Permission.CHECK)], body: CheckRequest) -> Response:
    """Ask for a decision.

    Decided as in the mesh, and logged with entrance `rest`. A caller with a token asks about itself:
    `subject` and `domain`, when given, must be its own, and `attributes` may not have `user`. The
    admin key (selfhost), which has no subject of its own, may ask about any subject of the tenant, as
    service keys with the scope `check` may: then `subject` is required, and `attributes.user` has its
    claims, with `roles`.
    """
    services = ctx.services
    principal = _principal(ctx, body)
    if body.min_revision > 0 and not await services.wait_for(
        ctx.tenant, body.min_revision, _MIN_REVISION_WAIT_S
    ):
        raise unavailable(f"revision {body.min_revision} is not in effect here yet; try again")
    question = named_question(body.resource, body.action, body.attributes)
    verdict = _decided(services, ctx.tenant, principal, question)
    shown = {
        "decision": verdict.effect.value,
        "matched_rule_id": None if verdict.rule is None else verdict.rule.id,
        "reason": verdict.reason.value,
        "message": message_of(verdict.effect, verdict.reason),
        "decision_id": verdict.decision_id,
        "policy_revision": verdict.policies.revision,
    }
    return Reply(200 if isinstance(verdict, AllowedByName) else 403, shown).response()


def named_question(resource: str, action: str, attributes: Attributes | None) -> NamedQuestion:
    """Return the question with the attributes that the caller gives."""
    if attributes is None:
        return NamedQuestion(resource, action)
    return NamedQuestion(
        resource,
        action,
        freeze_claims(attributes.resource),
        action_properties=freeze_claims(attributes.action),
        context=freeze_claims(attributes.context),
    )


def _principal(ctx: RequestContext, body: CheckRequest) -> Principal:
    """Return the principal that the question is about: a caller with a token asks about itself only."""
    own = ctx.caller.principal
    if own is not None:
        if body.subject not in {None, own.id} or body.subject_kind != own.kind.value:
            raise forbidden("a caller with a token may ask about itself only: leave 'subject' out")
        if body.domain not in {None, own.domain}:
            raise forbidden("a caller with a token may ask about its own domain only: leave 'domain' out")
        return own
    assert body.subject is not None, "CheckRequest.problems_in"
    return named_principal(
        ctx,
        subject=body.subject,
        kind=body.subject_kind,
        domain=body.domain,
        claims=body.attributes.user,
    )


def named_principal(
    ctx: RequestContext, *, subject: str, kind: str, domain: str | None, claims: Mapping[str, Any]
) -> Principal:
    """Return a principal that the caller names, with the claims that it gives. Raises ProblemError 422."""
    roles = token_roles(claims, "roles", excluded=excluded_roles(ctx))
    if isinstance(roles, ClaimRejected):
        raise invalid([Problem("/attributes/user/roles", roles.problem)])
    return Principal(
        kind=PrincipalKind(kind),
        id=subject,
        tenant=ctx.tenant,
        domain=domain,
        roles=roles,
        authentication=Authentication.API_KEY,
        claims=freeze_claims(claims),
    )


_Own = Annotated[RequestContext, requires(Permission.OWN_ACCESS)]


@router.post("/api/v1/resources/access/check", **answer(AccessAnswer))
@router.post("/resources/access/check", **answer(AccessAnswer))
async def check_access(ctx: _Own, body: AccessRequest) -> Response:
    """Ask by roles alone, in the older way.

    Whether role rules let the caller with the token do the default action of a resource. Attribute policies
    are left out: `POST /api/v1/check` decides as the mesh does.
    """
    assert ctx.caller.principal is not None, "Permission.OWN_ACCESS"
    question = NamedQuestion(body.name, default_action(body.name), roles_only=True)
    verdict = _decided(ctx.services, ctx.tenant, ctx.caller.principal, question)
    return Reply(200, {"authorized": isinstance(verdict, AllowedByName)}).response()


def _decided(
    services: AdminServices, tenant: str, principal: Principal, question: NamedQuestion
) -> NamedVerdict:
    """Return the decision, which is counted and logged in every case. Raises `ProblemError` 503."""
    verdict = decided(services, tenant, principal, question, _ENTRANCE)
    if verdict.reason in NOT_NOW:
        raise not_now(verdict)
    return verdict

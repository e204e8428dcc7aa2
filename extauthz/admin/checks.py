"""`POST /api/v1/check` and the older role-only check: the same decision as in the mesh, asked over REST."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, assert_never

from extauthz.admin import examples
from extauthz.admin.operation import Answer, Call, Content, Operation, Reply, Who
from extauthz.admin.problems import ProblemDetails, invalid, unavailable
from extauthz.admin.questions import read_question
from extauthz.admin.services import AdminServices
from extauthz.compile.fields import Fields
from extauthz.decide.by_name import NamedQuestion, judge_by_name, read_one_name
from extauthz.domain.policy import default_action
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import AllowedByName, Denied, NamedVerdict

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

_MIN_REVISION_WAIT_S: Final = 1.0
_ENTRANCE: Final = "rest"
_NOT_NOW: Final = frozenset({Reason.NOT_READY, Reason.POLICY_STALE, Reason.OVERLOADED})


async def check(call: Call) -> Reply | ProblemDetails:
    """Decide what the caller asks: 200 for allow, 403 for deny, both with the decision."""
    assert call.body is not None
    services = call.services
    question = read_question(call.body.document, call.caller, excluded_roles=_excluded_roles(call))
    if isinstance(question, ProblemDetails):
        return question
    if question.min_revision > 0 and not await services.wait_for(
        call.tenant, question.min_revision, _MIN_REVISION_WAIT_S
    ):
        return unavailable(f"revision {question.min_revision} is not in effect here yet; try again")
    verdict = _decided(services, call.tenant, question.principal, question.named)
    if verdict.reason in _NOT_NOW:
        return _not_now(verdict)
    match verdict:
        case AllowedByName():
            status, message = HTTPStatus.OK, "a rule allows it"
        case Denied():
            status, message = HTTPStatus.FORBIDDEN, verdict.reason.text
        case _:
            assert_never(verdict)
    return Reply(
        status,
        {
            "decision": verdict.effect.value,
            "matched_rule_id": None if verdict.rule is None else verdict.rule.id,
            "reason": verdict.reason.value,
            "message": message,
            "decision_id": verdict.decision_id,
            "policy_revision": verdict.policies.revision,
        },
    )


async def check_access(call: Call) -> Reply | ProblemDetails:
    """Tell whether role rules alone let the caller do a resource's default action."""
    assert call.body is not None
    problems: list[Problem] = []
    fields = Fields(call.body.document, "", problems)
    name = read_one_name(fields, "name")
    fields.done()
    if problems or name is None:
        return invalid(problems)
    assert call.caller.principal is not None, "Who.BEARER"
    question = NamedQuestion(name, default_action(name), roles_only=True)
    verdict = _decided(call.services, call.tenant, call.caller.principal, question)
    if verdict.reason in _NOT_NOW:
        return _not_now(verdict)
    return Reply(HTTPStatus.OK, {"authorized": isinstance(verdict, AllowedByName)})


def _decided(
    services: AdminServices, tenant: str, principal: Principal, question: NamedQuestion
) -> NamedVerdict:
    """Return the decision, which is counted and in the log, whatever happens on the way to it."""
    check = services.recorder.begin(_ENTRANCE)
    verdict: NamedVerdict = Denied(
        check.decision_id, Reason.INTERNAL_ERROR, principal=principal, tenant=tenant
    )
    try:
        directory = services.policies.current()
        if (refusal := services.recorder.refusal(check)) is not None:
            verdict = refusal._replace(principal=principal, tenant=tenant)
        elif directory is None or tenant not in directory.snapshots:
            verdict = Denied(check.decision_id, Reason.NOT_READY, principal=principal, tenant=tenant)
        else:
            verdict = judge_by_name(
                directory,
                tenant,
                principal,
                question,
                max_staleness=services.max_staleness,
                decision_id=check.decision_id,
                now=check.now,
            )
    finally:
        services.recorder.end(check, verdict)
    return verdict


def _excluded_roles(call: Call) -> frozenset[str]:
    """Return the roles that would not count in a token of the tenant either."""
    issuers = call.services.keys.current().issuers.values()
    return frozenset(
        role
        for issuer in issuers
        if issuer.config.tenant == call.tenant
        for role in issuer.config.excluded_roles
    )


def _not_now(verdict: NamedVerdict) -> ProblemDetails:
    reason = verdict.reason
    return unavailable(reason.text, reason=reason.value, decision_id=verdict.decision_id)


_DENIED: Final = examples.CHECK_DECISION | {
    "decision": "deny",
    "matched_rule_id": None,
    "reason": Reason.NO_MATCHING_RULE.value,
    "message": Reason.NO_MATCHING_RULE.text,
}
_TAG: Final = "Check"

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/api/v1/check",
        name="check",
        tag=_TAG,
        who=Who.ASKER,
        handler=check,
        summary="Ask for a decision",
        description=(
            "Decided as in the mesh, and logged with entrance `rest`. A caller with a token asks about "
            "itself: `subject` and `domain`, when given, must be its own, and `attributes` may hold only "
            "`resource`. The admin key (selfhost), which has no subject of its own, may ask about any "
            "subject of the tenant, as service keys with the scope `check` do: then `subject` is required, "
            "and `attributes.user` holds its claims, with `roles`."
        ),
        body=Content("CheckRequest", examples.CHECK),
        answers=(
            Answer(HTTPStatus.OK, "Allowed", Content("CheckDecision", examples.CHECK_DECISION)),
            Answer(
                HTTPStatus.FORBIDDEN,
                "Denied, with the decision; or the caller may not ask this, as problem details",
                Content("CheckDecision", _DENIED),
            ),
        ),
    ),
    *(
        Operation(
            method="POST",
            path=f"{prefix}/resources/access/check",
            name=name,
            tag=_TAG,
            who=Who.BEARER,
            handler=check_access,
            summary="Ask by roles alone, in the older way",
            description=(
                "Whether role rules let the bearer of the token do the default action of a resource. "
                "Attribute policies are not looked at: `POST /api/v1/check` decides as the mesh does."
            ),
            body=Content("AccessRequest", {"name": "invoice:read"}),
            answers=(Answer(HTTPStatus.OK, "The answer", Content("AccessAnswer", {"authorized": True})),),
        )
        for prefix, name in (("/api/v1", "checkAccess"), ("", "checkAccessAlias"))
    ),
)

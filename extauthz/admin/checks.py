"""`POST /api/v1/check` and the older role-only check: the same decision as in the mesh, asked over REST."""

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extauthz.admin import examples
from extauthz.admin.operation import Answer, Call, Content, Operation, Reply, Who
from extauthz.admin.problems import ProblemDetails, invalid, unavailable
from extauthz.admin.questions import read_question
from extauthz.admin.services import AdminServices
from extauthz.compile.fields import Fields
from extauthz.decide.by_name import NamedQuestion, judge_by_name, read_one_name
from extauthz.domain.decision import Decision, Outcome, denied
from extauthz.domain.policy import default_action
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.settings import OverflowAction

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

_MIN_REVISION_WAIT_S: Final = 1.0
_ENTRANCE: Final = "rest"
_MESSAGES: Final = {
    Reason.NO_MATCHING_RULE: "no rule matches",
    Reason.CONDITION_UNKNOWN: "a deny rule could not be evaluated, so it denies",
    Reason.TENANT_SUSPENDED: "the tenant is suspended",
}
_UNAVAILABLE: Final = {
    Reason.NOT_READY: "no policies are loaded yet; try again",
    Reason.POLICY_STALE: "the policies have not been confirmed for too long; try again",
    Reason.OVERLOADED: "the decision log is full; try again",
}


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
    with _Decision(services, call.tenant) as deciding:
        outcome = deciding.made(question.principal, question.named)
    if outcome.decision.reason in _UNAVAILABLE:
        return _not_now(outcome)
    decision = outcome.decision
    status = HTTPStatus.OK if decision.allowed else HTTPStatus.FORBIDDEN
    return Reply(
        status,
        {
            "decision": decision.effect.value,
            "matched_rule_id": decision.rule_id,
            "reason": decision.reason.value,
            "message": _message(decision),
            "decision_id": outcome.decision_id,
            "policy_revision": outcome.revision,
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
    with _Decision(call.services, call.tenant) as deciding:
        outcome = deciding.made(call.caller.principal, question)
    if outcome.decision.reason in _UNAVAILABLE:
        return _not_now(outcome)
    return Reply(HTTPStatus.OK, {"authorized": outcome.decision.allowed})


class _Decision:
    """One decision with its slot in the log: counted and written on the way out, whatever happened inside."""

    def __init__(self, services: AdminServices, tenant: str) -> None:
        self._services = services
        self._tenant = tenant
        self._now = services.clock()
        self._id = services.new_id()
        self._outcome = Outcome(denied(Reason.INTERNAL_ERROR), self._id, tenant=tenant)

    def __enter__(self) -> "_Decision":
        self._started = time.perf_counter()
        self._reserved = self._services.decision_log.reserve()
        self._services.counts.began()
        return self

    def __exit__(self, *_: object) -> None:
        services = self._services
        duration_us = int((time.perf_counter() - self._started) * 1e6)
        services.counts.decided(self._outcome.decision, entrance=_ENTRANCE, duration_us=duration_us)
        if self._reserved:
            services.decision_log.write(
                self._outcome, ts=self._now, entrance=_ENTRANCE, duration_us=duration_us
            )
        else:
            services.decision_log.lost()

    def made(self, principal: Principal, question: NamedQuestion) -> Outcome:
        """Return the decision, a denial where there is nothing to decide by."""
        directory = self._services.policies.current()
        if not self._reserved and self._services.decision_log.on_overflow is OverflowAction.DENY:
            self._outcome = self._denied(Reason.OVERLOADED, principal)
        elif directory is None or self._tenant not in directory.snapshots:
            self._outcome = self._denied(Reason.NOT_READY, principal)
        else:
            self._outcome = judge_by_name(
                directory,
                self._tenant,
                principal,
                question,
                max_staleness=self._services.max_staleness,
                decision_id=self._id,
                now=self._now,
            )
        return self._outcome

    def _denied(self, reason: Reason, principal: Principal) -> Outcome:
        return Outcome(denied(reason), self._id, principal=principal, tenant=self._tenant)


def _excluded_roles(call: Call) -> frozenset[str]:
    """Return the roles that would not count in a token of the tenant either."""
    issuers = call.services.keys.current().issuers.values()
    return frozenset(
        role
        for issuer in issuers
        if issuer.config.tenant == call.tenant
        for role in issuer.config.excluded_roles
    )


def _not_now(outcome: Outcome) -> ProblemDetails:
    reason = outcome.decision.reason
    return unavailable(_UNAVAILABLE[reason], reason=reason.value, decision_id=outcome.decision_id)


def _message(decision: Decision) -> str:
    if decision.reason is Reason.RULE_MATCHED:
        return "a rule allows it" if decision.allowed else "a rule denies it"
    return _MESSAGES[decision.reason]


_DENIED: Final = examples.CHECK_DECISION | {
    "decision": "deny",
    "matched_rule_id": None,
    "reason": Reason.NO_MATCHING_RULE.value,
    "message": _MESSAGES[Reason.NO_MATCHING_RULE],
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

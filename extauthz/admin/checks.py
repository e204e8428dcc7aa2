"""`POST /api/v1/check` and the older role-only check: the same decision as in the mesh, asked over REST."""

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extauthz.admin import examples
from extauthz.admin.operation import Answer, Call, Content, Operation, Reply, Who
from extauthz.admin.problems import ProblemDetails, invalid, unavailable
from extauthz.admin.questions import Question, read_question
from extauthz.admin.services import AdminServices
from extauthz.compile.directory import Directory
from extauthz.compile.fields import Fields
from extauthz.compile.snapshot import Snapshot
from extauthz.decide import authorize
from extauthz.domain.decision import Decision, Outcome, RuleKind, Target, denied
from extauthz.domain.path import CanonicalPath, PathRejected
from extauthz.domain.policy import WILDCARD, default_action
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.settings import OverflowAction

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

_MIN_REVISION_WAIT_S: Final = 1.0
_ENTRANCE: Final = "rest"
_MESSAGES: Final = {
    Reason.NO_MATCHING_RULE: "no rule matches",
    Reason.CONDITION_UNKNOWN: "a deny rule could not be evaluated, so it denies",
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
        outcome = deciding.made(question, roles_only=False)
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
    name = fields.text("name")
    if name == WILDCARD:
        fields.note("name", "found '*', the name of one resource is needed")
    fields.done()
    if problems or name is None:
        return invalid(problems)
    assert call.caller.principal is not None, "Who.BEARER"
    question = Question(call.caller.principal, name, default_action(name), {}, 0)
    with _Decision(call.services, call.tenant) as deciding:
        outcome = deciding.made(question, roles_only=True)
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

    def made(self, question: Question, *, roles_only: bool) -> Outcome:
        """Return the decision; the last line of it is a deny."""
        directory = self._services.policies.current()
        snapshot = None if directory is None else directory.snapshots.get(self._tenant)
        if not self._reserved and self._services.decision_log.on_overflow is OverflowAction.DENY:
            self._outcome = self._denied(Reason.OVERLOADED, question.principal)
        elif directory is None or snapshot is None:
            self._outcome = self._denied(Reason.NOT_READY, question.principal)
        else:
            self._outcome = self._judged(question, directory, snapshot, roles_only=roles_only)
        return self._outcome

    def _denied(self, reason: Reason, principal: Principal) -> Outcome:
        return Outcome(denied(reason), self._id, principal=principal, tenant=self._tenant)

    def _judged(
        self, question: Question, directory: Directory, snapshot: Snapshot, *, roles_only: bool
    ) -> Outcome:
        confirmed = directory.confirmed(self._tenant)
        bound = self._services.max_staleness
        resource = snapshot.resources_by_name.get(question.resource)
        target = Target(
            tenant=self._tenant,
            resource=question.resource,
            action=question.action,
            service=None if resource is None else resource.service,
            parameters=question.parameters,
            authentication_optional=False,
            denied_as=() if resource is not None else _other_spellings(snapshot, question.resource),
        )
        roles: tuple[str, ...] = ()
        if bound is not None and self._now - confirmed > bound:
            decision = denied(Reason.POLICY_STALE)
        elif roles_only:
            decision, roles = _by_roles(snapshot, question, self._now)
        else:
            decision, roles = authorize.decide(
                snapshot, question.principal, target, request=None, method=None, now=self._now
            )
        return Outcome(
            decision=decision,
            decision_id=self._id,
            principal=question.principal,
            roles=roles,
            target=target,
            tenant=self._tenant,
            revision=snapshot.revision,
            epoch=directory.epoch,
            age_ms=max(0, int((self._now - confirmed) * 1000)),
        )


def _other_spellings(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """Return further names for denies where the resource is a path (`UNMAPPED=path`), as in the mesh."""
    path = CanonicalPath.parse(name)
    if isinstance(path, PathRejected) or path.text != name:
        return ()
    return snapshot.path_denies.other_spellings(name)


def _by_roles(snapshot: Snapshot, question: Question, now: float) -> tuple[Decision, tuple[str, ...]]:
    principal = question.principal
    subjects = snapshot.subjects(principal, now)
    found = snapshot.roles.decide(
        subjects.names,
        authenticated=principal.kind is not PrincipalKind.ANONYMOUS,
        dom=principal.domain,
        obj=question.resource,
        act=question.action,
    )
    if found is None:
        return denied(Reason.NO_MATCHING_RULE), subjects.roles
    return Decision(found.effect, Reason.RULE_MATCHED, found.rule_id, RuleKind.ROLE), subjects.roles


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

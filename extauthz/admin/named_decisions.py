"""Decisions about questions by name: judged as in the mesh, counted and logged, for every route that asks."""

from typing import Final

from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Denied, NamedVerdict
from extauthz.rest.context import RequestContext
from extauthz.rest.problems import ProblemError, unavailable
from extauthz.rest.services import AdminServices
from extauthz.telemetry.check_trace import DECIDE, decision_attributes
from extauthz.telemetry.spans import SpanKind, current_span, running

NOT_NOW: Final = frozenset({Reason.NOT_READY, Reason.POLICY_STALE, Reason.OVERLOADED})
"""The reasons of denials that are about the state of the service."""


def decided(
    services: AdminServices, tenant: str, principal: Principal | None, question: NamedQuestion, entrance: str
) -> NamedVerdict:
    """Return the decision, which is counted and logged in every case; `principal` as in `judge_by_name`."""
    around = current_span()
    with running(None if around is None else around.child(DECIDE, SpanKind.INTERNAL, {})) as span:
        verdict = _decided(services, tenant, principal, question, entrance)
        if span is not None:
            span.attributes |= decision_attributes(verdict, entrance)
    return verdict


def _decided(
    services: AdminServices, tenant: str, principal: Principal | None, question: NamedQuestion, entrance: str
) -> NamedVerdict:
    started = services.recorder.begin(entrance)
    verdict: NamedVerdict = Denied(
        started.decision_id, Reason.INTERNAL_ERROR, principal=principal, tenant=tenant
    )
    try:
        directory = services.policies.current()
        if (refusal := services.recorder.refusal(started)) is not None:
            verdict = refusal._replace(principal=principal, tenant=tenant)
        elif directory is None or tenant not in directory.snapshots:
            verdict = Denied(started.decision_id, Reason.NOT_READY, principal=principal, tenant=tenant)
        else:
            verdict = judge_by_name(
                directory,
                tenant,
                principal,
                question,
                max_staleness=services.max_staleness,
                decision_id=started.decision_id,
                now=started.now,
            )
    finally:
        services.recorder.end(started, verdict)
    return verdict


def message_of(effect: Effect, reason: Reason) -> str:
    """Return why a decision came out as it did, in words."""
    return "a rule allows it" if effect is Effect.ALLOW and reason is Reason.RULE_MATCHED else reason.text


def not_now(verdict: NamedVerdict) -> ProblemError:
    """Return 503 for a decision with one of the reasons `NOT_NOW`."""
    reason = verdict.reason
    return unavailable(reason.text, reason=reason.value, decision_id=verdict.decision_id)


def excluded_roles(ctx: RequestContext) -> frozenset[str]:
    """Return the roles that do not count in tokens of the tenant."""
    issuers = ctx.services.keys.current().issuers.values()
    return frozenset(
        role
        for issuer in issuers
        if issuer.config.tenant == ctx.tenant
        for role in issuer.config.excluded_roles
    )

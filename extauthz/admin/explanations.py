"""`POST /api/v1/explain`: why a decision came out as it did, on the policies of now or of earlier."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.checks import named_principal, named_question
from extauthz.admin.explained import explained, parameters_shown, plain
from extauthz.admin.explanation_models import ExplainRequest, ExplanationOut
from extauthz.admin.past_view import View, view_of
from extauthz.compile.directory import Directory
from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.decide.explanation import Explanation, explain
from extauthz.decide.line_question import BY_RULES, LineQuestion, is_by_rules, question_of
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Reason
from extauthz.domain.time_text import rfc3339
from extauthz.domain.verdict import Grant, Target
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import Permission, sees_decisions_of
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import forbidden, invalid, not_found
from extauthz.storage.rows import Document

REASONS: Final = {reason.value: reason for reason in Reason}


router: Final = APIRouter(tags=["Check"], route_class=Operation)
ReadsDecisions = Annotated[RequestContext, requires(Permission.DECISIONS_READ)]


@router.post("/api/v1/explain", **answer(ExplanationOut, responses={404: {}}))
async def explain_decision(ctx: ReadsDecisions, body: ExplainRequest) -> Response:
    """Explain a decision.

    A question is decided by the policies of now, or of `at`; nothing is logged. A line is explained on the
    policies of its revision. The answer has the deciding rule, every candidate with each condition's outcome
    and the value it saw, the roles with the bindings and links that gave them, and the allow that nearly
    matched. Domain admins ask about principals of their domains; of rules and bindings for `*` they see the
    outcome only.
    """
    if body.line is not None:
        return Reply(200, await _of_line(ctx, body.line, body)).response()
    principal = _principal(ctx, body)
    if not sees_decisions_of(ctx.caller, principal.domain):
        raise forbidden("a domain admin may ask about principals of its own domains only: name one of them")
    assert body.resource is not None, "ExplainRequest.problems_in"
    assert body.action is not None, "ExplainRequest.problems_in"
    view = await view_of(ctx, body.at)
    question = named_question(body.resource, body.action, body.attributes)
    return Reply(200, await _of_question(ctx, view, principal, question)).response()


def _principal(ctx: RequestContext, body: ExplainRequest) -> Principal:
    """Return the principal that the question names; a caller with a token may ask about itself."""
    own = ctx.caller.principal
    claims = {} if body.attributes is None else body.attributes.user
    if body.subject is not None:
        kind = body.subject_kind or PrincipalKind.USER.value
        return named_principal(ctx, subject=body.subject, kind=kind, domain=body.domain, claims=claims)
    assert own is not None, "subject_problems"
    given = [name for name in ("subject_kind", "domain") if name in body.model_fields_set]
    if given or claims:
        pointers = [f"/{name}" for name in given] + (["/attributes/user"] if claims else [])
        raise invalid(
            Problem(pointer, "is for a question about another subject: name it") for pointer in pointers
        )
    return own


async def _of_question(
    ctx: RequestContext, view: View, principal: Principal, question: NamedQuestion
) -> Document:
    directory = Directory(
        mode=ctx.services.mode,
        snapshots={ctx.tenant: view.snapshot},
        confirmed_at=view.now,
        suspended=frozenset({ctx.tenant} if view.suspended else ()),
    )
    verdict = judge_by_name(
        directory, ctx.tenant, principal, question, max_staleness=None, decision_id="", now=view.now
    )
    explanation = None
    if verdict.reason in BY_RULES and verdict.target is not None:
        explanation = await asyncio.to_thread(
            explain, view.snapshot, principal, verdict.target, None, None, view.now
        )
    decided = {
        "decision": verdict.effect.value,
        "reason": verdict.reason.value,
        "message": message_of(verdict.reason),
        "matched_rule_id": None if verdict.rule is None else verdict.rule.id,
        "recorded": None,
        "agrees": None,
    }
    return decided | answer_of(ctx, view, principal, verdict.target, explanation)


async def _of_line(ctx: RequestContext, line: Mapping[str, Any], body: ExplainRequest) -> Document:
    if line["tenant"] != ctx.tenant or not sees_decisions_of(ctx.caller, line["domain"]):
        raise not_found("there is no such decision")
    when = line["policy_revision"] if body.at is None else body.at
    if when is None:
        raise invalid([Problem("/line/policy_revision", "is null: no policies decided; its reason says why")])
    view = await view_of(ctx, when, line)
    attributes = body.attributes
    given = frozenset() if attributes is None else attributes.model_fields_set
    asked: LineQuestion | None = None
    explanation: Explanation | None = None
    decided: Document = {name: line[name] for name in ("decision", "reason", "matched_rule_id")}
    if is_by_rules(line):
        asked = question_of(
            line,
            view.snapshot,
            claims=attributes.user if attributes is not None and "user" in given else None,
            parameters=attributes.resource if attributes is not None and "resource" in given else None,
            action_properties=attributes.action if attributes is not None and "action" in given else None,
            context=attributes.context if attributes is not None and "context" in given else None,
        )
        explanation = await asyncio.to_thread(
            explain,
            view.snapshot,
            asked.principal,
            asked.target,
            asked.request,
            asked.method,
            asked.now,
            is_recorded=asked.is_recorded,
        )
        decided = decided_by(explanation)
    recorded = {name: line[name] for name in ("decision_id", "ts", "decision", "reason", "matched_rule_id")}
    agrees = None
    if explanation is not None and explanation.certain:
        agrees = all(decided[name] == recorded[name] for name in decided)
    shown = answer_of(
        ctx,
        View(
            view.snapshot,
            view.suspended,
            view.now if asked is None else asked.now,
            view.policies,
            (*view.notes, *(() if asked is None else asked.notes)),
        ),
        None if asked is None else asked.principal,
        None if asked is None else asked.target,
        explanation,
    )
    message = {"message": message_of(REASONS[str(decided["reason"])])}
    return decided | message | {"recorded": recorded, "agrees": agrees} | shown


def decided_by(explanation: Explanation) -> Document:
    """Return what the rules decide, as the answer has it."""
    decision = explanation.decision
    is_allow = isinstance(decision, Grant)
    return {
        "decision": "allow" if is_allow else "deny",
        "reason": Reason.RULE_MATCHED.value if isinstance(decision, Grant) else decision.reason.value,
        "matched_rule_id": None if decision.rule is None else decision.rule.id,
    }


def answer_of(
    ctx: RequestContext,
    view: View,
    principal: Principal | None,
    target: Target | None,
    explanation: Explanation | None,
    *,
    rules_asked: bool = False,
) -> Document:
    """Return the members of the answer that say why; there may be no explanation though rules were asked."""
    notes = list(view.notes)
    if explanation is None:
        if not rules_asked:
            notes.append("the decision was made before rules were asked: there are no candidates")
        details: Document = {
            "certain": True, "roles": [], "expired_bindings": [], "candidates": [], "candidates_left_out": 0,
            "near_miss": None,
        }  # fmt: skip
    else:
        details = explained(explanation, lambda domain: sees_decisions_of(ctx.caller, domain))
        if not explanation.certain:
            notes.append("a value that was not recorded could change the decision: see not_recorded")
    return {
        "time": rfc3339(datetime.fromtimestamp(view.now, UTC)),
        "policies": view.policies,
        "principal": None
        if principal is None
        else {
            "id": principal.id,
            "kind": principal.kind.value,
            "domain": principal.domain,
            "roles": [] if explanation is None else [origin.role for origin in explanation.roles],
        },
        "target": None
        if target is None
        else {
            "resource": plain(target.resource),
            "action": plain(target.action),
            "parameters": parameters_shown(target.parameters),
        },
        **details,
        "notes": notes,
    }


def message_of(reason: Reason) -> str:
    """Return a reason in words."""
    return "a rule allows it" if reason is Reason.RULE_MATCHED else reason.text

"""`POST /api/v1/explain`: why a decision came out as it did, on the policies of now or of earlier."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.checks import named_principal, named_question
from extauthz.admin.explained import DECISION, answer_of, decided_by, decision_json
from extauthz.admin.explanation_models import ExplainRequest, ExplanationOut
from extauthz.admin.past_view import View, view_of
from extauthz.compile.directory import Directory
from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.decide.explanation import explain
from extauthz.decide.line_question import BY_RULES, is_by_rules, question_of
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import sees_decisions_of
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import DecisionReads, Operation
from extauthz.rest.problems import forbidden, invalid, not_found
from extauthz.storage.rows import Document

router: Final = APIRouter(tags=["Check"], route_class=Operation)


@router.post("/api/v1/explain", **answer(ExplanationOut, responses={404: {}}))
async def explain_decision(ctx: DecisionReads, body: ExplainRequest) -> Response:
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
    decided = decision_json(verdict.effect, verdict.reason, verdict.rule)
    return answer_of(ctx, view, decided, principal, verdict.target, explanation)


async def _of_line(ctx: RequestContext, line: Mapping[str, Any], body: ExplainRequest) -> Document:
    if line["tenant"] != ctx.tenant or not sees_decisions_of(ctx.caller, line["domain"]):
        raise not_found("there is no such decision")
    when = line["policy_revision"] if body.at is None else body.at
    if when is None:
        raise invalid([Problem("/line/policy_revision", "is null: no policies decided; its reason says why")])
    view = await view_of(ctx, when, line)
    before: Document = {name: line[name] for name in DECISION}
    recorded = before | {name: line[name] for name in ("decision_id", "ts")}
    if not is_by_rules(line):
        return answer_of(ctx, view, before, None, None, None, recorded=recorded)
    given = {} if body.attributes is None else body.attributes.model_dump(exclude_unset=True)
    asked = question_of(
        line,
        view.snapshot,
        claims=given.get("user"),
        parameters=given.get("resource"),
        action_properties=given.get("action"),
        context=given.get("context"),
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
    return answer_of(
        ctx,
        replace(view, now=asked.now, notes=(*view.notes, *asked.notes)),
        decided,
        asked.principal,
        asked.target,
        explanation,
        recorded=recorded,
        agrees=decided == before if explanation.certain else None,
    )

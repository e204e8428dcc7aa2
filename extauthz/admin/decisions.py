"""`GET /api/v1/decisions/{id}`: a recorded decision, explained on the policies that made it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.explained import answer_of, decided_by, decision_json
from extauthz.admin.explanation_models import ExplanationOut
from extauthz.admin.past_view import View, view_of
from extauthz.domain.time_text import rfc3339
from extauthz.recording.bounds import KEPT_ALLOWS, KEPT_DENIES
from extauthz.recording.explain_shape import ExplainedShape, explain_shape
from extauthz.recording.not_known import NotKnown
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import recorded_domains
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import DecisionReads, Operation
from extauthz.rest.problems import not_found
from extauthz.storage import recorded_shapes
from extauthz.storage.recorded_shapes import Recorded
from extauthz.storage.rows import Document

router: Final = APIRouter(tags=["Check"], route_class=Operation)


@router.get("/api/v1/decisions/{id}", **answer(ExplanationOut))
async def explain_recorded_decision(ctx: DecisionReads) -> Response:
    """Explain a recorded decision.

    Each recorded shape keeps the ids of its last 16 denies and 4 allows; any other id is 404, and its line
    can be posted to `/api/v1/explain`. Values that were not recorded are `not_recorded`.
    """
    decision_id, recorded, moment = await recorded_decision(ctx)
    revision = dict(recorded.tally.decisions)[str(decision_id)]
    view = await view_of(ctx, revision)
    found = await asyncio.to_thread(explain_shape, recorded.shape, view.snapshot, moment.timestamp())
    return Reply(200, _answer(ctx, view, recorded, decision_id, moment, found)).response()


def _answer(
    ctx: RequestContext,
    view: View,
    recorded: Recorded,
    decision_id: UUID,
    moment: datetime,
    found: ExplainedShape,
) -> Document:
    shape, outcome = recorded.shape, found.answer
    before = decided = decision_json(shape.effect, shape.reason, shape.rule)
    notes = view.notes
    is_certain = True
    if found.explanation is not None:
        decided, is_certain = decided_by(found.explanation), found.explanation.certain
    elif isinstance(outcome, NotKnown):
        is_certain = False
        notes += (f"{outcome.slot} is {outcome.state.value}: what is decided depends on it",)
    else:
        decided = decision_json(outcome.effect, outcome.reason, outcome.rule)
    shown = answer_of(
        ctx,
        replace(view, now=moment.timestamp(), notes=notes),
        decided,
        found.principal,
        found.target,
        found.explanation,
        recorded=before | {"decision_id": str(decision_id), "ts": rfc3339(moment)},
        agrees=decided == before if is_certain else None,
        rules_asked=isinstance(outcome, NotKnown),
    )
    return shown | {"certain": is_certain}


async def recorded_decision(ctx: RequestContext) -> tuple[UUID, Recorded, datetime]:
    """Return the decision that the path names: its id, what is recorded of it, and when it was made.

    Raises ProblemError: 404 for one that the caller may not see, or whose id is not kept.
    """
    decision_id = ctx.row_id("recorded decision")
    domains = recorded_domains(ctx.caller)
    recorded = await ctx.read(
        lambda connection: recorded_shapes.shape_of_decision(connection, ctx.tenant, decision_id, domains)
    )
    if recorded is None:
        raise not_found(
            f"the decision {decision_id} is not recorded: of each shape the ids of the last {KEPT_DENIES} "
            f"denies and {KEPT_ALLOWS} allows are kept; post its line to /api/v1/explain"
        )
    # A UUIDv7 (RFC 9562 5.7) begins with the milliseconds of its time.
    return decision_id, recorded, datetime.fromtimestamp((decision_id.int >> 80) / 1000, UTC)

"""`POST /api/v1/decisions/{id}/test`: a policy test of a recorded decision."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.decisions import recorded_decision
from extauthz.admin.past_view import view_of
from extauthz.admin.policy_tests import PATH, TESTS, Expectation, PolicyTestDocument, PolicyTestOut
from extauthz.cases.recorded_case import NoCaseError, case_of
from extauthz.domain.problem import Problem
from extauthz.domain.time_text import rfc3339
from extauthz.recording.explain_shape import explain_shape
from extauthz.recording.not_known import NotKnown
from extauthz.recording.shape import BODY, MCP_METHOD, MCP_NAME
from extauthz.rest import documents as doc
from extauthz.rest.answers import row_reply
from extauthz.rest.openapi import created
from extauthz.rest.operation import Operation, TenantCreates
from extauthz.rest.problems import invalid
from extauthz.storage import policy_tests
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change


class DecisionTest(doc.BodyModel):
    """What to make of a recorded decision."""

    name: doc.Name | None = doc.optional(
        "of the test; left out: `decision` with the id", "the audited invoice"
    )
    expect: doc.Omissible[Expectation] = doc.optional(
        "left out: the decision as it was recorded", {"decision": "deny"}
    )


_OF_BODIES: Final = (BODY, MCP_METHOD, MCP_NAME)
router: Final = APIRouter(tags=["Policy tests"], route_class=Operation)


@router.post("/api/v1/decisions/{id}/test", **created(PolicyTestOut))
async def create_test_of_decision(ctx: TenantCreates, body: DecisionTest | None = None) -> Response:
    """Make a policy test of a recorded decision.

    It has the caller and the request as they were recorded, at the time of the decision, and expects the
    same decision unless `expect` says otherwise. 404 for a decision whose id is not kept; 422 where a part
    of the request was not kept, or a credential was refused. Bodies are never kept, but for the method and
    name of an MCP message, which the test has: 422 where the policies of now read more of one.
    """
    ctx.check_precondition(None)
    decision_id, found, moment = await recorded_decision(ctx)
    view = await view_of(ctx, None)
    explained = await asyncio.to_thread(explain_shape, found.shape, view.snapshot, moment.timestamp())
    lacks = explained.answer.slot if isinstance(explained.answer, NotKnown) else ""
    if lacks.startswith(_OF_BODIES):
        raise invalid([Problem("", f"no test can be made of this decision: {lacks} was not kept")])
    name = None if body is None else body.name
    try:
        case: dict[str, Any] = case_of(
            found.shape, name=name or f"decision {decision_id}", now=rfc3339(moment)
        )
    except NoCaseError as error:
        raise invalid([Problem("", f"no test can be made of this decision: {error}")]) from None
    if body is not None and body.expect is not None:
        case["expect"] = body.expect.model_dump(exclude_unset=True)
    test = doc.validate(PolicyTestDocument.model_validate, case, ctx)

    async def work(change: Change) -> Stored:
        await ctx.check_quota(change, policy_tests.TABLE, 1)
        return await TESTS.insert(ctx, change, test)

    return await ctx.write(work, row_reply(201, location=PATH), apart=policy_tests.TABLE.name)

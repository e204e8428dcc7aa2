"""`POST /api/v1/drafts/{id}/approve`: another tenant admin than the authors agrees to a draft."""

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.audit import ActorOut
from extauthz.admin.drafts import PATH, draft_of
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, members_of, written_headers
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import accepted
from extauthz.storage import draft_approvals

_COMMENT: Final = "seen with the owners of billing"


class ApprovalDocument(doc.BodyModel):
    """An approval."""

    comment: doc.Text = doc.about("why it is right", _COMMENT, min_length=1, max_length=1024)


class ApprovalOut(doc.Warned):
    """An approval, and what it holds for: another version, live revision or replay voids it."""

    approved_by: ActorOut
    comment: str = doc.example(_COMMENT)
    version: doc.Positive = doc.about("the version of the draft", 3)
    draft_digest: str = doc.example("0" * 64)
    live_revision: doc.NonNegative = doc.example(7)
    replay: doc.RowId
    created_at: doc.Time


router: Final = APIRouter(prefix=PATH, tags=["Drafts"], route_class=Operation)


@router.post("/{id}/approve", **written(ApprovalOut, 409))
async def approve_draft(
    ctx: Annotated[RequestContext, requires(Permission.DRAFTS_APPROVE, conditional=True)],
    body: ApprovalDocument,
) -> Response:
    """Approve a draft, for a tenant with a change guard.

    By a tenant admin with a token that is not an author of the draft; the admin key and service keys do not
    approve. It holds for the draft as it is, the present live revision and the last replay; 409
    `replay_required` where that was not made for them.
    """
    services = ctx.services
    found = await draft_approvals.approve(
        services.pool,
        ctx.tenant,
        ctx.caller.actor,
        draft_of(ctx),
        comment=body.comment,
        check=ctx.check_draft,
        new_id=services.new_id,
    )
    approval, version = accepted(found)
    shown = members_of(ApprovalOut, approval, approved_by=approval.actor, replay=str(approval.replay_id))
    return Reply(200, shown, written_headers(approval.live_revision, version)).response()

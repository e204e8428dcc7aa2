"""`/admin/session`: sessions of the operator, short-lived tokens in place of the admin key on `/admin`.

A session is ended by an event in the installation's audit trail that names it, or by a later event that names
no session.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.domain.time_text import rfc3339
from extauthz.keys.session_tokens import issue
from extauthz.rest.answers import Reply
from extauthz.rest.authentication import CallerKind
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.documents import EXAMPLE_ID, Model, RowId, Time, about, example
from extauthz.rest.openapi import answer, deleted
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import accepted
from extauthz.storage import audit
from extauthz.storage.audit import ADMIN_SESSION, INSTALLATION, Occurrence


class AdminSessionOut(Model):
    """A session with its token."""

    id: RowId
    token: str = about("in this answer only", f"eas_{EXAMPLE_ID.replace('-', '')}_1790000000_{'0' * 64}")
    token_type: str = example("Bearer")
    expires_at: Time


router: Final = APIRouter(prefix="/admin/session", tags=["Operator"], route_class=Operation)


@router.post("", **answer(AdminSessionOut, status=201))
async def begin_admin_session(
    ctx: Annotated[RequestContext, requires(Permission.ADMIN_KEY, conditional=False, creating=True)],
) -> Response:
    """Begin a session of the operator.

    A token for `Authorization: Bearer` on `/admin`, valid for 15 minutes. It is signed with a key derived
    from `ADMIN_API_KEY`: another admin key ends every session.
    """
    services = ctx.services
    assert services.admin_api_key is not None, "the caller presented it"
    token, session = issue(services.admin_api_key, services.new_id(), services.clock())
    await _record(ctx, "create", str(session.id))
    return Reply(
        201,
        {
            "id": str(session.id),
            "token": token,
            "token_type": "Bearer",
            "expires_at": rfc3339(datetime.fromtimestamp(session.expires_at, UTC)),
        },
    ).response()


@router.delete("", **deleted(revisioned=False))
async def end_admin_session(ctx: Annotated[RequestContext, requires(Permission.OPERATOR)]) -> Response:
    """End the calling session; with the admin key, every session.

    A session that has ended is an invalid credential.
    """
    session_id = ctx.caller.actor.id if ctx.caller.kind is CallerKind.SESSION else None
    await _record(ctx, "delete", session_id)
    return Reply(204).response()


async def _record(ctx: RequestContext, action: str, session_id: str | None) -> None:
    event = Occurrence(ctx.services.new_id(), ctx.caller.actor.document(), action, ADMIN_SESSION, session_id)
    once = ctx.once(None, tenant=INSTALLATION)
    accepted(await audit.record(ctx.services.pool, INSTALLATION, [event], once=once))

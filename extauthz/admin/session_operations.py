"""`/admin/session`: sessions of the operator, begun and ended with the admin key."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from extauthz.admin import examples, sessions
from extauthz.admin.callers import CallerKind
from extauthz.admin.operation import Answer, Call, Content, Operation, Reply, Who
from extauthz.admin.problems import ProblemDetails, of_refusal
from extauthz.storage import audit
from extauthz.storage.audit import ADMIN_SESSION, INSTALLATION, Occurrence
from extauthz.storage.rows import rfc3339

PATH: Final = "/admin/session"


async def begin(call: Call) -> Reply | ProblemDetails:
    """Begin a session."""
    services = call.services
    assert services.admin_api_key is not None, "the caller presented it"
    token, session = sessions.issue(services.admin_api_key, services.new_id(), services.clock())
    if refusal := await _record(call, "create", str(session.id)):
        return refusal
    return Reply(
        HTTPStatus.CREATED,
        {
            "id": str(session.id),
            "token": token,
            "token_type": "Bearer",
            "expires_at": rfc3339(datetime.fromtimestamp(session.expires_at, UTC)),
        },
    )


async def end(call: Call) -> Reply | ProblemDetails:
    """End the session that calls; with the admin key, every session."""
    session_id = call.caller.actor.id if call.caller.kind is CallerKind.SESSION else None
    return await _record(call, "delete", session_id) or Reply(HTTPStatus.NO_CONTENT)


async def _record(call: Call, action: str, session_id: str | None) -> ProblemDetails | None:
    occurrence = Occurrence(
        call.services.new_id(), call.caller.actor.document(), action, ADMIN_SESSION, session_id
    )
    refusal = await audit.record(call.services.pool, INSTALLATION, [occurrence])
    return None if refusal is None else of_refusal(refusal)


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="beginAdminSession",
        tag="Operator",
        who=Who.ADMIN_KEY,
        handler=begin,
        summary="Begin a session of the operator",
        description=(
            f"A token for `Authorization: Bearer` on `/admin`, good for {sessions.LIFETIME_S // 60} minutes. "
            "It is signed with a key derived from `ADMIN_API_KEY`: another admin key ends every session."
        ),
        answers=(Answer(HTTPStatus.CREATED, "The session", Content("AdminSession", examples.ADMIN_SESSION)),),
    ),
    Operation(
        method="DELETE",
        path=PATH,
        name="endAdminSession",
        tag="Operator",
        who=Who.OPERATOR,
        handler=end,
        summary="End the session that calls; with the admin key, every session",
        answers=(Answer(HTTPStatus.NO_CONTENT, "It has ended"),),
    ),
)

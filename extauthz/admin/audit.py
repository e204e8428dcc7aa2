"""`/api/v1/audit`: the audit trail: actor, change, before and after, revision; newest first."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import Response

from extauthz.domain.time_text import parse_time
from extauthz.rest import documents as doc
from extauthz.rest.answers import members_of
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import listed
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import PageQuery
from extauthz.storage import audit


class ActorOut(doc.Model):
    """The caller that made a change."""

    kind: str = doc.example("user", "admin_key")
    id: str = doc.example("alice")
    domain: str | None
    request_id: str | None
    draft: doc.Omissible[str] = doc.optional("the draft in which the change was made; left out: none")
    published_by: doc.Omissible[dict[str, Any]] = doc.optional("the caller that published the draft")


class AuditEventOut(doc.Model):
    """One change of one row."""

    id: doc.RowId
    at: doc.Time
    revision: doc.NonNegative | None = doc.example(7)
    actor: ActorOut
    action: str = doc.example("create", "update", "delete", "restore")
    kind: str = doc.example("role_rule", "attribute_policy")
    entity_id: str | None = doc.example(doc.EXAMPLE_ID)
    before: Any = doc.about("the document before the change; null: there was none")
    after: Any = doc.about("the document after the change; null: there is none", {"sub": "finance"})


def _time(text: object) -> object:
    moment = parse_time(text)
    if moment is None:
        raise doc.refused("must be an RFC 3339 time such as 2026-01-31T08:00:00Z (a '+' is written %2B)")
    return moment


_QueryTime = Annotated[
    datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})
]


class AuditFilter(PageQuery):
    """Which events to list."""

    entity_id: doc.Name | None = doc.optional("only events of this object")
    kind: doc.Name | None = doc.optional("only events of this kind of object, such as `role_rule`")
    actor: doc.Name | None = doc.optional("only changes by this actor: the `id` of `actor`")
    since: _QueryTime | None = doc.optional("only events at this time or later (RFC 3339)")
    until: _QueryTime | None = doc.optional("only events before this time (RFC 3339)")

    @field_validator("until")
    @classmethod
    def _after_since(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if until is not None and since is not None and until <= since:
            raise doc.refused("must be after 'since'; it is exclusive")
        return until


router: Final = APIRouter(tags=["Audit"], route_class=Operation)


@router.get("/api/v1/audit", **listed(AuditEventOut))
async def list_audit_events(
    ctx: Annotated[RequestContext, requires(Permission.AUDIT_READ)], query: Annotated[AuditFilter, Query()]
) -> Response:
    """List the audit trail, newest first. All filters can be combined."""
    return await ctx.page_of(query, "audit", audit.page, partial(members_of, AuditEventOut))

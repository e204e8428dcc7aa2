"""`/api/v1/audit`: the audit trail: actor, change, before and after, revision; newest first."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import Response

from extauthz.admin.authorization import Permission
from extauthz.admin.context import RequestContext, Route, list_of, requires
from extauthz.admin.documents import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    Integer,
    Model,
    Name,
    RowId,
    Time,
    about,
    refused,
)
from extauthz.admin.openapi import listed, op
from extauthz.admin.pagination import PageQuery
from extauthz.compile.values import parse_time
from extauthz.storage import audit
from extauthz.storage.rows import rfc3339


class Actor(Model):
    """The caller that made a change."""

    kind: Annotated[str, Field(examples=["user", "admin_key"])]
    id: str
    domain: str | None
    request_id: str | None


class AuditEventOut(Model):
    """One change of one row."""

    example: ClassVar = {
        "id": EXAMPLE_ID,
        "at": EXAMPLE_TIME,
        "revision": 7,
        "actor": {"kind": "user", "id": "alice", "domain": None, "request_id": None},
        "action": "create",
        "kind": "role_rule",
        "entity_id": EXAMPLE_ID,
        "before": None,
        "after": {"id": EXAMPLE_ID, "sub": "finance"},
    }
    id: RowId
    at: Time
    revision: Annotated[Integer, Field(ge=0)] | None
    actor: Actor
    action: Annotated[str, Field(examples=["create", "update", "delete", "restore"])]
    kind: Annotated[str, Field(examples=["role_rule", "attribute_policy"])]
    entity_id: str | None
    before: Annotated[Any, about("the document before the change; null: there was none")]
    after: Annotated[Any, about("the document after the change; null: there is none")]


def _time(text: object) -> object:
    moment = parse_time(text) if isinstance(text, str) else None
    if moment is None:
        raise refused("must be an RFC 3339 time such as 2026-01-31T08:00:00Z (a '+' is written %2B)")
    return moment


_QueryTime = Annotated[
    datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})
]


class AuditFilter(PageQuery):
    """Which events to list."""

    entity_id: Annotated[Name | None, about("only events of this object")] = None
    kind: Annotated[Name | None, about("only events of this kind of object, such as `role_rule`")] = None
    actor: Annotated[Name | None, about("only changes by this actor: the `id` of `actor`")] = None
    since: Annotated[_QueryTime | None, about("only events at this time or later (RFC 3339)")] = None
    until: Annotated[_QueryTime | None, about("only events before this time (RFC 3339)")] = None

    @field_validator("until")
    @classmethod
    def _after_since(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if until is not None and since is not None and until <= since:
            raise refused("must be after 'since'; it is exclusive")
        return until


router: Final = APIRouter(tags=["Audit"], route_class=Route)


@router.get("/api/v1/audit", **op(listed(AuditEventOut)))
async def list_audit_events(
    ctx: Annotated[RequestContext, requires(Permission.AUDIT_READ)], query: Annotated[AuditFilter, Query()]
) -> Response:
    """List the audit trail, newest first. All filters can be combined."""
    position = query.position(f"{ctx.tenant} audit")
    filters: dict[str, Any] = query.filters()
    page = await ctx.read(
        lambda connection: audit.page(
            connection, ctx.tenant, **filters, after=position.after, limit=position.limit
        )
    )
    return list_of(
        [asdict(event) | {"at": rfc3339(event.at)} for event in page.items], position.cursor(page.next)
    )

"""`/api/v1/change-guard`: what stands between a change of a tenant's policies and its being live."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, tenant_headers
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import found, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.preconditions import entity_tag
from extauthz.rest.problems import precondition_failed
from extauthz.storage import change_guards
from extauthz.storage.change_guards import Guard
from extauthz.storage.rows import Document
from extauthz.storage.write import Change

PATH: Final = "/api/v1/change-guard"
_DEFAULTS: Final[Document] = {"tests": "publish"}


class ChangeGuardDocument(doc.BodyModel):
    """The settings of a tenant for changes."""

    tests: Annotated[
        Literal["publish", "every_write"],
        doc.about(
            "when policy tests run: for drafts that are published, or for direct writes, too", "publish"
        ),
    ] = "publish"


class ChangeGuardOut(ChangeGuardDocument, doc.Warned):
    """The settings of a tenant for changes, those that were not set with their defaults."""


router: Final = APIRouter(prefix=PATH, tags=["Change guard"], route_class=Operation)


def _shown(guard: Guard) -> Document:
    return _DEFAULTS | dict(guard.document)


@router.get("", **found(ChangeGuardOut))
async def get_change_guard(
    ctx: Annotated[RequestContext, requires(Permission.TENANT)],
) -> Response:
    """Get the settings of the tenant for changes."""
    guard = await ctx.read(lambda connection: change_guards.get(connection, ctx.tenant))
    return Reply(200, _shown(guard), {"ETag": entity_tag(guard.revision)}).response()


@router.put("", **written(ChangeGuardOut))
async def replace_change_guard(
    ctx: Annotated[RequestContext, requires(Permission.TENANT, conditional=True)], body: ChangeGuardDocument
) -> Response:
    """Replace the settings of the tenant for changes. They are in the audit trail, and raise no revision."""

    async def work(change: Change) -> Guard:
        before = await change_guards.get(change.connection, change.tenant)
        if ctx.if_match is not None and not ctx.if_match.allows(before.revision):
            raise precondition_failed("If-Match names another state: the settings were written since")
        document: dict[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
        return await change_guards.put(change, document)

    def reply(guard: Guard, revision: int) -> Reply:
        return Reply(200, _shown(guard), tenant_headers(revision) | {"ETag": entity_tag(guard.revision)})

    return await ctx.write(work, reply, apart="change_guards")

"""`/api/v1/sidecars`: the sidecars of the tenant, and the revision at which each decides."""

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.domain.sidecar_report import RequestBodies
from extauthz.rest import documents as doc
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import listed
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import Paging
from extauthz.rest.waiting import sidecar_json
from extauthz.storage import sidecars


class SidecarOut(doc.Model):
    """A sidecar, one worker of it."""

    instance: str = doc.about("of the process, a UUID", doc.EXAMPLE_ID)
    version: str = doc.about("of extauthz", "0.2.0")
    revision: int | None = doc.about("at which it decides; null before its first policies of this epoch", 42)
    age: float | None = doc.about("seconds since it last confirmed that its policies are the newest", 0.4)
    condition_body_max: int | None = doc.about(
        "octets of a body that conditions read, 0: none; null: it does not say", 65_536
    )
    request_bodies: RequestBodies | None = doc.about(
        "seen of bodies since its start: one that conditions can read, requests with a JSON or form body "
        "of which they can read none, or no such request; null: no check yet, or it does not say",
        "arrived",
    )
    last_seen: doc.Time
    live: bool = doc.about("whether it reported within three intervals", True)
    behind_by: int = doc.about("revisions that it does not have yet", 0)


router: Final = APIRouter(prefix="/api/v1/sidecars", tags=["Sidecars"], route_class=Operation)


@router.get("", **listed(SidecarOut))
async def list_sidecars(
    ctx: Annotated[RequestContext, requires(Permission.POLICIES_READ)], query: Paging
) -> Response:
    """List sidecars that have the tenant's policies.

    Each worker reports every few seconds. One that stopped to report is shown for an hour.
    """
    return await ctx.page_of(query, "sidecars", sidecars.page, sidecar_json)

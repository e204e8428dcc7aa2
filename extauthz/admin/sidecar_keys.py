"""`/admin/sidecar-keys`: keys with which sidecars that serve many tenants report; shown once, in the 201.

They belong to the installation, and have no other use than reports.
"""

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.service_keys import BY_KEY, EXAMPLE_KEY_ID, FutureTime, NewKey, new_key
from extauthz.domain.service_key import key_text, row_id
from extauthz.domain.time_text import instant
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, list_of, members_of
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer, deleted, listed
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import Paging
from extauthz.rest.problems import accepted, not_found
from extauthz.storage import sidecar_keys
from extauthz.storage.audit import INSTALLATION

PATH: Final = "/admin/sidecar-keys"


class SidecarKeyDocument(doc.BodyModel):
    """A new key of sidecars."""

    name: doc.Name = doc.about("a name for people", "data plane west")
    expires_at: FutureTime = None


class SidecarKeyOut(doc.Model):
    """A stored key of sidecars, without its secret."""

    id: str = doc.about("`sak_` and a UUIDv7", EXAMPLE_KEY_ID)
    name: doc.Name = doc.example("data plane west")
    created_at: doc.Time
    expires_at: doc.Time | None
    last_used_at: doc.Time | None


class SidecarKeyMade(SidecarKeyOut):
    """A new key of sidecars with the key itself."""

    key: NewKey


router: Final = APIRouter(prefix=PATH, tags=["Operator"], route_class=Operation)
_Needs = Annotated[RequestContext, requires(Permission.OPERATOR)]


@router.get("", **listed(SidecarKeyOut))
async def list_sidecar_keys(ctx: _Needs, query: Paging) -> Response:
    """List keys of sidecars. Without the keys themselves, and without revoked ones."""
    position = query.position("sidecar_keys", order=BY_KEY)
    page = accepted(await sidecar_keys.page(ctx.services.pool, **position.bounds))
    return list_of([members_of(SidecarKeyOut, each) for each in page.items], position.cursor(page.next))


@router.post("", **answer(SidecarKeyMade, status=201))
async def create_sidecar_key(
    ctx: Annotated[RequestContext, requires(Permission.OPERATOR, conditional=False, creating=True)],
    body: SidecarKeyDocument,
) -> Response:
    """Create a key for sidecars that serve many tenants.

    The key is in this answer only. As `CONTROL_PLANE_API_KEY` of a sidecar it reports for every tenant, and
    may do nothing else.
    """
    key_id, secret = new_key(ctx)
    made = await sidecar_keys.create(
        ctx.services.pool,
        key_id,
        body.name,
        secret=secret,
        expires_at=None if body.expires_at is None else instant(body.expires_at),
        actor=ctx.caller.actor.document(),
        event_id=ctx.services.new_id(),
        once=ctx.once(None, tenant=INSTALLATION),
    )
    return Reply(
        201, members_of(SidecarKeyOut, accepted(made)) | {"key": key_text(key_id, secret)}
    ).response()


@router.delete("/{key_id}", **deleted(revisioned=False))
async def revoke_sidecar_key(ctx: _Needs) -> Response:
    """Revoke a key of sidecars. Sidecars that report with it are refused within seconds."""
    if row_id(ctx.path_id) is None:
        raise not_found(f"there is no sidecar key {ctx.path_id[:80]!r}")
    accepted(
        await sidecar_keys.revoke(
            ctx.services.pool,
            ctx.path_id,
            actor=ctx.caller.actor.document(),
            event_id=ctx.services.new_id(),
        )
    )
    return Reply(204).response()

"""`/admin/tenants`: the operator's tenants, their hosts and their bootstrap keys (`MODE=saas`)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import AfterValidator, WithJsonSchema
from starlette.responses import Response

from extauthz.admin.service_keys import EXAMPLE_KEY_ID, NewKey, new_key
from extauthz.compile.fields import shown as quoted
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.service_key import key_text
from extauthz.domain.time_text import rfc3339
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, list_of, no_content, tagged, tenant_reply, written_headers
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import created, deleted, found, listed, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import BY_NAME, Paging
from extauthz.rest.problems import accepted, not_found
from extauthz.rest.quotas import too_many
from extauthz.storage import hosts, service_keys, tenants
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Document, Stored
from extauthz.storage.tenants import TenantStatus
from extauthz.storage.write import Change

PATH: Final = "/admin/tenants"
SLUG_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


def _slug(text: str) -> str:
    if not tenants.SLUG.fullmatch(text):
        wanted = "1 to 63 lower-case letters, digits and inner hyphens are needed"
        raise doc.refused(f"found {quoted(text)}, {wanted}")
    return text


def _host(value: object) -> str:
    host = canonical_host(value) if isinstance(value, str) else None
    if host is None or isinstance(host, HostRejected):
        why = "" if host is None else f": {host.reason}"
        raise doc.refused(f"found {quoted(value)}, a host is needed{why}")
    return host


Host = Annotated[Any, AfterValidator(_host), WithJsonSchema({"type": "string"})]


class TenantDocument(doc.BodyModel):
    """A new tenant."""

    name: doc.Name = doc.about("a name for people", "Acme")
    slug: Annotated[
        doc.Name, AfterValidator(_slug), WithJsonSchema({"type": "string", "pattern": SLUG_PATTERN})
    ] = doc.example("acme")


class TenantPatch(doc.BodyModel):
    """What to change of a tenant."""

    name: doc.Omissible[doc.Name] = doc.optional("a name for people")
    status: doc.Omissible[TenantStatus] = doc.example("suspended", default=None)


class TenantListedOut(doc.Model):
    """A tenant, without its hosts."""

    id: doc.Text = doc.about("the slug", "acme")
    slug: doc.Text = doc.example("acme")
    name: doc.Name = doc.example("Acme")
    status: TenantStatus = doc.example("active")
    createdAt: doc.Time
    updatedAt: doc.Time


class TenantOut(TenantListedOut, doc.Warned):
    """A tenant."""

    hosts: list[str] = doc.example(["acme.example"])


class TenantMade(TenantOut):
    """A new tenant with its bootstrap key."""

    bootstrapKey: NewKey


class Hosts(doc.BodyModel):
    """The hosts that a tenant owns."""

    hosts: list[Host] = doc.example(["acme.example"])


class HostsStored(doc.Warned):
    """The hosts that a tenant owns now."""

    hosts: list[str] = doc.example(["acme.example"])


class BootstrapKey(doc.Warned):
    """A new bootstrap key."""

    id: str = doc.about("`sak_` and a UUIDv7", EXAMPLE_KEY_ID)
    bootstrapKey: NewKey


router: Final = APIRouter(prefix=PATH, tags=["Tenants"], route_class=Operation)
_Reads = Annotated[RequestContext, requires(Permission.OPERATOR)]
_Writes = Annotated[RequestContext, requires(Permission.OPERATOR, conditional=True)]
_Creates = Annotated[RequestContext, requires(Permission.OPERATOR, creating=True)]


@router.get("", **listed(TenantListedOut))
async def list_tenants(ctx: _Reads, query: Paging) -> Response:
    """List tenants. In the order of their slugs."""
    position = query.position("tenants", order=BY_NAME)
    page = accepted(await tenants.page(ctx.services.pool, **position.bounds))
    return list_of([to_json(stored) for stored in page.items], position.cursor(page.next))


@router.post("", **created(TenantMade))
async def create_tenant(ctx: _Creates, body: TenantDocument) -> Response:
    """Create a tenant.

    `bootstrapKey` is in this answer only; as `X-Service-Api-Key` it has the rights of a tenant admin. The
    slug is the tenant's id, never changes, and is assigned only once, also after the tenant is deleted.
    """
    ctx.check_precondition(None)
    key_id, secret = new_key(ctx)

    async def also(change: Change, stored: Stored) -> Stored:
        accepted(await service_keys.rotate_bootstrap(change, key_id, secret=secret))
        return stored

    made = await tenants.create(
        ctx.services.pool,
        ctx.caller.actor,
        slug=body.slug,
        name=body.name,
        also=also,
        new_id=ctx.services.new_id,
        once=ctx.once(None, tenant=body.slug),
    )
    made = accepted(made)
    shown = to_json(made.value) | {"hosts": [], "bootstrapKey": key_text(key_id, secret)}
    headers = written_headers(made.revision, made.revision) | {"Location": f"{PATH}/{body.slug}"}
    return Reply(201, shown, headers).response()


@router.get("/{id}", **found(TenantOut))
async def get_tenant(ctx: _Reads) -> Response:
    """Get a tenant with its hosts.

    The entity tag is the tenant's revision, which every write in it changes.
    """

    async def work(connection: Any) -> tuple[Stored, tuple[str, ...]]:
        return await tenant_of(ctx, connection), await hosts.read(connection, ctx.tenant)

    stored, names = await ctx.read(work)
    return tagged(_with_hosts(stored, names), stored.revision)


@router.patch("/{id}", **written(TenantOut))
async def patch_tenant(ctx: _Writes, body: TenantPatch) -> Response:
    """Rename or suspend a tenant.

    Every request to a suspended tenant's workloads, and every call of its own, is denied.
    """

    async def work(change: Change) -> Document:
        ctx.check_tenant_precondition(change)
        replaced = accepted(await tenants.replace(change, name=body.name, status=body.status))
        return _with_hosts(replaced, await hosts.read(change.connection, change.tenant))

    return await ctx.write(work, tenant_reply)


@router.delete("/{id}", **deleted())
async def delete_tenant(ctx: _Writes) -> Response:
    """Delete a tenant and all its rows. Its slug is not assigned again, and its audit trail stays."""

    async def work(change: Change) -> Stored | NotFound:
        ctx.check_tenant_precondition(change)
        return await tenants.delete(change)

    return await ctx.write(work, no_content)


@router.put("/{id}/hosts", **written(HostsStored, 409))
async def replace_hosts(ctx: _Writes, body: Hosts | list[Host]) -> Response:
    """Replace the hosts that a tenant owns.

    Names or addresses, without wildcards; a port is dropped. A host belongs to one tenant. A bare list is
    accepted, too.
    """
    wanted, entries = (body.hosts, "/hosts") if isinstance(body, Hosts) else (body, "")
    limit = ctx.services.quotas.hosts
    if len(set(wanted)) > limit:
        raise too_many("hosts", limit, pointer=entries)

    async def work(change: Change) -> tuple[str, ...] | Conflict:
        ctx.check_tenant_precondition(change)
        return await hosts.replace(change, wanted)

    return await ctx.write(
        work, lambda names, revision: tenant_reply({"hosts": list(names)}, revision), entries=entries
    )


@router.post("/{id}/bootstrap-key", **written(BootstrapKey, status=201))
async def rotate_bootstrap_key(ctx: _Creates) -> Response:
    """Give a tenant a new bootstrap key.

    The old one is revoked; the keys that it created stay valid and belong to the new one.
    """
    key_id, secret = new_key(ctx)

    async def work(change: Change) -> Stored | NotFound | Conflict:
        ctx.check_tenant_precondition(change)
        return await service_keys.rotate_bootstrap(change, key_id, secret=secret)

    shown = {"id": key_id, "bootstrapKey": key_text(key_id, secret)}
    return await ctx.write(work, lambda _, revision: tenant_reply(shown, revision, 201), secret=True)


@router.delete("/{id}/bootstrap-key", **deleted())
async def revoke_bootstrap_key(ctx: _Writes) -> Response:
    """Revoke a tenant's bootstrap key and every key it created.

    The tenant then has no bootstrap key until a new one is made.
    """

    async def work(change: Change) -> tuple[str, ...]:
        ctx.check_tenant_precondition(change)
        revoked = await service_keys.revoke_bootstrap(change)
        if isinstance(revoked, NotFound):
            raise not_found("the tenant has no bootstrap key")
        return revoked

    return await ctx.write(work, no_content)


async def tenant_of(ctx: RequestContext, connection: Any) -> Stored:
    """Return the tenant of the request; 404 for one that is not there."""
    stored = await tenants.get(connection, ctx.tenant)
    if stored is None:
        raise not_found(f"there is no tenant {ctx.tenant!r}")
    return stored


def to_json(stored: Stored) -> Document:
    """Return a tenant as the API shows it."""
    return stored.document | {
        "createdAt": rfc3339(stored.created_at),
        "updatedAt": rfc3339(stored.updated_at),
    }


def _with_hosts(stored: Stored, names: tuple[str, ...]) -> Document:
    return to_json(stored) | {"hosts": list(names)}

"""`/admin/tenants`: the operator's tenants, their hosts and their bootstrap keys (`MODE=saas`)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, Field, TypeAdapter, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin import context, idempotency
from extauthz.admin import documents as doc
from extauthz.admin.authorization import Permission
from extauthz.admin.openapi import created, deleted, found, listed, op, written
from extauthz.admin.pagination import Order, PageQuery
from extauthz.admin.preconditions import entity_tag
from extauthz.admin.problems import not_found, of_refusal
from extauthz.admin.quotas import too_many
from extauthz.admin.request_body import JsonBody
from extauthz.admin.service_keys import EXAMPLE_KEY, EXAMPLE_KEY_ID, KEY_DESCRIPTION, new_key
from extauthz.compile.fields import shown as quoted
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.service_key import key_text
from extauthz.storage import hosts, service_keys, tenants
from extauthz.storage.outcome import Conflict, NotFound, Refusal
from extauthz.storage.rows import Document as JsonDocument
from extauthz.storage.rows import Stored, rfc3339
from extauthz.storage.write import Change, Written

PATH: Final = "/admin/tenants"
SLUG_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class Status(StrEnum):
    """Whether requests to a tenant's workloads are decided by its policies, or denied."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


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


class TenantDocument(doc.Document):
    """A new tenant."""

    example: ClassVar = {"name": "Acme", "slug": "acme"}
    name: Annotated[doc.Name, doc.about("a name for people")]
    slug: Annotated[
        doc.Name, AfterValidator(_slug), WithJsonSchema({"type": "string", "pattern": SLUG_PATTERN})
    ]


class TenantPatch(doc.Document):
    """What to change of a tenant."""

    example: ClassVar = {"status": "suspended"}
    name: Annotated[doc.Name | None, doc.NOT_NULL, doc.about("a name for people")] = None
    status: Annotated[Status | None, doc.NOT_NULL] = None


class TenantListedOut(doc.Model):
    """A tenant, without its hosts."""

    example: ClassVar = {
        "id": "acme",
        "slug": "acme",
        "name": "Acme",
        "status": "active",
        "createdAt": doc.EXAMPLE_TIME,
        "updatedAt": doc.EXAMPLE_TIME,
    }
    id: Annotated[doc.Text, doc.about("the slug")]
    slug: doc.Text
    name: doc.Name
    status: Status
    createdAt: doc.Time  # noqa: N815
    updatedAt: doc.Time  # noqa: N815


class TenantOut(TenantListedOut, doc.Warned):
    """A tenant."""

    example: ClassVar = {"hosts": ["acme.example"]}
    hosts: list[str]


class TenantMade(TenantListedOut, doc.Warned):
    """A new tenant with its bootstrap key."""

    example: ClassVar = {"hosts": [], "bootstrapKey": EXAMPLE_KEY}
    hosts: list[str]
    bootstrapKey: Annotated[str, Field(description=KEY_DESCRIPTION)]  # noqa: N815


class Hosts(doc.Document):
    """The hosts that a tenant owns."""

    example: ClassVar = {"hosts": ["acme.example"]}
    hosts: list[Host]


class HostsStored(doc.Warned):
    """The hosts that a tenant owns now."""

    example: ClassVar = {"hosts": ["acme.example"]}
    hosts: list[str]


class BootstrapKey(doc.Warned):
    """A new bootstrap key."""

    example: ClassVar = {"id": EXAMPLE_KEY_ID, "bootstrapKey": EXAMPLE_KEY}
    id: Annotated[str, doc.about("`sak_` and a UUIDv7")]
    bootstrapKey: Annotated[str, Field(description=KEY_DESCRIPTION)]  # noqa: N815


class _HostsBody(JsonBody[Hosts]):
    """Reads hosts as an object, or as a bare list, into which the pointers then point."""

    bare: TypeAdapter[list[str]] = TypeAdapter(list[Host])

    def described_as(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [schema, {"type": "array", "items": {"type": "string"}}]}

    def _read(self, document: object, request: Request) -> Hosts:
        if isinstance(document, Mapping):
            return super()._read(document, request)
        return Hosts.model_construct(hosts=doc.validate(self.bare, document))


router: Final = APIRouter(prefix=PATH, tags=["Tenants"], route_class=context.Route)
_Reads = Annotated[context.RequestContext, context.requires(Permission.OPERATOR)]
_Writes = Annotated[context.RequestContext, context.requires(Permission.OPERATOR, conditional=True)]
_Creates = Annotated[context.RequestContext, context.requires(Permission.OPERATOR, creating=True)]


@router.get("", **op(listed(TenantListedOut)))
async def list_tenants(ctx: _Reads, query: Annotated[PageQuery, Query()]) -> Response:
    """List tenants. In the order of their slugs."""
    position = query.position("tenants", order=Order.SLUG)
    page = await tenants.page(ctx.services.pool, after=position.after_name, limit=position.limit)
    if isinstance(page, Refusal):
        raise of_refusal(page)
    return context.list_of(
        [to_json(stored) for stored in page.items], position.cursor(page.next, by_name=True)
    )


@router.post("", **op(created(TenantMade), 409))
async def create_tenant(
    ctx: _Creates, body: Annotated[TenantDocument, Depends(JsonBody(TenantDocument))]
) -> Response:
    """Create a tenant.

    `bootstrapKey` is in this answer only; as `X-Service-Api-Key` it has the rights of a tenant admin. The
    slug is the tenant's id, never changes, and is assigned only once, also after the tenant is deleted.
    """
    ctx.check_precondition(None)
    key_id, secret = new_key(ctx)

    async def also(change: Change, stored: Stored) -> Stored | Refusal:
        key = await service_keys.rotate_bootstrap(change, key_id, secret=secret)
        return stored if isinstance(key, Stored) else key

    services = ctx.services
    try:
        written = await tenants.create(
            services.pool,
            ctx.caller.actor,
            slug=body.slug,
            name=body.name,
            also=also,
            new_id=services.new_id,
            once=ctx.once(None, tenant=body.slug),
        )
    except idempotency.ReplayedError as replayed:
        return replayed.response
    if not isinstance(written, Written):
        raise of_refusal(written)
    shown = to_json(written.value) | {"hosts": [], "bootstrapKey": key_text(key_id, secret)}
    headers = context.tenant_headers(written.revision) | {"Location": f"{PATH}/{body.slug}"}
    return context.Reply(201, shown, headers).response()


@router.get("/{id}", **op(found(TenantOut), 404))
async def get_tenant(ctx: _Reads) -> Response:
    """Get a tenant with its hosts.

    The entity tag is the tenant's revision, which every write in it changes.
    """

    async def work(connection: Any) -> tuple[Stored | None, tuple[str, ...]]:
        return await tenants.get(connection, ctx.tenant), await hosts.read(connection, ctx.tenant)

    stored, names = await ctx.read(work)
    if stored is None:
        raise no_tenant(ctx)
    body = to_json(stored) | {"hosts": list(names)}
    return context.Reply(200, body, {"ETag": entity_tag(stored.revision)}).response()


@router.patch("/{id}", **op(written(200, TenantOut), 404))
async def patch_tenant(
    ctx: _Writes, body: Annotated[TenantPatch, Depends(JsonBody(TenantPatch))]
) -> Response:
    """Rename or suspend a tenant.

    Every request to a suspended tenant's workloads, and every call of its own, is denied.
    """

    async def work(change: Change) -> tuple[Stored, tuple[str, ...]] | NotFound:
        ctx.check_tenant_precondition(change)
        status: Any = body.status and body.status.value
        replaced = await tenants.replace(change, name=body.name, status=status)
        if isinstance(replaced, NotFound):
            return replaced
        return replaced, await hosts.read(change.connection, change.tenant)

    def reply(written: tuple[Stored, tuple[str, ...]], revision: int) -> context.Reply:
        stored, names = written
        return context.Reply(200, to_json(stored) | {"hosts": list(names)}, context.tenant_headers(revision))

    return await ctx.write(work, reply)


@router.delete("/{id}", **op(deleted(), 404))
async def delete_tenant(ctx: _Writes) -> Response:
    """Delete a tenant and all its rows. Its slug is not assigned again, and its audit trail stays."""

    async def work(change: Change) -> Stored | NotFound:
        ctx.check_tenant_precondition(change)
        return await tenants.delete(change)

    return await ctx.write(work, context.no_content)


@router.put("/{id}/hosts", **op(written(200, HostsStored), 404, 409))
async def replace_hosts(ctx: _Writes, body: Annotated[Hosts, Depends(_HostsBody(Hosts))]) -> Response:
    """Replace the hosts that a tenant owns.

    Names or addresses, without wildcards; a port is dropped. A host belongs to one tenant. A bare list is
    accepted, too.
    """
    entries = "/hosts" if isinstance(ctx.content, dict) else ""
    limit = ctx.services.quotas.hosts
    if len(set(body.hosts)) > limit:
        raise too_many("hosts", limit, pointer=entries)

    async def work(change: Change) -> tuple[str, ...] | Conflict:
        ctx.check_tenant_precondition(change)
        return await hosts.replace(change, body.hosts)

    def reply(names: tuple[str, ...], revision: int) -> context.Reply:
        return context.Reply(200, {"hosts": list(names)}, context.tenant_headers(revision))

    return await ctx.write(work, reply, entries=entries)


@router.post("/{id}/bootstrap-key", **op(written(201, BootstrapKey), 404, 409))
async def rotate_bootstrap_key(ctx: _Creates) -> Response:
    """Give a tenant a new bootstrap key.

    The old one is revoked; the keys that it created stay valid and belong to the new one.
    """
    key_id, secret = new_key(ctx)

    async def work(change: Change) -> Stored | NotFound | Conflict:
        ctx.check_tenant_precondition(change)
        return await service_keys.rotate_bootstrap(change, key_id, secret=secret)

    def reply(_: Stored, revision: int) -> context.Reply:
        shown = {"id": key_id, "bootstrapKey": key_text(key_id, secret)}
        return context.Reply(201, shown, context.tenant_headers(revision))

    return await ctx.write(work, reply, secret=True)


@router.delete("/{id}/bootstrap-key", **op(deleted(), 404))
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

    return await ctx.write(work, context.no_content)


def no_tenant(ctx: context.RequestContext) -> Exception:
    """Return 404 for the tenant in the path."""
    return not_found(f"there is no tenant {ctx.tenant!r}")


def to_json(stored: Stored) -> JsonDocument:
    """Return a tenant as the API shows it."""
    return stored.document | {
        "createdAt": rfc3339(stored.created_at),
        "updatedAt": rfc3339(stored.updated_at),
    }

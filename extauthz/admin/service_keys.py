"""`/api/v1/service-api-keys`: keys of programs with their scopes; a key is shown once, in the 201.

A key creates keys only within its own permissions, and they are revoked with it.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin import context
from extauthz.admin import documents as doc
from extauthz.admin.authorization import Permission, require_delegable
from extauthz.admin.openapi import created, deleted, listed, op
from extauthz.admin.pagination import PageQuery
from extauthz.admin.problems import forbidden
from extauthz.admin.quotas import too_many
from extauthz.admin.request_body import JsonBody
from extauthz.admin.route_prefixes import RoutePrefix
from extauthz.compile.fields import shown as quoted
from extauthz.compile.values import parse_time
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import ID_PREFIX, SECRET_BYTES, Scope, key_text, row_id
from extauthz.storage import service_keys
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import MAX_PAGE, Stored, rfc3339
from extauthz.storage.rows import Document as JsonDocument
from extauthz.storage.write import Change

PATH: Final = "/api/v1/service-api-keys"
MAX_PREFIXES: Final = 100
EXAMPLE_KEY_ID: Final = f"sak_{doc.EXAMPLE_ID}"
EXAMPLE_KEY: Final = f"sak_live_{doc.EXAMPLE_ID.replace('-', '')}_{'0' * 64}"
KEY_DESCRIPTION: Final = "the key itself, in this answer only; sent as `X-Service-Api-Key`"
_NOUN: Final = "service key"


def _prefixes(texts: list[Any] | None) -> list[str]:
    found: list[str] = []
    problems: list[Problem] = []
    for index, text in enumerate(texts or ()):
        prefix = RoutePrefix.parse(text) if isinstance(text, str) else "a string is needed"
        if isinstance(prefix, str):
            wanted = "such as 'api.example.com/invoices' or '/invoices'"
            problems.append(Problem(f"/{index}", f"found {quoted(text)}, {prefix}; {wanted}"))
        else:
            found.append(prefix.text)
    if problems:
        raise doc.refused_at(problems)
    return doc.without_repeats(found)


def _expiry(value: object, info: ValidationInfo) -> str | None:
    if value is None:
        return None
    moment = parse_time(value) if isinstance(value, str) else None
    if moment is None:
        raise doc.refused(f"found {quoted(value)}, an RFC 3339 time such as '2027-01-31T08:00:00Z' is needed")
    if moment.timestamp() <= doc.context_of(info).services.clock():
        raise doc.refused(f"found {quoted(value)}, which is in the past")
    return rfc3339(moment)


class ServiceKeyDocument(doc.Document):
    """A new service key."""

    example: ClassVar = {
        "name": "billing at start",
        "scopes": ["resources:write"],
        "service_name": "billing",
        "prefixes": ["api.example.com/invoices"],
    }
    name: Annotated[doc.Name, doc.about("a name for people")]
    description: Annotated[doc.Text, Field(max_length=1024)] | None = None
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(doc.without_repeats)]
    service_name: Annotated[
        doc.OneName | None, doc.about("the only service whose resources `resources:write` may register")
    ] = None
    prefixes: Annotated[
        Annotated[list[Any], Field(max_length=MAX_PREFIXES)] | None,
        AfterValidator(_prefixes),
        WithJsonSchema({"type": ["array", "null"], "items": {"type": "string"}}),
        doc.about("`host/path`, `*.suffix/path` or `/path`: where `resources:write` may claim routes"),
    ] = None
    domain: Annotated[
        doc.OneName | None,
        doc.about("of the principal (`identity`), and the only one `policies:*` may see and write"),
    ] = None
    expires_at: Annotated[
        Any,
        AfterValidator(_expiry),
        WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
        doc.about("exclusive"),
    ] = None

    def to_document(self) -> JsonDocument:
        """Return the members to store, without id and parent."""
        members = self.model_dump(mode="json")
        return members | {"description": self.description or "", "prefixes": self.prefixes or []}


class ServiceKeyOut(doc.Model):
    """A stored service key, without its secret."""

    example: ClassVar = ServiceKeyDocument.example | {
        "id": EXAMPLE_KEY_ID,
        "description": "",
        "domain": None,
        "parent": None,
        "bootstrap": False,
        "expires_at": None,
        "created_at": doc.EXAMPLE_TIME,
        "last_used_at": None,
    }
    id: Annotated[str, doc.about("`sak_` and a UUIDv7")]
    name: doc.Name
    description: doc.Text
    scopes: list[str]
    service_name: doc.Name | None
    prefixes: list[str]
    domain: doc.Name | None
    expires_at: doc.Time | None
    parent: Annotated[str | None, doc.about("the key that created it, and with which it is revoked")]
    bootstrap: doc.Flag
    created_at: doc.Time
    last_used_at: Annotated[
        doc.Time | None,
        doc.about(
            "The last use that this control plane knows of. Uses over REST are known within a few "
            "seconds, uses in the mesh within a minute, but only at workers of the same `extauthz serve`. A "
            "sidecar that runs by itself only reads the database, so uses there are not known."
        ),
    ]


class ServiceKeyMade(ServiceKeyOut, doc.Warned):
    """A new service key with the key itself."""

    example: ClassVar = {"key": EXAMPLE_KEY}
    key: Annotated[str, Field(description=KEY_DESCRIPTION)]


class _KeyBody(JsonBody[ServiceKeyDocument]):
    """Reads a new key: a registrar is bounded to a service and prefixes, whatever else is wrong with it."""

    def _read(self, document: object, request: Request) -> ServiceKeyDocument:
        problems: list[Problem] = []
        scopes = document.get("scopes") if isinstance(document, dict) else None
        if isinstance(document, dict) and isinstance(scopes, list) and Scope.RESOURCES_WRITE in scopes:
            problems = [
                Problem(f"/{name}", f"is needed by the scope {Scope.RESOURCES_WRITE.value!r}")
                for name in ("service_name", "prefixes")
                if not document.get(name)
            ]
        return doc.validate(self.adapter, document, request.state.context, problems)


router: Final = APIRouter(prefix=PATH, tags=["Service keys"], route_class=context.Route)


@router.get("", **op(listed(ServiceKeyOut)))
async def list_service_keys(
    ctx: Annotated[context.RequestContext, context.requires(Permission.KEYS_WRITE)],
    query: Annotated[PageQuery, Query()],
) -> Response:
    """List service keys.

    Without the keys themselves, and without revoked ones. A key sees those that it created.
    """
    parent = _creator(ctx)
    position = query.position(f"{ctx.tenant} service_api_keys {parent}")
    after = None if position.after is None else f"{ID_PREFIX}{position.after}"
    page = await ctx.read(
        lambda connection: service_keys.page(
            connection, ctx.tenant, parent=parent, after=after, limit=position.limit
        )
    )
    following = None if page.next is None else row_id(page.next)
    return context.list_of([to_json(stored) for stored in page.items], position.cursor(following))


@router.post("", **op(created(ServiceKeyMade), 404))
async def create_service_key(
    ctx: Annotated[context.RequestContext, context.requires(Permission.KEYS_WRITE, creating=True)],
    body: Annotated[ServiceKeyDocument, Depends(_KeyBody(ServiceKeyDocument))],
) -> Response:
    """Create a service key.

    The key is in this answer only. `resources:write` makes a registrar: it needs `service_name` and
    `prefixes` (`host/path`, `*.suffix/path` or `/path`), compared as whole literal segments.
    `policies:read` and `policies:write` have the rights of a domain admin of `domain`; left out, of every
    domain by name. A key creates keys only within its own scopes, service, prefixes, domain and expiry
    (403), and they are revoked with it.
    """
    document = body.to_document()
    grant = ctx.caller.grant
    if grant is not None and not grant.bootstrap:
        require_delegable(grant, document)
    ctx.check_precondition(None)
    key_id, secret = new_key(ctx)
    limit = ctx.services.quotas.service_keys

    async def work(change: Change) -> Stored | NotFound | Conflict:
        # Unrevoked ones: the limit is far below one page.
        present = await service_keys.page(change.connection, change.tenant, limit=min(limit, MAX_PAGE))
        if len(present.items) >= limit:
            raise too_many("service_keys", limit)
        parent = None if grant is None else grant.id
        return await service_keys.create(change, document | {"id": key_id, "parent": parent}, secret=secret)

    def reply(stored: Stored, revision: int) -> context.Reply:
        key = key_text(key_id, secret)
        return context.row_reply(201, lambda stored: to_json(stored) | {"key": key}, PATH)(stored, revision)

    return await ctx.write(work, reply, secret=True)


@router.delete("/{id}", **op(deleted(), 404))
async def revoke_service_key(
    ctx: Annotated[context.RequestContext, context.requires(Permission.KEYS_WRITE, conditional=True)],
) -> Response:
    """Revoke a service key and every key it created. A key revokes keys that it created."""
    key_id = ctx.path_params["id"]
    if row_id(key_id) is None:
        raise ctx.missing(_NOUN)

    async def work(change: Change) -> tuple[str, ...] | NotFound:
        stored = await service_keys.get(change.connection, change.tenant, key_id)
        if stored is None or stored.revoked_at is not None:
            raise ctx.missing(_NOUN)
        if _creator(ctx) not in {None, stored.document["parent"]}:
            raise ctx.missing(_NOUN)
        ctx.check_precondition(stored)
        if stored.document["bootstrap"]:
            raise forbidden("the operator rotates and revokes the bootstrap key")
        return await service_keys.revoke(change, key_id)

    return await ctx.write(work, context.no_content)


def new_key(ctx: context.RequestContext) -> tuple[str, bytes]:
    """Return the id and the secret of a new key."""
    return f"{ID_PREFIX}{ctx.services.new_id()}", ctx.services.random_bytes(SECRET_BYTES)


def _creator(ctx: context.RequestContext) -> str | None:
    """Return the key whose created keys are all that the caller may see; None for tenant admins."""
    return None if ctx.caller.is_tenant_admin or ctx.caller.grant is None else ctx.caller.grant.id


def to_json(stored: Stored) -> JsonDocument:
    """Return a key as the API shows it, without anything of its secret."""

    def moment(value: datetime | None) -> str | None:
        return None if value is None else rfc3339(value)

    return {
        **stored.document,
        "expires_at": stored.document.get("expires_at"),
        "created_at": moment(stored.created_at),
        "last_used_at": moment(stored.last_used_at),
    }

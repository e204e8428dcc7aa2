"""`/api/v1/service-api-keys`: keys of programs with their scopes; a key is shown once, in the 201.

A key creates keys only within its own permissions, and they are revoked with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema
from starlette.responses import Response

from extauthz.compile.fields import shown as quoted
from extauthz.compile.routes.route_prefixes import RoutePrefix
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import ID_PREFIX, SECRET_BYTES, Scope, key_text, row_id
from extauthz.domain.time_text import parse_time, rfc3339
from extauthz.rest import documents as doc
from extauthz.rest.answers import no_content, row_reply
from extauthz.rest.authorization import Permission, require_delegable
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import created, deleted, listed
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import BY_ID, Paging
from extauthz.rest.problems import forbidden
from extauthz.rest.quotas import too_many
from extauthz.storage import service_keys
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import MAX_PAGE, Document, Stored
from extauthz.storage.write import Change

PATH: Final = "/api/v1/service-api-keys"
MAX_PREFIXES: Final = 100
EXAMPLE_KEY_ID: Final = f"sak_{doc.EXAMPLE_ID}"
EXAMPLE_KEY: Final = f"sak_live_{doc.EXAMPLE_ID.replace('-', '')}_{'0' * 64}"
NewKey = Annotated[
    str, doc.about("the key itself, in this answer only; sent as `X-Service-Api-Key`", EXAMPLE_KEY)
]
_NOUN: Final = "service key"
BY_KEY: Final = replace(
    BY_ID,
    write=lambda key_id: UUID(key_id.removeprefix(ID_PREFIX)).bytes,
    read=lambda octets: f"{ID_PREFIX}{UUID(bytes=octets)}",
)


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


def _future_time(value: object, info: ValidationInfo) -> str | None:
    if value is None:
        return None
    moment = parse_time(value)
    if moment is None:
        raise doc.refused(f"found {quoted(value)}, an RFC 3339 time such as '2027-01-31T08:00:00Z' is needed")
    if moment.timestamp() <= doc.context_of(info).services.clock():
        raise doc.refused(f"found {quoted(value)}, which is in the past")
    return rfc3339(moment)


FutureTime = Annotated[
    Any,
    AfterValidator(_future_time),
    WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
    doc.about("exclusive"),
]
"""The end of a key: an RFC 3339 time in the future, or null."""
_PREFIXES: Final = ["api.example.com/invoices"]


class ServiceKeyDocument(doc.BodyModel):
    """A new service key."""

    name: doc.Name = doc.about("a name for people", "billing at start")
    description: Annotated[doc.Text, Field(max_length=1024)] | None = None
    scopes: Annotated[list[Scope], Field(min_length=1), AfterValidator(doc.without_repeats)] = doc.example(
        ["resources:write"]
    )
    service_name: doc.OneName | None = doc.optional(
        "the only service whose resources `resources:write` may register", "billing"
    )
    prefixes: Annotated[
        Annotated[list[Any], Field(max_length=MAX_PREFIXES)] | None,
        AfterValidator(_prefixes),
        WithJsonSchema({"type": ["array", "null"], "items": {"type": "string"}}),
    ] = doc.optional(
        "`host/path`, `*.suffix/path` or `/path`: where `resources:write` may claim routes", _PREFIXES
    )
    domain: doc.OneName | None = doc.optional(
        "of the principal (`identity`), and the only one `policies:*` may see and write"
    )
    expires_at: FutureTime = None

    @classmethod
    def problems_in(cls, document: Mapping[str, object], _: object) -> list[Problem]:
        """Return which bounds a registrar lacks."""
        scopes = document.get("scopes")
        if not isinstance(scopes, list) or Scope.RESOURCES_WRITE not in scopes:
            return []
        missing = [name for name in ("service_name", "prefixes") if not document.get(name)]
        message = f"is needed by the scope {Scope.RESOURCES_WRITE.value!r}"
        return [Problem(f"/{name}", message) for name in missing]

    def to_document(self) -> Document:
        """Return the members to store, without id and parent."""
        members = self.model_dump(mode="json")
        return members | {"description": self.description or "", "prefixes": self.prefixes or []}


class ServiceKeyOut(doc.Model):
    """A stored service key, without its secret."""

    id: str = doc.about("`sak_` and a UUIDv7", EXAMPLE_KEY_ID)
    name: doc.Name = doc.example("billing at start")
    description: doc.Text = doc.example("")
    scopes: list[str] = doc.example(["resources:write"])
    service_name: doc.Name | None = doc.example("billing")
    prefixes: list[str] = doc.example(_PREFIXES)
    domain: doc.Name | None
    expires_at: doc.Time | None
    parent: str | None = doc.about("the key that created it, and with which it is revoked")
    bootstrap: doc.Flag = doc.example(False)
    created_at: doc.Time
    last_used_at: doc.Time | None = doc.about(
        "The last use that this control plane knows of. Uses over REST are known within a few "
        "seconds, uses in the mesh within a minute where the sidecar reports (CONTROL_PLANE_URL; "
        "workers of `extauthz serve` do without it)."
    )


class ServiceKeyMade(ServiceKeyOut, doc.Warned):
    """A new service key with the key itself."""

    key: NewKey


_Reads = Annotated[RequestContext, requires(Permission.KEYS_WRITE)]
_Writes = Annotated[RequestContext, requires(Permission.KEYS_WRITE, conditional=True)]
_Creates = Annotated[RequestContext, requires(Permission.KEYS_WRITE, creating=True)]
router: Final = APIRouter(prefix=PATH, tags=["Service keys"], route_class=Operation)


@router.get("", **listed(ServiceKeyOut))
async def list_service_keys(ctx: _Reads, query: Paging) -> Response:
    """List service keys.

    Without the keys themselves, and without revoked ones. A key sees those that it created.
    """
    parent = _creator(ctx)
    return await ctx.page_of(
        query, f"service_api_keys {parent}", service_keys.page, to_json, order=BY_KEY, parent=parent
    )


@router.post("", **created(ServiceKeyMade, 404))
async def create_service_key(ctx: _Creates, body: ServiceKeyDocument) -> Response:
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

    key = key_text(key_id, secret)
    reply = row_reply(201, lambda stored: to_json(stored) | {"key": key}, PATH)
    return await ctx.write(work, reply, secret=True)


@router.delete("/{id}", **deleted())
async def revoke_service_key(ctx: _Writes) -> Response:
    """Revoke a service key and every key it created. A key revokes keys that it created."""
    key_id = ctx.path_id
    if row_id(key_id) is None:
        raise ctx.missing(_NOUN)

    async def work(change: Change) -> tuple[str, ...] | NotFound:
        stored = await service_keys.get(change.connection, change.tenant, key_id)
        if (
            stored is None
            or stored.revoked_at is not None
            or _creator(ctx) not in {None, stored.document["parent"]}
        ):
            raise ctx.missing(_NOUN)
        ctx.check_precondition(stored)
        if stored.document["bootstrap"]:
            raise forbidden("the operator rotates and revokes the bootstrap key")
        return await service_keys.revoke(change, key_id)

    return await ctx.write(work, no_content)


def new_key(ctx: RequestContext) -> tuple[str, bytes]:
    """Return the id and the secret of a new key."""
    return f"{ID_PREFIX}{ctx.services.new_id()}", ctx.services.random_bytes(SECRET_BYTES)


def _creator(ctx: RequestContext) -> str | None:
    """Return the key whose created keys are all that the caller may see; None for tenant admins."""
    return None if ctx.caller.is_tenant_admin or ctx.caller.grant is None else ctx.caller.grant.id


def to_json(stored: Stored) -> Document:
    """Return a key as the API shows it, without anything of its secret."""
    last_used_at = None if stored.last_used_at is None else rfc3339(stored.last_used_at)
    times = {"created_at": rfc3339(stored.created_at), "last_used_at": last_used_at}
    return {"expires_at": None, **stored.document, **times}

"""`/admin/tenants/{id}/identity-providers`: the issuers of a tenant's tokens. Nothing here contacts one."""

from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, WithJsonSchema
from starlette.responses import Response

from extauthz.admin import documents
from extauthz.admin.authorization import Permission
from extauthz.admin.context import RequestContext, Route, no_content, requires, row_reply
from extauthz.admin.documents import Document, Flag, Name, StoredRow, about, refused, refused_at
from extauthz.admin.openapi import created, deleted, listed, op, written
from extauthz.admin.pagination import PageQuery
from extauthz.admin.request_body import JsonBody, ReplacingBody
from extauthz.admin.tenants import PATH as TENANTS
from extauthz.admin.tenants import no_tenant
from extauthz.compile.fields import Fields
from extauthz.compile.fields import shown as quoted
from extauthz.domain.problem import Problem
from extauthz.domain.provider_settings import (
    audience_problem,
    claim_path_problem,
    excluded_role_problem,
    issuer_problem,
    jwks_uri_problem,
)
from extauthz.storage import identity_providers, tenants
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Document as JsonDocument
from extauthz.storage.rows import Page, Stored
from extauthz.storage.tenant_configs import CLAIM_PATHS, EVERY_AUDIENCE
from extauthz.storage.write import Change

PATH: Final = TENANTS + "/{id}/identity-providers"
MAX_URL: Final = 2000
_NOUN: Final = "identity provider"


def _url_problem(text: object, *, is_issuer: bool) -> str | None:
    if not isinstance(text, str):
        return "a URL is needed"
    if not text.isascii() or not text.isprintable() or " " in text or len(text) > MAX_URL:
        return f"a URL of at most {MAX_URL} printable ASCII characters is needed"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "the URL is invalid"
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not text.startswith(("http://", "https://"))
    ):
        return "an absolute https URL is needed"
    if "@" in parts.netloc or "#" in text:
        return "a URL without credentials and fragment is needed"
    found = issuer_problem(text) if is_issuer else jwks_uri_problem(text)
    return None if found is None else f"it must be {found}"


def _issuer(text: object) -> object:
    if problem := _url_problem(text, is_issuer=True):
        raise refused(f"found {quoted(text)}, {problem}")
    return text


def _jwks_uri(text: object) -> object:
    if text is not None and (problem := _url_problem(text, is_issuer=False)):
        raise refused(f"found {quoted(text)}, {problem}")
    return text


def _audience(value: object) -> object:
    """Read a text or a list of them; a union would put its branches into the pointers."""
    problems: list[Problem] = []
    fields = Fields({"audience": value}, "", problems)
    if isinstance(value, list):
        audience: object = list(fields.names("audience", default=None))
        if isinstance(audience, list) and EVERY_AUDIENCE in audience and len(audience) > 1:
            fields.note("audience", f"names {EVERY_AUDIENCE!r}, every audience, together with others")
        for index, name in enumerate(value):
            if isinstance(name, str) and (problem := audience_problem(name)):
                fields.note_item("audience", index, f"found {quoted(name)}, it must be {problem}")
    else:
        audience = name = fields.text("audience")
        if name is not None and (problem := audience_problem(name)):
            fields.note("audience", f"found {quoted(name)}, it must be {problem}")
    if problems:
        raise refused_at([Problem(each.pointer.removeprefix("/audience"), each.message) for each in problems])
    return audience


def _claim_path(path: str) -> str:
    if problem := claim_path_problem(path):
        raise refused(f"found {quoted(path)}, it must be {problem}")
    return path


def _excluded_role(role: str) -> str:
    if problem := excluded_role_problem(role):
        raise refused(f"found {quoted(role)}, it must be {problem}")
    return role


_Url = Annotated[Any, WithJsonSchema({"type": "string", "maxLength": MAX_URL})]
_ClaimPath = Annotated[Name, AfterValidator(_claim_path)]


class ClaimConfig(documents.Model):
    """Where tokens have what; the rest is as in the settings."""

    roles_claim: _ClaimPath | None = None
    domain_claim: _ClaimPath | None = None
    admin_domain_claim: _ClaimPath | None = None
    excluded_roles: Annotated[
        list[Annotated[Name, AfterValidator(_excluded_role)]] | None,
        AfterValidator(lambda roles: roles and documents.without_repeats(roles)),
    ] = None


class IdentityProviderDocument(Document):
    """An identity provider."""

    example: ClassVar = {
        "issuer_url": "https://login.example.com/realms/acme",
        "jwks_uri": None,
        "audience": "mesh",
        "claim_config": {"roles_claim": "realm_access.roles", "excluded_roles": ["offline_access"]},
    }
    issuer_url: Annotated[_Url, AfterValidator(_issuer), about("`iss` of its tokens, exactly")]
    jwks_uri: Annotated[
        Any,
        AfterValidator(_jwks_uri),
        WithJsonSchema({"type": ["string", "null"], "maxLength": MAX_URL}),
        about("left out or null: discovered from the issuer"),
    ] = None
    audience: Annotated[
        Any,
        AfterValidator(_audience),
        WithJsonSchema(
            {
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                ]
            }
        ),
        about("the audiences that tokens must have; `any` is every one; a comma is part of it"),
    ]
    claim_config: Annotated[
        ClaimConfig | None, about("claims of roles and domains, as paths in dot notation")
    ] = None
    active: Flag = True

    def to_document(self, provider_id: str) -> JsonDocument:
        """Return the document to store."""
        members = self.model_dump(mode="json", exclude={"claim_config"})
        config = {} if self.claim_config is None else self.claim_config.model_dump(exclude_none=True)
        return {"id": provider_id, **members, "claim_config": config}


class IdentityProviderOut(IdentityProviderDocument, StoredRow):
    """A stored identity provider."""

    example: ClassVar = {"active": True}


assert set(ClaimConfig.model_fields) == {*CLAIM_PATHS, "excluded_roles"}
router: Final = APIRouter(prefix=PATH, tags=["Identity providers"], route_class=Route)
_Reads = Annotated[RequestContext, requires(Permission.ADMIN_KEY)]
_Writes = Annotated[RequestContext, requires(Permission.ADMIN_KEY, conditional=True)]
_Creates = Annotated[RequestContext, requires(Permission.ADMIN_KEY, creating=True)]


@router.get("", **op(listed(IdentityProviderOut), 404))
async def list_identity_providers(ctx: _Reads, query: Annotated[PageQuery, Query()]) -> Response:
    """List a tenant's identity providers. In the order of their creation."""
    position = query.position(f"{ctx.tenant} identity_providers")

    async def work(connection: Any) -> Page:
        if await tenants.get(connection, ctx.tenant) is None:
            raise no_tenant(ctx)
        return await identity_providers.page(
            connection, ctx.tenant, after=position.after, limit=position.limit
        )

    return ctx.page(identity_providers.TABLE, position, await ctx.read(work))


@router.post("", **op(created(IdentityProviderOut), 404, 409))
async def create_identity_provider(
    ctx: _Creates, body: Annotated[IdentityProviderDocument, Depends(JsonBody(IdentityProviderDocument))]
) -> Response:
    """Register an identity provider.

    Stored without contacting it. A second active one of the tenant, and an issuer that any tenant has, is
    409. `jwks_uri` left out is discovered from the issuer; `audience` `any` is every one.
    """
    ctx.check_precondition(None)

    async def work(change: Change) -> Stored | Conflict:
        await ctx.check_quota(change, "identity_providers", 1)
        return await identity_providers.create(change, body.to_document(change.new_id()))

    return await ctx.write(work, row_reply(201, location=PATH.replace("{id}", ctx.tenant)))


@router.put("/{idp_id}", **op(written(200, IdentityProviderOut), 404, 409))
async def replace_identity_provider(
    ctx: _Writes,
    body: Annotated[
        IdentityProviderDocument, Depends(ReplacingBody(IdentityProviderDocument, _NOUN, id_of="idp_id"))
    ],
) -> Response:
    """Replace an identity provider without a gap. An object as it was read may be changed and sent back."""

    async def work(change: Change) -> Stored | NotFound | Conflict:
        stored = await _present(ctx, change)
        return await identity_providers.replace(change, body.to_document(stored.id))

    return await ctx.write(work, row_reply(200))


@router.delete("/{idp_id}", **op(deleted(), 404))
async def delete_identity_provider(ctx: _Writes) -> Response:
    """Delete an identity provider. Its tokens are rejected from then on."""
    provider_id = ctx.row_id(_NOUN, "idp_id")

    async def work(change: Change) -> Stored | NotFound:
        await _present(ctx, change)
        return await identity_providers.delete(change, provider_id)

    return await ctx.write(work, no_content)


async def _present(ctx: RequestContext, change: Change) -> Stored:
    """Return the provider that is about to be written."""
    provider_id = ctx.row_id(_NOUN, "idp_id")
    stored = await identity_providers.get(change.connection, change.tenant, provider_id)
    if stored is None:
        raise ctx.missing(_NOUN, "idp_id")
    ctx.check_precondition(stored)
    return stored

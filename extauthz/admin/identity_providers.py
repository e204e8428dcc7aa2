"""`/admin/tenants/{id}/identity-providers`: the issuers of a tenant's tokens. Nothing here contacts one.

A document has the form of the file of IDENTITY_PROVIDERS and is read by the same code; see
`decide.tokens.registered_provider` for the members that REST refuses, and for its earlier spellings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Query
from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationInfo, model_validator
from starlette.responses import Response

from extauthz.admin.authorization import Permission
from extauthz.admin.collection import Collection
from extauthz.admin.context import RequestContext
from extauthz.admin.documents import BodyModel, Flag, StoredRow, context_of, refused_at, without_repeats
from extauthz.admin.openapi import created, deleted, listed, written
from extauthz.admin.operation import Operation, requires
from extauthz.admin.pagination import PageQuery
from extauthz.admin.tenants import PATH as TENANTS
from extauthz.admin.tenants import no_tenant
from extauthz.decide.tokens.jwks import ALGORITHMS
from extauthz.decide.tokens.provider_form import ANY_AUDIENCE, MAX_ISSUERS
from extauthz.decide.tokens.registered_provider import MAX_URL, NO_DEFAULTS, issuers_of, read_registered
from extauthz.domain.claim_readings import RoleShape
from extauthz.domain.forwarding import MAX_CLAIM_HEADERS, AuthorizationHeader
from extauthz.storage import identity_providers, tenants
from extauthz.storage.outcome import Conflict, Refusal
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change

PATH: Final = TENANTS + "/{id}/identity-providers"

_TEXT: Final = {"type": "string", "minLength": 1}
_URL: Final = {"type": "string", "maxLength": MAX_URL}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_SOME: Final = _TEXTS | {"minItems": 1}
_SECONDS: Final = {"type": "integer", "minimum": 0}


def _object(*required: str, **members: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": members,
        "required": list(required),
        "additionalProperties": False,
    }


def _member(schema: Mapping[str, object], description: str, *example: object) -> Any:
    """Return the field of a member that may be left out; `read_registered` checks it."""

    def describe(described: dict[str, Any]) -> None:
        described.pop("default", None)
        described.update(schema)

    return Field(description=description, examples=list(example) or None, json_schema_extra=describe)


_CLAIM_CONFIG: Final = _object(
    roles_claim=_TEXT, domain_claim=_TEXT, admin_domain_claim=_TEXT, excluded_roles=_TEXTS
) | {"type": ["object", "null"]}
_SHAPE: Final = {"enum": [shape.value for shape in RoleShape]}
_ROLE: Final = _object("claim", claim=_TEXT, shape=_SHAPE, prefix=_TEXT)
_ADMIN_ROLE: Final = _object("role", "domain", role=_TEXT, domain=_TEXT)
_SERVICE_CLAIM: Final = {"oneOf": [_TEXT, _object("claim", claim=_TEXT, value=_TEXT)]}
_HEADERS: Final = {"type": "object", "additionalProperties": _TEXT, "maxProperties": MAX_CLAIM_HEADERS}
_AUTHORIZATION: Final = {"enum": [each.value for each in AuthorizationHeader]}
_AUDIENCES: Final = {"oneOf": [{"const": ANY_AUDIENCE}, _SOME]}


class IdentityProviderDocument(BodyModel):
    """An identity provider.

    It has one of `issuer_url`, `issuer` and `issuer_template`, and one of `audience` and `audiences`. What
    names a file or a proxy of the server, or is a secret, is only possible in the file of IDENTITY_PROVIDERS.
    """

    issuer_url: Annotated[
        Any, _member(_URL, "`iss` of its tokens, exactly: a URL", "https://login.example.com/realms/acme")
    ] = None
    issuer: Annotated[Any, _member(_TEXT, "`iss` of its tokens, exactly, which need not be a URL")] = None
    issuer_template: Annotated[Any, _member(_TEXT, "an issuer with one placeholder such as `{id}`")] = None
    issuer_values: Annotated[
        Any, _member(_SOME | {"maxItems": MAX_ISSUERS}, "every value that the placeholder may have")
    ] = None
    aliases: Annotated[
        Any, _member(_TEXTS | {"maxItems": MAX_ISSUERS}, "further values of `iss` for the same keys")
    ] = None
    jwks_uri: Annotated[
        Any, _member(_URL | {"type": ["string", "null"]}, "left out or null: discovered from the issuer")
    ] = None
    jwks: Annotated[Any, _member({"type": "object"}, "the JWK Set itself, of public keys")] = None
    audience: Annotated[
        Any,
        _member(
            {"oneOf": [_TEXT, _SOME]},
            "the audiences that tokens must have; `any` is every one; a comma is part of it",
            "mesh",
        ),
    ] = None
    audiences: Annotated[Any, _member(_AUDIENCES, "a list, of which a token has to name one, or `any`")] = (
        None
    )
    audience_claim: Annotated[Any, _member(_TEXT, "the claim that names the audience, else `aud`")] = None
    algorithms: Annotated[
        Any, _member(_SOME | {"items": {"enum": sorted(ALGORITHMS)}}, "left out: RS256 and ES256")
    ] = None
    subject_claims: Annotated[
        Any, _member(_SOME, "claims in order; the first that a token has is the subject; left out: `sub`")
    ] = None
    service_claim: Annotated[
        Any, _member(_SERVICE_CLAIM, "a claim that makes the principal a service, by presence or by value")
    ] = None
    roles: Annotated[
        Any, _member({"type": "array", "items": _ROLE}, "claims of roles; left out: as in the settings")
    ] = None
    domain_claims: Annotated[
        Any, _member(_SOME, "claims in order: a name, or a list or object with one entry")
    ] = None
    admin_roles: Annotated[
        Any,
        _member(
            {"type": "array", "items": _ADMIN_ROLE},
            "roles whose bearers administer a domain through REST; `*` is the tenant",
        ),
    ] = None
    excluded_roles: Annotated[
        Any, _member(_TEXTS, "roles that do not count; left out: as in the settings")
    ] = None
    required_type: Annotated[Any, _member({"enum": ["at+jwt", "jwt"]}, "what `typ` has to be")] = None
    require_bound: Annotated[
        Any, _member({"type": "boolean"}, "only tokens bound to a client certificate (RFC 8705)")
    ] = None
    headers: Annotated[
        Any, _member(_HEADERS, "headers that workloads get, each with the attribute `user.*` of its value")
    ] = None
    authorization: Annotated[
        Any,
        _member(
            _AUTHORIZATION, "`remove`: workloads do not get the `Authorization` header; left out: `keep`"
        ),
    ] = None
    assertion: Annotated[
        Any, _member({"type": "boolean"}, "`false`: workloads get no `x-auth-assertion`; left out: `true`")
    ] = None
    leeway: Annotated[Any, _member(_SECONDS, "seconds; left out: as in the settings")] = None
    max_lifetime: Annotated[Any, _member(_SECONDS, "seconds; left out: as in the settings")] = None
    claim_config: Annotated[
        Any, _member(_CLAIM_CONFIG, "claims of roles and domains, as paths in dot notation")
    ] = None
    active: Flag = True
    _issuers: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, document: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(document, Mapping):
            return handler(document)
        context = context_of(info)
        known = None if context is None else context.services.claim_headers
        reading = read_registered(document, "", replace(NO_DEFAULTS, claim_headers=known))
        if isinstance(reading, list):
            raise refused_at(reading)
        body = handler(document)
        body._issuers = issuers_of(reading.configs)
        return body

    @property
    def issuers(self) -> tuple[str, ...]:
        """Every value of `iss` of its tokens."""
        return self._issuers

    def to_document(self, provider_id: str) -> Document:
        """Return the document to store: the members that were given, in their shortest form."""
        given = self.model_dump(exclude_unset=True)
        if isinstance(given.get("audience"), list):
            given["audience"] = without_repeats(given["audience"])
        if "claim_config" in given:
            config = {
                name: value for name, value in (given["claim_config"] or {}).items() if value is not None
            }
            if "excluded_roles" in config:
                config["excluded_roles"] = without_repeats(config["excluded_roles"])
            given["claim_config"] = config
        return {**given, "id": provider_id, "active": self.active}


class IdentityProviderOut(IdentityProviderDocument, StoredRow):
    """A stored identity provider."""


class Providers(Collection[IdentityProviderDocument]):
    """The providers of a tenant. An issuer belongs to one provider of all tenants and of the file."""

    async def insert(
        self, ctx: RequestContext, change: Change, body: IdentityProviderDocument
    ) -> Stored | Refusal:
        """Store a new provider."""
        document = self.to_document(body, change.new_id())
        return _of_file(ctx, body) or await identity_providers.create(change, document)

    async def store(
        self, ctx: RequestContext, change: Change, stored: Stored, body: IdentityProviderDocument
    ) -> Stored | Refusal:
        """Store a provider in the place of another one."""
        document = self.to_document(body, stored.id)
        return _of_file(ctx, body) or await identity_providers.replace(change, document)


PROVIDERS: Final = Providers(
    noun="identity provider",
    path=PATH,
    rows=identity_providers,
    to_document=IdentityProviderDocument.to_document,
    domain=None,
)
router: Final = APIRouter(prefix=PATH, tags=["Identity providers"], route_class=Operation)
_Reads = Annotated[RequestContext, requires(Permission.ADMIN_KEY)]
_Writes = Annotated[RequestContext, requires(Permission.ADMIN_KEY, conditional=True)]
_Creates = Annotated[RequestContext, requires(Permission.ADMIN_KEY, creating=True)]


@router.get("", **listed(IdentityProviderOut))
async def list_identity_providers(ctx: _Reads, query: Annotated[PageQuery, Query()]) -> Response:
    """List a tenant's identity providers. In the order of their creation."""
    if await ctx.read(lambda connection: tenants.get(connection, ctx.tenant)) is None:
        raise no_tenant(ctx)
    return await PROVIDERS.list(ctx, query)


@router.post("", **created(IdentityProviderOut))
async def create_identity_provider(ctx: _Creates, body: IdentityProviderDocument) -> Response:
    """Register an identity provider.

    Stored without contacting it; a tenant may have several. An issuer, an alias or a value of a template
    that another provider of any tenant has is 409: two tenants cannot share a public issuer.
    """
    return await PROVIDERS.create(ctx, body)


@router.put("/{idp_id}", **written(IdentityProviderOut, 409))
async def replace_identity_provider(ctx: _Writes, body: IdentityProviderDocument) -> Response:
    """Replace an identity provider without a gap. An object as it was read may be changed and sent back."""
    return await PROVIDERS.replace(ctx, body)


@router.delete("/{idp_id}", **deleted())
async def delete_identity_provider(ctx: _Writes) -> Response:
    """Delete an identity provider. Its tokens are rejected from then on."""
    return await PROVIDERS.delete(ctx)


def _of_file(ctx: RequestContext, body: IdentityProviderDocument) -> Conflict | None:
    """Return the conflict with issuers in the file of IDENTITY_PROVIDERS, as far as this process reads it."""
    taken = sorted(ctx.services.file_issuers().intersection(body.issuers))
    message = "the issuer is configured in the file of IDENTITY_PROVIDERS"
    return identity_providers.conflict(taken, message) if taken else None

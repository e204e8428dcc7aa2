"""`/admin/tenants/{id}/identity-providers`: the issuers of a tenant's tokens. Nothing here contacts one.

A document has the form of the file of IDENTITY_PROVIDERS and is read by the same code; see
`decide.tokens.registered_provider` for the members that REST refuses, and for its earlier spellings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from extauthz.admin.tenants import PATH as TENANTS
from extauthz.admin.tenants import tenant_of
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.fields import shown as quoted
from extauthz.decide.tokens.jwks import ALGORITHMS
from extauthz.decide.tokens.provider_form import MAX_ISSUERS, ProviderReading
from extauthz.decide.tokens.registered_provider import MAX_URL, NO_DEFAULTS, issuers_of, read_registered
from extauthz.domain.forwarding import MAX_CLAIM_HEADERS, AuthorizationHeader
from extauthz.domain.problem import Problem
from extauthz.rest import documents as doc
from extauthz.rest.authorization import Permission
from extauthz.rest.collection import Collection
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import created, deleted, listed, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import Paging
from extauthz.rest.problems import accepted, of_refusal
from extauthz.storage import identity_providers
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change

PATH: Final = TENANTS + "/{id}/identity-providers"

_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1)]
_Url = Annotated[str, Field(max_length=MAX_URL)]
_Seconds = Annotated[int, Field(ge=0)]
_Algorithms = Annotated[
    list[str], Field(min_length=1, json_schema_extra={"items": {"enum": sorted(ALGORITHMS)}})
]


class ProviderRole(doc.Model):
    """A claim with roles."""

    claim: _Text
    shape: Literal["list", "string", "space", "comma", "object_keys"] = doc.optional(
        "how the roles are in it"
    )
    prefix: _Text = doc.optional("what is put before each role")


class ProviderAdminRole(doc.Model):
    """A role whose bearers administer a domain."""

    role: _Text
    domain: _Text


class ProviderServiceClaim(doc.Model):
    """A claim that makes the principal a service, by presence or by value."""

    claim: _Text
    value: _Text = doc.optional("the value that it has to have")


class ProviderClaims(doc.Model):
    """Claims of roles and domains, as paths in dot notation."""

    roles_claim: _Text = doc.optional("the claim of roles")
    domain_claim: _Text = doc.optional("the claim of the domain")
    admin_domain_claim: _Text = doc.optional("the claim of the administered domain")
    excluded_roles: list[_Text] = doc.optional("roles that do not count")


def _read(
    document: object, pointer: str, problems: list[Problem], reading: Reading
) -> ProviderReading | None:
    if not isinstance(document, Mapping):
        problems.append(Problem(pointer, f"found {quoted(document)}, an object is needed"))
        return None
    found = read_registered(document, "", replace(NO_DEFAULTS, claim_headers=reading.claim_headers))
    if isinstance(found, list):
        problems += found
        return None
    return found


class IdentityProviderDocument(doc.PolicyDocument[ProviderReading]):
    """An identity provider.

    It has one of `issuer_url`, `issuer` and `issuer_template`, and one of `audience` and `audiences`. What
    names a file or a proxy of the server, or is a secret, is only possible in the file of IDENTITY_PROVIDERS.
    """

    reader = _read
    issuer_url: _Url = doc.optional(
        "`iss` of its tokens, exactly: a URL", "https://login.example.com/realms/acme"
    )
    issuer: _Text = doc.optional("`iss` of its tokens, exactly, which need not be a URL")
    issuer_template: _Text = doc.optional("an issuer with one placeholder such as `{id}`")
    issuer_values: _Texts = doc.optional("every value that the placeholder may have", max_length=MAX_ISSUERS)
    aliases: list[_Text] = doc.optional("further values of `iss` for the same keys", max_length=MAX_ISSUERS)
    jwks_uri: _Url | None = doc.optional("left out or null: discovered from the issuer")
    jwks: dict[str, Any] = doc.optional("the JWK Set itself, of public keys")
    audience: _Text | _Texts = doc.optional(
        "the audiences that tokens must have; `any` is every one; a comma is part of it", "mesh"
    )
    audiences: Literal["any"] | _Texts = doc.optional("a list, of which a token has to name one, or `any`")
    audience_claim: _Text = doc.optional("the claim that names the audience, else `aud`")
    algorithms: _Algorithms = doc.optional("left out: RS256 and ES256")
    subject_claims: _Texts = doc.optional(
        "claims in order; the first that a token has is the subject; left out: `sub`"
    )
    service_claim: _Text | ProviderServiceClaim = doc.optional(
        "a claim that makes the principal a service, by presence or by value"
    )
    roles: list[ProviderRole] = doc.optional("claims of roles; left out: as in the settings")
    domain_claims: _Texts = doc.optional("claims in order: a name, or a list or object with one entry")
    admin_roles: list[ProviderAdminRole] = doc.optional(
        "roles whose bearers administer a domain through REST; `*` is the tenant"
    )
    excluded_roles: list[_Text] = doc.optional("roles that do not count; left out: as in the settings")
    required_type: Literal["at+jwt", "jwt"] = doc.optional("what `typ` has to be")
    require_bound: bool = doc.optional("only tokens bound to a client certificate (RFC 8705)")
    headers: dict[str, _Text] = doc.optional(
        "headers that workloads get, each with the attribute `user.*` of its value",
        max_length=MAX_CLAIM_HEADERS,
    )
    authorization: AuthorizationHeader = doc.optional(
        "`remove`: workloads do not get the `Authorization` header; left out: `keep`"
    )
    assertion: bool = doc.optional("`false`: workloads get no `x-auth-assertion`; left out: `true`")
    leeway: _Seconds = doc.optional("seconds; left out: as in the settings")
    max_lifetime: _Seconds = doc.optional("seconds; left out: as in the settings")
    claim_config: ProviderClaims | None = doc.optional(
        "claims of roles and domains, as paths in dot notation"
    )
    active: bool = True

    def to_document(self, provider_id: str) -> Document:
        """Return the document to store: the members that were given, in their shortest form."""
        document = {"active": True, **self.written, "id": provider_id}
        if isinstance(audience := document.get("audience"), list):
            document["audience"] = doc.without_repeats(audience)
        if "claim_config" in document:
            config = cast("Mapping[str, Any]", document["claim_config"] or {})
            document["claim_config"] = {
                name: doc.without_repeats(value) if isinstance(value, list) else value
                for name, value in config.items()
                if value is not None
            }
        return document


class IdentityProviderOut(IdentityProviderDocument, doc.StoredRow):
    """A stored identity provider."""


class Providers(Collection[IdentityProviderDocument]):
    """The providers of a tenant. An issuer belongs to one provider of all tenants and of the file."""

    async def insert(self, ctx: RequestContext, change: Change, body: IdentityProviderDocument) -> Stored:
        """Store a new provider."""
        _require_free(ctx, body)
        return accepted(await identity_providers.create(change, body.to_document(change.new_id())))

    async def store(
        self, ctx: RequestContext, change: Change, stored: Stored, body: IdentityProviderDocument
    ) -> Stored:
        """Store a provider in the place of another one."""
        _require_free(ctx, body)
        return await Collection.store(self, ctx, change, stored, body)


def _require_free(ctx: RequestContext, body: IdentityProviderDocument) -> None:
    """Refuse issuers in the file of IDENTITY_PROVIDERS, as far as this process reads it."""
    taken = sorted(ctx.services.file_issuers().intersection(issuers_of(body.entity.configs)))
    if taken:
        message = "the issuer is configured in the file of IDENTITY_PROVIDERS"
        raise of_refusal(identity_providers.conflict(taken, message))


PROVIDERS: Final = Providers(
    noun="identity provider",
    path=PATH,
    rows=identity_providers,
    domain=None,
)
router: Final = APIRouter(prefix=PATH, tags=["Identity providers"], route_class=Operation)
_Reads = Annotated[RequestContext, requires(Permission.ADMIN_KEY)]
_Writes = Annotated[RequestContext, requires(Permission.ADMIN_KEY, conditional=True)]
_Creates = Annotated[RequestContext, requires(Permission.ADMIN_KEY, creating=True)]


@router.get("", **listed(IdentityProviderOut))
async def list_identity_providers(ctx: _Reads, query: Paging) -> Response:
    """List a tenant's identity providers. In the order of their creation."""
    await ctx.read(lambda connection: tenant_of(ctx, connection))
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

"""`/admin/tenants/{id}/identity-providers`: whose tokens a tenant takes. Nothing here contacts one."""

from collections.abc import Mapping
from dataclasses import replace as with_changes
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import UUID

from extauthz.admin import changes, examples
from extauthz.admin.documents import new_document, replacing_document
from extauthz.admin.operation import PAGING, Answer, Call, Content, Operation, Reply, Who
from extauthz.admin.paging import read_position
from extauthz.admin.problems import ProblemDetails, invalid, not_found
from extauthz.admin.reading import row_id
from extauthz.admin.tenant_operations import SLUG
from extauthz.admin.tenants import PATH as TENANTS
from extauthz.admin.tenants import nothing as no_tenant
from extauthz.compile.fields import Fields, shown
from extauthz.domain.provider_settings import (
    audience_problem,
    claim_path_problem,
    excluded_role_problem,
    issuer_problem,
    jwks_uri_problem,
)
from extauthz.storage import identity_providers, tenants
from extauthz.storage.outcome import NotFound
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.tenant_configs import CLAIM_PATHS, EVERY_AUDIENCE
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Connection

PATH: Final = TENANTS + "/{id}/identity-providers"
MAX_URL: Final = 2000
_SHOWN: Final = ("created_at", "updated_at", "warnings")


async def list_providers(call: Call) -> Reply | ProblemDetails:
    """List a tenant's providers."""
    position = read_position(call.query, scope=f"{call.tenant} identity_providers")
    if isinstance(position, ProblemDetails):
        return position

    async def work(connection: "Connection") -> Page | None:
        if await tenants.get(connection, call.tenant) is None:
            return None
        return await identity_providers.page(
            connection, call.tenant, after=position.after, limit=position.limit
        )

    page = await changes.read(call, work)
    if page is None:
        return no_tenant(call)
    return (
        page
        if isinstance(page, ProblemDetails)
        else changes.shown_page(call, identity_providers.TABLE, position, page)
    )


async def create(call: Call) -> Reply | ProblemDetails:
    """Register a provider."""
    problems: list[Problem] = []
    document = _read(new_document(call, problems), problems)
    if problems:
        return invalid(problems)
    if refusal := changes.stale(call, None):
        return refusal
    provider = document | {"id": call.services.new_id()}

    async def work(change: Change) -> changes.Outcome[Stored]:
        if refusal := await changes.beyond_limit(call, change, "identity_providers", 1):
            return refusal
        return await identity_providers.create(change, provider)

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    location = PATH.replace("{id}", call.tenant)
    return changes.written_reply(written, HTTPStatus.CREATED, changes.shown(written.value), location=location)


async def replace(call: Call) -> Reply | ProblemDetails:
    """Replace a provider in one step."""
    provider_id = row_id(call.path["idp_id"])
    if provider_id is None:
        return _nothing(call)
    assert call.body is not None
    problems: list[Problem] = []
    body = replacing_document(call.body.document, provider_id, problems, shown=_SHOWN)
    document = _read(body, problems)
    if problems:
        return invalid(problems)

    async def work(change: Change) -> changes.Outcome[Stored]:
        if refusal := await _stale(call, change, provider_id):
            return refusal
        return await identity_providers.replace(change, document | {"id": str(provider_id)})

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    return changes.written_reply(written, HTTPStatus.OK, changes.shown(written.value))


async def delete(call: Call) -> Reply | ProblemDetails:
    """Forget a provider: its tokens are refused from then on."""
    provider_id = row_id(call.path["idp_id"])
    if provider_id is None:
        return _nothing(call)

    async def work(change: Change) -> changes.Outcome[Stored]:
        return await _stale(call, change, provider_id) or await identity_providers.delete(change, provider_id)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def _stale(call: Call, change: Change, provider_id: UUID) -> ProblemDetails | NotFound | None:
    stored = await identity_providers.get(change.connection, change.tenant, provider_id)
    return _nothing(call) if stored is None else changes.stale(call, stored)


def _nothing(call: Call) -> ProblemDetails:
    return not_found(f"there is no identity provider {call.path['idp_id'][:80]!r}")


def _read(document: object, problems: "list[Problem]") -> Document:
    without_id = document
    if isinstance(document, Mapping):
        without_id = {name: value for name, value in document.items() if name != "id"}
    fields = Fields(without_id, "", problems)
    read: Document = {
        "issuer_url": _url(fields, "issuer_url", is_issuer=True),
        "jwks_uri": _url(fields, "jwks_uri", is_issuer=False),
        "audience": _audience(fields),
        "claim_config": _claim_config(fields, problems),
        "active": fields.flag("active", default=True),
    }
    fields.done()
    return read


def _url(fields: Fields, name: str, *, is_issuer: bool) -> str | None:
    value = fields.get(name)
    if value is None and not is_issuer:
        return None
    if not isinstance(value, str):
        fields.note(name, f"found {shown(value)}, a URL is needed" if fields.has(name) else "is missing")
        return None
    if problem := _url_problem(value, is_issuer=is_issuer):
        fields.note(name, f"found {shown(value)}, {problem}")
    return value


def _url_problem(text: str, *, is_issuer: bool) -> str | None:
    if not text.isascii() or not text.isprintable() or " " in text or len(text) > MAX_URL:
        return f"a URL of at most {MAX_URL} printable ASCII characters is needed"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "it is no URL"
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


def _audience(fields: Fields) -> object:
    value = fields.get("audience")
    if isinstance(value, list):
        audience: object = list(fields.names("audience", default=None))
        if isinstance(audience, list) and EVERY_AUDIENCE in audience and len(audience) > 1:
            fields.note("audience", f"names {EVERY_AUDIENCE!r}, every audience, together with others")
        for index, name in enumerate(value):
            if isinstance(name, str) and (problem := audience_problem(name)):
                fields.note_item("audience", index, f"found {shown(name)}, it must be {problem}")
        return audience
    if fields.has("audience"):
        name = fields.text("audience")
        if name is not None and (problem := audience_problem(name)):
            fields.note("audience", f"found {shown(name)}, it must be {problem}")
        return name
    if fields.is_object:
        fields.note("audience", f"is missing; {EVERY_AUDIENCE!r} takes tokens for whatever audience")
    return None


def _claim_config(fields: Fields, problems: "list[Problem]") -> Document:
    value = fields.get("claim_config")
    if value is None:
        return {}
    config = Fields(value, fields.at("claim_config"), problems)
    read: Document = {}
    for name in CLAIM_PATHS:
        path = None if config.get(name) is None else config.text(name, required=False)
        if path is None:
            continue
        if problem := claim_path_problem(path):
            config.note(name, f"found {shown(path)}, it must be {problem}")
        read[name] = path
    if config.get("excluded_roles") is not None:
        excluded = config.items("excluded_roles", required=False)
        read["excluded_roles"] = list(config.names("excluded_roles", default=None)) if excluded else []
        for index, role in enumerate(excluded):
            if isinstance(role, str) and (problem := excluded_role_problem(role)):
                config.note_item("excluded_roles", index, f"found {shown(role)}, it must be {problem}")
    config.done()
    return read


_TAG: Final = "Identity providers"
_STORED: Final = Content("IdentityProvider", examples.IDENTITY_PROVIDER_STORED)
_DOCUMENT: Final = Content("IdentityProviderDocument", examples.IDENTITY_PROVIDER)
_ONE: Final = PATH + "/{idp_id}"
_PLAIN: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="listIdentityProviders",
        tag=_TAG,
        who=Who.ADMIN_KEY,
        handler=list_providers,
        summary="List a tenant's identity providers",
        parameters=PAGING,
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of providers",
                Content("IdentityProviderPage", examples.page_of(examples.IDENTITY_PROVIDER_STORED)),
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="createIdentityProvider",
        tag=_TAG,
        who=Who.ADMIN_KEY,
        handler=create,
        summary="Register an identity provider",
        description=(
            "Stored without contacting it. A second active one of the tenant, and an issuer that any tenant "
            "has, is 409. `jwks_uri` left out is discovered from the issuer; `audience` `any` is every one."
        ),
        body=_DOCUMENT,
        preconditions=True,
        answers=(
            Answer(HTTPStatus.CREATED, "The provider", _STORED, ("X-Policy-Revision", "ETag", "Location")),
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="replaceIdentityProvider",
        tag=_TAG,
        who=Who.ADMIN_KEY,
        handler=replace,
        summary="Replace an identity provider without a gap",
        body=_DOCUMENT,
        preconditions=True,
        answers=(Answer(HTTPStatus.OK, "The provider", _STORED, ("X-Policy-Revision", "ETag")),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="deleteIdentityProvider",
        tag=_TAG,
        who=Who.ADMIN_KEY,
        handler=delete,
        summary="Forget an identity provider",
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "It is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
_PROVIDER_ID: Final = {"type": "string", "format": "uuid", "description": "the `id` of the provider"}
OPERATIONS: Final = tuple(
    with_changes(
        operation,
        saas_only=True,
        path_schemas={"id": SLUG, "idp_id": _PROVIDER_ID},
    )
    for operation in _PLAIN
)

"""Who calls the REST API, and what they administer (CONTRACT, "Callers"; DESIGN 1, tenant and domain admin).

Exactly one credential: a token of a registered issuer, a service key, or the operator's key. In selfhost the
operator's key is tenant admin of the only tenant; in saas it is nobody on `/api/v1`.
"""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers

from extauthz.admin.problems import RETRY_AFTER, ProblemDetails, forbidden
from extauthz.admin.services import AdminServices
from extauthz.compile.directory import DEFAULT_TENANT, TenancyMode
from extauthz.decide.claims import admin_domains
from extauthz.decide.identity import NeedsKey, Rejected, identify, no_service_keys
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import DENIED_HTTP_STATUS, Reason
from extauthz.storage.write import Actor

_KEY_WAIT_S: Final = 2.0
_CREDENTIALS: Final = ("authorization", "x-admin-api-key", "x-service-api-key")
_BEARER: Final = "bearer "
_MAX_REQUEST_ID: Final = 128

# RFC 6750 3.1
_REFUSALS: Final = {
    Reason.TOKEN_MISSING: (None, "a credential is needed"),
    Reason.TOKEN_MALFORMED: ("invalid_token", "the token is malformed"),
    Reason.TOKEN_EXPIRED: ("invalid_token", "the token has expired"),
    Reason.TOKEN_NOT_YET_VALID: ("invalid_token", "the token is not valid yet"),
    Reason.TOKEN_BAD_SIGNATURE: ("invalid_token", "the signature does not verify"),
    Reason.TOKEN_UNKNOWN_ISSUER: ("invalid_token", "the issuer is not known here"),
    Reason.TOKEN_WRONG_AUDIENCE: ("invalid_token", "the token is meant for another audience"),
    Reason.TOKEN_UNKNOWN_KEY: ("invalid_token", "the issuer has no such key"),
    Reason.TOKEN_ALGORITHM: ("invalid_token", "the algorithm is not accepted"),
    Reason.TOKEN_CLAIMS_INVALID: ("invalid_token", "a claim is missing or invalid"),
    Reason.API_KEY_INVALID: ("invalid_token", "the API key is not valid"),
    Reason.CREDENTIALS_CONFLICT: ("invalid_request", "more than one credential was sent"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller in its tenant.

    `principal` is None for the operator's key. `administers` holds domain names, `*` among them for a tenant
    admin, and is empty for an ordinary caller.
    """

    tenant: str
    actor: Actor
    principal: Principal | None
    administers: frozenset[str]

    @property
    def is_tenant_admin(self) -> bool:
        """Whether the caller administers the whole tenant."""
        return WILDCARD in self.administers

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers anything."""
        return bool(self.administers)

    @property
    def domains(self) -> frozenset[str] | None:
        """The domains whose rows the caller may see and write; None: all of them."""
        return None if self.is_tenant_admin else self.administers

    def may(self, domain: object) -> bool:
        """Tell whether the caller may see and write rows of a domain (`*`: tenant admins only)."""
        return self.is_tenant_admin or domain in self.administers


async def recognise(headers: Headers, services: AdminServices) -> Caller | ProblemDetails:
    """Judge the credentials of a request; a token may wait once for its issuer's keys."""
    given = [name for name in _CREDENTIALS for _ in headers.getlist(name)]
    if len(given) > 1:
        return refused(Reason.CREDENTIALS_CONFLICT)
    if _presents_admin_key(headers, services.admin_api_key):
        return _operator(headers, services)
    if "x-admin-api-key" in given:
        return refused(Reason.API_KEY_INVALID)
    found = _identify(headers, services)
    if isinstance(found, NeedsKey):
        fetch = asyncio.wrap_future(services.keys.ensure(found.issuer, found.kid))
        await asyncio.wait({fetch}, timeout=_KEY_WAIT_S)
        found = _identify(headers, services)
    match found:
        case NeedsKey():
            return refused(Reason.KEYS_UNAVAILABLE)
        case Rejected(reason):
            return refused(reason)
        case None:
            return refused(Reason.TOKEN_MISSING)
        case Principal():
            return _bearer(found, headers, services)


def _identify(headers: Headers, services: AdminServices) -> Principal | Rejected | NeedsKey | None:
    return identify(
        authorization=headers.get("authorization"),
        authorization_repeated=False,
        service_key=headers.get("x-service-api-key"),
        service_key_repeated=False,
        ring=services.keys.current(),
        service_keys=no_service_keys,
        cache=services.tokens,
        now=services.clock(),
        policy=services.token_policy,
    )


def _presents_admin_key(headers: Headers, admin_api_key: str | None) -> bool:
    presented = headers.get("x-admin-api-key")
    authorization = headers.get("authorization", "")
    if presented is None and authorization[: len(_BEARER)].lower() == _BEARER:
        presented = authorization[len(_BEARER) :].strip(" ")
    if presented is None or admin_api_key is None:
        return False
    # Digests have one length, so comparing them tells nothing about the key, not even how long it is.
    return hmac.compare_digest(
        hashlib.sha256(presented.encode("latin-1")).digest(),
        hashlib.sha256(admin_api_key.encode("utf-8", "surrogateescape")).digest(),
    )


def _operator(headers: Headers, services: AdminServices) -> Caller | ProblemDetails:
    if services.mode is not TenancyMode.SELFHOST:
        return forbidden("the admin key is no tenant's administrator in MODE=saas")
    actor = Actor("admin_key", "admin", None, _request_id(headers))
    return Caller(DEFAULT_TENANT, actor, None, frozenset({WILDCARD}))


def _bearer(principal: Principal, headers: Headers, services: AdminServices) -> Caller | ProblemDetails:
    assert principal.tenant is not None, "an issuer belongs to a tenant"
    assert principal.id is not None, "a token has a subject"
    directory = services.policies.current()
    if directory is not None and principal.tenant in directory.suspended:
        return forbidden("the tenant is suspended", reason=Reason.TENANT_SUSPENDED.value)
    issuer = services.keys.current().issuers.get(str(principal.claims.get("iss")))
    administers = (
        frozenset[str]()
        if issuer is None
        else admin_domains(principal.claims, issuer.config.admin_domain_claim)
    )
    actor = Actor(principal.kind.value, principal.id, principal.domain, _request_id(headers))
    return Caller(principal.tenant, actor, principal, administers)


def refused(reason: Reason) -> ProblemDetails:
    """Return 401 with an RFC 6750 challenge, or 503 where nobody could tell yet."""
    members: dict[str, object] = {"reason": reason.value}
    if DENIED_HTTP_STATUS[reason] == HTTPStatus.SERVICE_UNAVAILABLE:
        detail = "the issuer's keys could not be fetched; try again"
        return ProblemDetails(HTTPStatus.SERVICE_UNAVAILABLE, detail, members=members, headers=(RETRY_AFTER,))
    error, detail = _REFUSALS[reason]
    challenge = 'Bearer realm="extauthz"'
    if error is not None:
        challenge += f', error="{error}", error_description="{detail}"'
    return ProblemDetails(
        HTTPStatus.UNAUTHORIZED, detail, members=members, headers=(("WWW-Authenticate", challenge),)
    )


def _request_id(headers: Headers) -> str | None:
    """Return the caller's name for its request, for the audit trail, when it is fit to be stored."""
    found = headers.get("x-request-id", "")
    usable = 0 < len(found) <= _MAX_REQUEST_ID and found.isascii() and found.isprintable()
    return found if usable else None

"""Authentication of REST callers: headers in, a `Caller` out; errors are `ProblemError` 401, 403, 429 or 503.

Exactly one credential: a token of a registered issuer, a service key, the operator's key, or a session of the
operator. In selfhost the operator's key is also tenant admin of the only tenant; in saas it has no permission
on `/api/v1`, and a session has none there in either mode.
"""

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request

from extauthz.decide.identity import Keys, Needs, Rejected, identify
from extauthz.decide.needs import NeedsIntrospection, NeedsKey
from extauthz.decide.tokens.claims import administered_domains
from extauthz.decide.tokens.introspection import Introspected
from extauthz.domain.credential import authorization_credential
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import ID_PREFIX, PresentedKey, Scope
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys import session_tokens
from extauthz.rest.problems import RETRY_AFTER, ProblemError, accepted, forbidden, throttled
from extauthz.rest.services import AdminServices
from extauthz.storage import audit, service_keys, write
from extauthz.storage.conditions import EveryDomain
from extauthz.storage.service_keys import KeyGrant
from extauthz.storage.write import Actor

_log: Final = structlog.get_logger("extauthz.admin")
KEY_WAIT_S: Final = 2.0
INTROSPECTION_WAIT_S: Final = 3.0
_CREDENTIALS: Final = ("authorization", "x-admin-api-key", "x-service-api-key")
_BEARER: Final = "bearer "
_MAX_REQUEST_ID: Final = 128
_NO_FAILURES: Final = frozenset(
    {
        *(Reason.TOKEN_MISSING, Reason.CREDENTIALS_CONFLICT, Reason.KEYS_UNAVAILABLE),
        *(Reason.INTROSPECTION_UNAVAILABLE, Reason.OVERLOADED),
    }
)
"""Refusals that say nothing about a credential, and do not count as failures."""


class CallerKind(Enum):
    """The kind of credential that a caller presented."""

    OPERATOR = "the admin key"
    SESSION = "a session of the operator"
    TOKEN = "a token"  # noqa: S105
    SERVICE_KEY = "a service key"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller in its tenant.

    `principal` is that of a token, `grant` what a service key allows. `administers` holds domain names, among
    them `*` for a tenant admin; it is empty for an ordinary caller, and can be every named domain for a key.
    """

    kind: CallerKind
    tenant: str
    actor: Actor
    principal: Principal | None
    administers: frozenset[str] | EveryDomain
    grant: KeyGrant | None = None

    @property
    def is_tenant_admin(self) -> bool:
        """Whether the caller administers the whole tenant."""
        return isinstance(self.administers, frozenset) and WILDCARD in self.administers

    @property
    def is_domain_admin(self) -> bool:
        """Whether a token makes the caller administer anything; keys have scopes for that."""
        return self.principal is not None and bool(self.administers)

    @property
    def domains(self) -> frozenset[str] | EveryDomain | None:
        """The domains whose rows the caller may see and write; None: all of them."""
        return None if self.is_tenant_admin else self.administers

    @property
    def only_domain(self) -> str | None:
        """The domain of a policy that names none; None: the caller has to name one."""
        if self.is_tenant_admin:
            return WILDCARD
        if isinstance(self.administers, frozenset) and len(self.administers) == 1:
            return next(iter(self.administers))
        return None

    def administers_domain(self, domain: object) -> bool:
        """Tell whether the caller may see and write rows of a domain (`*`: tenant admins only)."""
        if isinstance(self.administers, EveryDomain):
            return domain != WILDCARD
        return self.is_tenant_admin or domain in self.administers

    def standing(self, permission: str) -> dict[str, object]:
        """Return what a draft keeps of the author of a change that needed a permission."""
        domains = self.administers
        return {
            "caller": self.kind.name,
            "permission": permission,
            "administers": None if isinstance(domains, EveryDomain) else sorted(domains),
            "key": None if self.grant is None else self.grant.id,
        }

    def has(self, scope: Scope) -> bool:
        """Tell whether the caller is a service key with a scope."""
        return self.grant is not None and scope in self.grant.scopes


async def authenticate(request: Request, services: AdminServices, *, bearer_keys: bool = False) -> Caller:
    """Return the caller of a request. Failures are counted by the address of the client.

    With `bearer_keys` a service key may also come as `Authorization: Bearer sak_...`.
    """
    found = await _identified(request.headers, services, bearer_keys=bearer_keys)
    if isinstance(found, Caller):
        return replace(found, actor=replace(found.actor, request_id=_request_id(request.headers)))
    raise (
        unauthenticated(found)
        if found in _NO_FAILURES
        else rejected(found, client_address(request), services)
    )


async def _identified(headers: Headers, services: AdminServices, *, bearer_keys: bool) -> Caller | Reason:
    given = [name for name in _CREDENTIALS for _ in headers.getlist(name)]
    if len(given) > 1:
        return Reason.CREDENTIALS_CONFLICT
    if _presents_admin_key(headers, services.admin_api_key):
        return _operator(services)
    if "x-admin-api-key" in given:
        return Reason.API_KEY_INVALID
    if "x-service-api-key" in given:
        return await _service_key(headers["x-service-api-key"], services)
    bearer = _bearer_credential(headers)
    if bearer is not None and bearer.startswith(session_tokens.PREFIX):
        return await _session(bearer, services)
    if bearer_keys and bearer is not None and bearer.startswith(ID_PREFIX):
        return await _service_key(bearer, services)
    # One time for both verifications: a fetch that begins after it knows every key published before.
    now = services.clock()
    found = _identify(headers, services, now)
    if isinstance(found, NeedsKey):
        fetch = asyncio.wrap_future(services.keys.ensure(found.issuer, found.kid))
        await asyncio.wait({fetch}, timeout=KEY_WAIT_S)
        found = _identify(headers, services, now)
        if isinstance(found, Principal):
            found = _identify(headers, services, services.clock())
    if isinstance(found, NeedsIntrospection) and services.introspector is not None:
        answer = await asyncio.wrap_future(services.introspector.ask(found, INTROSPECTION_WAIT_S))
        found = _identify(headers, services, now, answer)
        if isinstance(found, Principal):
            # INVARIANT: the token is valid now; it may have expired while the issuer was asked.
            found = _identify(headers, services, services.clock(), answer)
    if isinstance(found, Needs):
        found = found.otherwise
    match found:
        case Rejected(reason, detail):
            _log.debug("caller_refused", reason=reason.value, detail=detail)
            return reason
        case None:
            return Reason.TOKEN_MISSING
        case Principal():
            return _token(found, services)


async def _service_key(text: str, services: AdminServices) -> Caller | Reason:
    presented = PresentedKey.parse(text)
    if presented is None:
        return Reason.API_KEY_INVALID
    now = services.clock()
    found = await service_keys.find(services.pool, presented, now=datetime.fromtimestamp(now, UTC))
    grant = accepted(found)
    if grant is None or (services.mode is TenancyMode.SELFHOST and grant.tenant != DEFAULT_TENANT):
        return Reason.API_KEY_INVALID
    _require_active(grant.tenant, services)
    services.key_use.note(grant.tenant, grant.id, now)
    actor = Actor("service_key", grant.id, grant.domain)
    return Caller(CallerKind.SERVICE_KEY, grant.tenant, actor, None, _administered(grant), grant)


def _administered(grant: KeyGrant) -> frozenset[str] | EveryDomain:
    if grant.bootstrap:
        return frozenset({WILDCARD})
    if not grant.scopes & {Scope.POLICIES_READ, Scope.POLICIES_WRITE}:
        return frozenset()
    return EveryDomain.NAMED if grant.domain is None else frozenset({grant.domain})


async def _session(token: str, services: AdminServices) -> Caller | Reason:
    key = services.admin_api_key
    session = None if key is None else session_tokens.verify(key, token, services.clock())
    if session is None:
        return Reason.API_KEY_INVALID
    ended = await write.read(
        services.pool, audit.INSTALLATION, lambda connection: audit.session_ended(connection, session.id)
    )
    if accepted(ended):
        return Reason.API_KEY_INVALID
    actor = Actor(audit.ADMIN_SESSION, str(session.id))
    return Caller(CallerKind.SESSION, audit.INSTALLATION, actor, None, frozenset())


def _identify(
    headers: Headers, services: AdminServices, now: float, answer: Introspected | None = None
) -> Principal | Rejected | Needs | None:
    """Judge the `Authorization` header, None without one; `answer` is of an introspection of its token."""
    value = headers.get("authorization")
    credentials = [] if value is None else [authorization_credential(value)]
    introspected = None if services.introspector is None else services.introspector.remembered
    keys = Keys(services.keys.current(), {}, services.tokens, introspected=introspected, answer=answer)
    # In saas nothing but its token says of which tenant a REST caller is, and an opaque one does not.
    owner = DEFAULT_TENANT if services.mode is TenancyMode.SELFHOST else None
    return identify(credentials, None, keys, now, services.token_policy, owner=owner)


def _bearer_credential(headers: Headers) -> str | None:
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() != _BEARER:
        return None
    return authorization[len(_BEARER) :].strip(" ")


def _presents_admin_key(headers: Headers, admin_api_key: str | None) -> bool:
    presented = headers.get("x-admin-api-key")
    if presented is None:
        presented = _bearer_credential(headers)
    if presented is None or admin_api_key is None:
        return False
    # Digests have one length, so that the time of the comparison does not depend on the key.
    return hmac.compare_digest(
        hashlib.sha256(presented.encode("latin-1")).digest(),
        hashlib.sha256(admin_api_key.encode("utf-8", "surrogateescape")).digest(),
    )


def _operator(services: AdminServices) -> Caller:
    actor = Actor("admin_key", "admin")
    if services.mode is TenancyMode.SELFHOST:
        return Caller(CallerKind.OPERATOR, DEFAULT_TENANT, actor, None, frozenset({WILDCARD}))
    return Caller(CallerKind.OPERATOR, audit.INSTALLATION, actor, None, frozenset())


def _token(principal: Principal, services: AdminServices) -> Caller:
    assert principal.tenant is not None, "an issuer belongs to a tenant"
    assert principal.id is not None, "a token has a subject"
    _require_active(principal.tenant, services)
    issuer = services.keys.current().issuers.get(str(principal.claims.get("iss")))
    administers = frozenset[str]()
    if issuer is not None:
        config = issuer.config
        administers = administered_domains(
            principal.claims, principal.roles, config.admin_domain_claim, config.admin_roles
        )
    actor = Actor(principal.kind.value, principal.id, principal.domain)
    return Caller(CallerKind.TOKEN, principal.tenant, actor, principal, administers)


def _require_active(tenant: str, services: AdminServices) -> None:
    directory = services.policies.current()
    if directory is not None and tenant in directory.suspended:
        raise forbidden("the tenant is suspended", reason=Reason.TENANT_SUSPENDED.value)


def rejected(reason: Reason, address: str | None, services: AdminServices) -> ProblemError:
    """Return 401 for an invalid credential, which is counted; 429 after too many from its address."""
    wait = services.failures.count(address, reason, services.clock())
    return unauthenticated(reason) if wait is None else throttled(wait, reason=reason.value)


def client_address(request: Request) -> str | None:
    """Return the address whose failures are counted; None: the server does not know it."""
    return None if request.client is None else request.client.host


def unauthenticated(reason: Reason) -> ProblemError:
    """Return 401 with an RFC 6750 challenge, or 503 while the keys are unavailable."""
    status = HTTPStatus(reason.http_status)
    unavailable = status is HTTPStatus.SERVICE_UNAVAILABLE
    header = RETRY_AFTER if unavailable else ("WWW-Authenticate", reason.challenge)
    return ProblemError(status, reason.text, members={"reason": reason.value}, headers=(header,))


def _request_id(headers: Headers) -> str | None:
    """Return `X-Request-Id`, for the audit trail, when it can be stored."""
    found = headers.get("x-request-id", "")
    usable = 0 < len(found) <= _MAX_REQUEST_ID and found.isascii() and found.isprintable()
    return found if usable else None

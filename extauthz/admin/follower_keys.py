"""Authentication of sidecars: a service key with the scope `policies:follow`, or a key of many tenants.

Input: a request. Output: a `Follower`. Errors: `ProblemError` 401, 403, 429 or 503.

A key that was found is remembered for `KEY_KEPT_S`, so that ten thousand sidecars with one key ask the
database once in that time; a revoked key ends within it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from starlette.requests import Request

from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import PresentedKey, Scope
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.rest.authentication import client_address, rejected, unauthenticated
from extauthz.rest.problems import accepted, forbidden
from extauthz.rest.services import AdminServices
from extauthz.storage import service_keys, sidecar_keys
from extauthz.storage.audit import INSTALLATION
from extauthz.storage.outcome import Refusal
from extauthz.storage.service_keys import KeyGrant
from extauthz.storage.shared_questions import SharedQuestions
from extauthz.storage.sidecar_keys import SidecarKey

KEY_KEPT_S: Final = 5.0
_KEYS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Follower:
    """A sidecar that presented a key; `tenant` None: one of any tenant."""

    tenant: str | None

    def require_tenants(self, tenants: Collection[str]) -> None:
        """Refuse tenants that the key is not for. Raises ProblemError 403."""
        if self.tenant is not None and not {self.tenant}.issuperset(tenants):
            raise forbidden("the key is of another tenant")


class FollowerKeys:
    """Finds the sidecar of a request, and remembers its key for a while."""

    def __init__(self, services: AdminServices) -> None:
        """Take the services of the API."""
        self._services = services
        self._known: BoundedCache[PresentedKey, tuple[KeyGrant | Follower, float]] = BoundedCache(_KEYS)
        self._questions = SharedQuestions()

    async def follower(self, request: Request) -> Follower:
        """Return the sidecar that sent a request. Raises ProblemError."""
        given = request.headers.getlist("x-service-api-key")
        presented = PresentedKey.parse(given[0]) if len(given) == 1 else None
        found = None if presented is None else await self._found(presented)
        match found:
            case KeyGrant():
                if not (found.bootstrap or Scope.POLICIES_FOLLOW in found.scopes):
                    raise forbidden("this is for service keys with the scope 'policies:follow'")
                return Follower(found.tenant)
            case Follower():
                return found
            case None:
                raise self._refusal(request, given)

    async def _found(self, presented: PresentedKey) -> KeyGrant | Follower | None:
        services = self._services
        own = services.worker_key
        if own is not None and own.id == presented.id and own.opens(presented.digest):
            return Follower(None)
        now = services.clock()
        known = self._known.get(presented)
        if known is not None and now < known[1]:
            return known[0]
        at = datetime.fromtimestamp(now, UTC)
        found = await self._questions.ask(presented, partial(self._stored, presented, at))
        found = accepted(found)
        if found is None or (isinstance(found, KeyGrant) and self._is_foreign(found)):
            return None
        until = now + KEY_KEPT_S
        if found.expires_at is not None:
            until = min(until, found.expires_at.timestamp())
        tenant = found.tenant if isinstance(found, KeyGrant) else INSTALLATION
        services.key_use.note(tenant, found.id, now)
        follower = found if isinstance(found, KeyGrant) else Follower(None)
        self._known.put(presented, (follower, until))
        return follower

    async def _stored(self, presented: PresentedKey, at: datetime) -> KeyGrant | SidecarKey | Refusal | None:
        pool = self._services.pool
        found = await service_keys.find(pool, presented, now=at)
        return await sidecar_keys.find(pool, presented, now=at) if found is None else found

    def _refusal(self, request: Request, given: list[str]) -> Exception:
        services = self._services
        if not given:
            return unauthenticated(Reason.TOKEN_MISSING)
        return rejected(Reason.API_KEY_INVALID, client_address(request), services)

    def _is_foreign(self, grant: KeyGrant) -> bool:
        return self._services.mode is TenancyMode.SELFHOST and grant.tenant != DEFAULT_TENANT

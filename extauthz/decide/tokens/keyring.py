"""The keys of every registered issuer at one moment: immutable, replaced as a whole.

INVARIANT: a key is only ever reached through its issuer, so it cannot verify for another one (RFC 8725 3.8).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

from extauthz.decide.tokens.jwks import DEFAULT_ALGORITHMS, KeySet
from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, ServiceClaim
from extauthz.domain.forwarding import Forwarding

# Nothing is ever set further ahead; what seems to be is of a clock that was put back.
LONGEST_COOL_DOWN: Final = 30.0

SAME_KEY_ID_S: Final = 30.0
"""How old keys are, in seconds, before a bad signature under a known key id causes a fetch."""


@dataclass(frozen=True, slots=True)
class IntrospectionRule:
    """Which tokens of an issuer are judged by its answer (RFC 7662), and for how long that counts.

    Those that are not JWTs; with `every_token` also JWTs with its `iss`, whose signature is then not
    verified: its keys are never needed. `max_age` is seconds.
    """

    max_age: float
    every_token: bool = False


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """How an issuer was registered: its tenant, what its tokens must say, and how their claims are read.

    `audiences` None accepts every audience (written out by the operator as `any`). Claims are paths in dot
    notation; of `subject_claims` and `domain_claims` the first that a token has counts. `aliases` are further
    values of `iss`. With `require_bound` a token has to be bound to a certificate. `required_type` is a
    `typ` (RFC 7515 4.1.9) in lower case without `application/`. `leeway` and `max_lifetime` are seconds,
    None: as for every token. `forwarding` is what workloads get with the requests of its principals.
    """

    issuer: str
    tenant: str
    audiences: tuple[str, ...] | None
    roles: tuple[RoleClaim, ...]
    domain_claims: tuple[DomainClaim, ...]
    admin_domain_claim: str
    excluded_roles: frozenset[str]
    aliases: tuple[str, ...] = ()
    audience_claim: str = "aud"
    subject_claims: tuple[str, ...] = ("sub",)
    service_claim: ServiceClaim | None = None
    admin_roles: tuple[AdminRole, ...] = ()
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    required_type: str | None = None
    require_bound: bool = False
    leeway: float | None = None
    max_lifetime: float | None = None
    forwarding: Forwarding | None = None
    introspection: IntrospectionRule | None = None

    @classmethod
    def usual(
        cls,
        issuer: str,
        tenant: str,
        audiences: tuple[str, ...] | None,
        roles_claim: str,
        domain_claim: str,
        admin_domain_claim: str,
        excluded_roles: frozenset[str],
    ) -> "IssuerConfig":
        """Return the configuration of an issuer whose tokens have one claim for each purpose."""
        roles, domains = (RoleClaim(roles_claim),), (DomainClaim(domain_claim),)
        return cls(issuer, tenant, audiences, roles, domains, admin_domain_claim, excluded_roles)

    @property
    def names(self) -> tuple[str, ...]:
        """Every value of `iss` that this issuer's tokens may have."""
        return (self.issuer, *self.aliases)

    @property
    def has_keys(self) -> bool:
        """Whether keys verify tokens of this issuer."""
        return self.introspection is None or not self.introspection.every_token


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """What is known of an issuer's keys. Times are POSIX seconds.

    `keys` is None until a fetch succeeded; `fetched_at` is when the last successful fetch was *begun*, so a
    key published later may be missing. A token may cause a fetch from `fetch_allowed_at` on; while one is
    `fetching`, a token may wait for it until `awaited_until`. From `usable_until` on the keys are too old to
    prove anything.
    """

    config: IssuerConfig
    keys: KeySet | None = None
    fetched_at: float | None = None
    fetch_allowed_at: float = 0.0
    fetching: bool = False
    awaited_until: float = 0.0
    usable_until: float = math.inf

    def keys_at(self, now: float) -> KeySet | None:
        """Return the keys that may verify now."""
        return self.keys if now < self.usable_until else None

    def put_back(self, seconds: float) -> "IssuerKeys":
        """Return what is known, with all its times so much earlier: the clock was put back."""
        return replace(
            self,
            fetched_at=None if self.fetched_at is None else self.fetched_at - seconds,
            fetch_allowed_at=self.fetch_allowed_at - seconds,
            awaited_until=self.awaited_until - seconds,
            usable_until=self.usable_until - seconds,
        )

    def may_fetch(self, now: float) -> bool:
        """Whether the cool-down is over; a clock that was put back does not prolong it."""
        wait = self.fetch_allowed_at - now
        return wait <= 0 or wait > LONGEST_COOL_DOWN

    def were_fetched_lately(self, now: float) -> bool:
        """Whether the keys are too young to suspect another key under a known key id."""
        return self.fetched_at is not None and 0 <= now - self.fetched_at < SAME_KEY_ID_S

    def is_awaited(self, now: float) -> bool:
        """Whether a fetch is under way that is worth waiting for."""
        return self.fetching and 0 < self.awaited_until - now <= LONGEST_COOL_DOWN


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All issuers whose tokens are accepted, by each exact `iss`; `algorithms` are those of any of them.

    `introspecting` is by tenant: the one issuer that is asked about its opaque tokens.
    """

    issuers: Mapping[str, IssuerKeys] = field(default_factory=lambda: MappingProxyType({}))
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    introspecting: Mapping[str, IssuerConfig] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, issuers: Iterable[IssuerKeys]) -> Self:
        """Build a ring; of several with one issuer the last counts."""
        by_name = {name: keys for keys in issuers for name in keys.config.names}
        algorithms = (keys.config.algorithms for keys in by_name.values())
        return cls(MappingProxyType(by_name), DEFAULT_ALGORITHMS.union(*algorithms), _introspecting(by_name))

    def having(self, keys: IssuerKeys) -> "KeyRing":
        """Return this ring with what is now known of one issuer, which it has already."""
        renewed = dict.fromkeys(keys.config.names, keys)
        return KeyRing(MappingProxyType({**self.issuers, **renewed}), self.algorithms, self.introspecting)


def _introspecting(issuers: Mapping[str, IssuerKeys]) -> Mapping[str, IssuerConfig]:
    """Return the introspecting issuer of each tenant; a tenant with several has none."""
    of_tenant: dict[str, dict[str, IssuerConfig]] = {}
    for keys in issuers.values():
        if keys.config.introspection is not None:
            of_tenant.setdefault(keys.config.tenant, {})[keys.config.issuer] = keys.config
    # INVARIANT: an opaque token does not name its issuer, so a choice between two would be a guess.
    return MappingProxyType(
        {tenant: next(iter(found.values())) for tenant, found in of_tenant.items() if len(found) == 1}
    )

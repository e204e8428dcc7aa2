"""The snapshots of all tenants and the owners of hosts; a request reads one directory, once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.service_key import IdentityKey
from extauthz.domain.tenant_config import TenantIdentityProvider

DEFAULT_TENANT: Final = "default"


class TenancyMode(StrEnum):
    """`selfhost` has one tenant, `default`; `saas` has many."""

    SELFHOST = "selfhost"
    SAAS = "saas"


class TenantBinding(StrEnum):
    """The owner of a target that no host names: none, or (if the operator says so) the token's tenant."""

    HOST = "host"
    TOKEN = "token"  # noqa: S105


class UnmappedPolicy(StrEnum):
    """What a request without a route is: denied, or a resource named by its path."""

    DENY = "deny"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Directory:
    """The published policies of every tenant.

    `confirmed_at` is when a poll last confirmed the revisions (POSIX seconds); `lagging` names the tenants
    whose newest rows could not be compiled, with the time their snapshot was last confirmed (0.0: there is
    none yet). `hosts` maps a host to its owner, `service_keys` the ids of keys that identify to those keys.
    """

    mode: TenancyMode
    snapshots: Mapping[str, Snapshot]
    epoch: str | None = None
    confirmed_at: float = 0.0
    hosts: Mapping[str, str] = field(default_factory=dict)
    suspended: frozenset[str] = frozenset()
    issuers: tuple[TenantIdentityProvider, ...] = ()
    service_keys: Mapping[str, IdentityKey] = field(default_factory=dict)
    lagging: Mapping[str, float] = field(default_factory=dict)

    def awaits_policies(self, tenant: str) -> bool:
        """Tell whether the tenant exists but none of its policies could be compiled since the start."""
        if tenant in self.snapshots:
            return False
        return tenant in self.lagging or (self.mode is TenancyMode.SELFHOST and tenant == DEFAULT_TENANT)

    def confirmed(self, tenant: str) -> float:
        """Return when the tenant's revision was last confirmed (POSIX seconds)."""
        return self.lagging.get(tenant, self.confirmed_at)

    def worst_confirmed(self) -> float:
        """Return when the tenant that lags behind most was last confirmed (POSIX seconds)."""
        return min((self.confirmed_at, *self.lagging.values()))

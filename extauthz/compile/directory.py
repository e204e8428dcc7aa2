"""The snapshots of all tenants and the owners of hosts; a request reads one directory, once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.service_key import IdentityKey
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import TenantIdentityProvider


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

"""The configurations of all tenants together: owners of hosts, issuers, service keys that identify."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import structlog

from extauthz.domain.service_key import IdentityKey
from extauthz.domain.tenant_config import TenantConfig, TenantIdentityProvider
from extauthz.publish.rejected_revisions import SHOWN_PROBLEMS

_log = structlog.get_logger("extauthz.publish")


@dataclass(frozen=True, slots=True)
class TenantConfigs:
    """What a directory says of all tenants together; immutable, built anew when one of them changed."""

    of: Mapping[str, TenantConfig] = field(default_factory=lambda: MappingProxyType({}))
    hosts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    suspended: frozenset[str] = frozenset()
    issuers: tuple[TenantIdentityProvider, ...] = ()
    identity_keys: Mapping[str, IdentityKey] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def together(cls, of: Mapping[str, TenantConfig]) -> Self:
        """Put the configurations of these tenants together.

        A host that two of them have, read at two moments while it moved from one to the other, belongs to
        neither until the next reading.
        """
        claims: dict[str, list[str]] = {}
        for tenant, config in of.items():
            for host in config.hosts:
                claims.setdefault(host, []).append(tenant)
        return cls(
            of=MappingProxyType(dict(of)),
            hosts=MappingProxyType({host: owners[0] for host, owners in claims.items() if len(owners) == 1}),
            suspended=frozenset(tenant for tenant, config in of.items() if config.suspended),
            issuers=tuple(provider for config in of.values() for provider in config.providers),
            identity_keys=MappingProxyType(
                {key.id: key for config in of.values() for key in config.identity_keys}
            ),
        )

    def following(self, of: Mapping[str, TenantConfig]) -> "TenantConfigs":
        """Return these configurations together; itself when nothing changed."""
        if of.keys() == self.of.keys() and all(of[tenant] is known for tenant, known in self.of.items()):
            return self
        return TenantConfigs.together(of)

    def damaged_since(self, before: "TenantConfigs") -> list[str]:
        """Return the tenants whose configuration changed since `before` and has an unreadable part."""
        return [
            tenant
            for tenant, config in self.of.items()
            if config.problems and before.of.get(tenant) is not config
        ]


def log_damaged(tenant: str, config: TenantConfig) -> None:
    """Log which parts of a tenant's configuration cannot be read."""
    _log.error(
        "tenant_config_invalid",
        message="what cannot be read of the tenant's configuration is left out",
        tenant=tenant,
        problems=[str(problem) for problem in config.problems[:SHOWN_PROBLEMS]],
    )

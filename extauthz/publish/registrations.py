"""The registrations of all tenants as one: who owns a host, who signs for whom, which keys identify."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import structlog

from extauthz.domain.registration import IdentityProvider, Registration
from extauthz.domain.service_key import IdentityKey
from extauthz.publish.refused import SHOWN_PROBLEMS

_log = structlog.get_logger("extauthz.publish")


@dataclass(frozen=True, slots=True)
class Registrations:
    """What a directory says of all tenants together; immutable, built anew when one of them changed."""

    of: Mapping[str, Registration] = field(default_factory=lambda: MappingProxyType({}))
    hosts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    suspended: frozenset[str] = frozenset()
    issuers: tuple[IdentityProvider, ...] = ()
    identity_keys: Mapping[str, IdentityKey] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def together(cls, of: Mapping[str, Registration]) -> Self:
        """Put the registrations of these tenants together.

        A host that two of them claim, read at two moments while it changed hands, is nobody's until the next
        reading.
        """
        claims: dict[str, list[str]] = {}
        for tenant, registration in of.items():
            for host in registration.hosts:
                claims.setdefault(host, []).append(tenant)
        return cls(
            of=MappingProxyType(dict(of)),
            hosts=MappingProxyType({host: owners[0] for host, owners in claims.items() if len(owners) == 1}),
            suspended=frozenset(tenant for tenant, registration in of.items() if registration.suspended),
            issuers=tuple(provider for registration in of.values() for provider in registration.providers),
            identity_keys=MappingProxyType(
                {key.id: key for registration in of.values() for key in registration.identity_keys}
            ),
        )

    def following(self, of: Mapping[str, Registration]) -> "Registrations":
        """Return these registrations together; itself when nothing changed."""
        if of.keys() == self.of.keys() and all(of[tenant] is known for tenant, known in self.of.items()):
            return self
        return Registrations.together(of)

    def damaged_since(self, before: "Registrations") -> list[str]:
        """Return the tenants whose registration changed since `before` and has a part that cannot be read."""
        return [
            tenant
            for tenant, registration in self.of.items()
            if registration.problems and before.of.get(tenant) is not registration
        ]


def log_damaged(tenant: str, registration: Registration) -> None:
    """Log which parts of a tenant's registration cannot be read."""
    _log.error(
        "registration_refused",
        message="what cannot be read of the tenant's registration is left out",
        tenant=tenant,
        problems=[str(problem) for problem in registration.problems[:SHOWN_PROBLEMS]],
    )

"""A tenant as the operator registered it: state, hosts, identity providers, identity keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extauthz.domain.problem import Problem
from extauthz.domain.service_key import IdentityKey


@dataclass(frozen=True, slots=True)
class TenantIdentityProvider:
    """An active identity provider of a tenant: the document that REST stored, without `id` and `active`.

    `decide.tokens.registered_provider` reads it; a document here has no problem. What it leaves out is as in
    the settings.
    """

    tenant: str
    id: str
    document: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ProviderKeys:
    """The last good keys of an issuer: a JWK Set, fetched at about `fetched_at` (POSIX seconds)."""

    issuer: str
    fetched_at: int
    jwks: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """The configuration of one tenant, at one moment. `problems` name invalid rows, which are left out.

    `keys` are of its providers, where a control plane signs them; a database has none.
    """

    suspended: bool = False
    hosts: tuple[str, ...] = ()
    providers: tuple[TenantIdentityProvider, ...] = ()
    identity_keys: tuple[IdentityKey, ...] = ()
    problems: tuple[Problem, ...] = ()
    keys: tuple[ProviderKeys, ...] = ()

"""A tenant as the operator registered it: state, hosts, identity providers, identity keys."""

from dataclasses import dataclass

from extauthz.domain.problem import Problem
from extauthz.domain.service_key import IdentityKey


@dataclass(frozen=True, slots=True)
class TenantIdentityProvider:
    """An identity provider of a tenant.

    `jwks_uri` None: discovered from the issuer. `audiences` None: every audience (written out as `any`).
    A claim that is None is as in the settings.
    """

    tenant: str
    issuer: str
    jwks_uri: str | None
    audiences: tuple[str, ...] | None
    roles_claim: str | None = None
    domain_claim: str | None = None
    admin_domain_claim: str | None = None
    excluded_roles: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """The registration of one tenant, at one moment. `problems` name invalid rows, which are left out."""

    suspended: bool = False
    hosts: tuple[str, ...] = ()
    providers: tuple[TenantIdentityProvider, ...] = ()
    identity_keys: tuple[IdentityKey, ...] = ()
    problems: tuple[Problem, ...] = ()

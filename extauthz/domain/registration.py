"""What the operator registered of a tenant: its state, its hosts, who signs its tokens, its identity keys."""

from dataclasses import dataclass

from extauthz.domain.problem import Problem
from extauthz.domain.service_key import IdentityKey


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """A tenant's issuer of tokens.

    `jwks_uri` None: discovered from the issuer. `audiences` None: every audience (written out as `any`).
    What of the claims is None is as the settings say.
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
class Registration:
    """One tenant's, at one moment. `problems` name rows that cannot be read; what they say is left out."""

    suspended: bool = False
    hosts: tuple[str, ...] = ()
    providers: tuple[IdentityProvider, ...] = ()
    identity_keys: tuple[IdentityKey, ...] = ()
    problems: tuple[Problem, ...] = ()

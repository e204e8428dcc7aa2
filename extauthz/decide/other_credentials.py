"""Who asks, where the operator allows more credentials than `Authorization` and a service key.

Still exactly one: two in different places are a conflict, even when they are the same token. The peer's own
identity counts only where there is no credential at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from extauthz.decide.identity import (
    NeedsKey,
    Rejected,
    TokenPolicy,
    identify_by_authorization,
    principal_of_claims,
    unknown_issuer,
)
from extauthz.decide.keyring import KeyRing
from extauthz.decide.token import issuer_problem
from extauthz.decide.verified_tokens import VerifiedTokens
from extauthz.domain.names import name_problem
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import OtherCredentials

MAX_WORKLOAD_LENGTH: Final = 2048
"""SPIFFE-ID 2.3: an identity is at most 2,048 bytes."""


def identify_with_others(
    others: OtherCredentials | None,
    *,
    beside: bool,
    usual: Callable[[], Principal | Rejected | NeedsKey | None],
    workload: str | None,
    ring: KeyRing,
    cache: VerifiedTokens,
    now: float,
    policy: TokenPolicy,
) -> Principal | Rejected | NeedsKey | None:
    """Judge the credentials of a request in all the places that are configured; None when it carries none.

    `usual` judges Authorization and service key, and `beside` tells whether either is there. `workload` is
    the peer as Envoy verified it, where that may be a principal.
    """
    if others is not None and policy.oidc_enabled:
        if beside or len(others.tokens) + (others.payload is not None) > 1:
            return Rejected(Reason.CREDENTIALS_CONFLICT, "credentials in more than one place")
        if others.payload is not None:
            return _of_payload(others.payload, ring, now, policy)
        return identify_by_authorization(f"Bearer {others.tokens[0]}", ring, cache, now, policy)
    found = usual()
    if found is None and workload is not None:
        return _workload(workload)
    return found


def _of_payload(
    claims: Mapping[str, object], ring: KeyRing, now: float, policy: TokenPolicy
) -> Principal | Rejected:
    """Judge claims whose signature Envoy verified; issuer, dates and audience are judged all the same."""
    issuer = claims.get("iss")
    keys = ring.issuers.get(issuer) if isinstance(issuer, str) else None
    if keys is None:
        return unknown_issuer(issuer, ring) if isinstance(issuer, str) and issuer else issuer_problem(issuer)
    principal = principal_of_claims(claims, keys.config, now=now, policy=policy)
    if isinstance(principal, Rejected):
        return principal
    return replace(principal, authentication=Authentication.METADATA)


def _workload(name: str) -> Principal | Rejected:
    problem = name_problem(name, max_length=MAX_WORKLOAD_LENGTH)
    if problem is not None:
        return Rejected(Reason.TOKEN_CLAIMS_INVALID, f"the peer's name {problem}")
    return Principal(
        kind=PrincipalKind.WORKLOAD,
        id=name,
        tenant=None,
        domain=None,
        roles=(),
        authentication=Authentication.MTLS,
    )

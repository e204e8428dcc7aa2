"""The identity of a request: its credentials, judged (docs/reference/design.md#identity).

A request has one credential: two are a conflict, even when they are the same token in two headers; a token
and the claims that the proxy verified of the same token are one. Without
any, the peer that the proxy verified is the principal, where the operator says so. A credential that cannot
be verified is refused whatever the rules say.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, assert_never

from extauthz.decide.bearer_token import TokenPolicy, judge_claims_of, judge_token
from extauthz.decide.introspected_token import judge_bearer
from extauthz.decide.needs import Needs
from extauthz.decide.service_keys import bearer_of
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.certificate_binding import binding_problem, uri_problem
from extauthz.decide.tokens.claims import same_claims
from extauthz.decide.tokens.introspection import Introspected, IntrospectedTokens
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.credential import (
    BearerToken,
    Credential,
    OtherScheme,
    PresentedServiceKey,
    RepeatedHeader,
    VerifiedClaims,
)
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import IdentityKey
from extauthz.domain.workload import peer_problem

__all__ = ["Keys", "Needs", "Rejected", "TokenPolicy", "identify"]

_SERVICE_KEY_HEADER: Final = "x-service-api-key"


class Keys(NamedTuple):
    """What credentials are verified with, at one moment.

    `service_keys` are the unrevoked keys with scope `identity`, by id; `verified` remembers tokens. Where
    `verify_first_seen` is False, a token that is not remembered is answered with `NeedsVerification`.
    `introspected` remembers answers of introspection; `answer` is the one that the request waited for.
    """

    ring: KeyRing
    service_keys: Mapping[str, IdentityKey]
    verified: VerifiedTokens
    verify_first_seen: bool = True
    introspected: IntrospectedTokens | None = None
    answer: Introspected | None = None


def identify(
    credentials: Sequence[Credential],
    peer: str | None,
    keys: Keys,
    now: float,
    policy: TokenPolicy,
    certificate: bytes = b"",
    owner: str | None = None,
) -> Principal | Rejected | Needs | None:
    """Judge the credentials of one request; None when it carries none that is read.

    `peer` is the workload that the proxy verified, None where a peer cannot be a principal. `now` is POSIX
    seconds. `certificate` is the peer's as Envoy passes it, PEM in URL encoding; empty without one. `owner`
    is the tenant that owns the target, whose issuer is asked about an opaque token; None: no issuer is.
    """
    if not policy.oidc_enabled:
        credentials = [each for each in credentials if _is_service_key(each)]
    if len(credentials) > 1:
        if (pair := _token_and_claims(credentials)) is not None:
            return _judge_pair(*pair, peer, keys, now, policy, certificate, owner)
        return Rejected(Reason.CREDENTIALS_CONFLICT, "more than one credential")
    if not credentials:
        return None if peer is None else _workload(peer, certificate)
    credential = credentials[0]
    match credential:
        case BearerToken(text):
            bearer = (
                _judge_bearer(text, keys, now, policy, owner)
                if keys.ring.introspecting
                else judge_token(text, keys.ring, keys.verified, now, policy, verify=keys.verify_first_seen)
            )
            if isinstance(bearer, Principal) and bearer.confirmation is not None:
                return _bound(bearer, bearer.confirmation, certificate)
            return bearer
        case PresentedServiceKey(presented):
            found = bearer_of(presented, keys.service_keys, now)
            return Rejected(Reason.API_KEY_INVALID, "unknown service key") if found is None else found
        case VerifiedClaims(claims):
            verified = judge_claims_of(claims, keys.ring, now, policy)
            if isinstance(verified, Principal) and verified.confirmation is not None:
                return _bound(verified, verified.confirmation, certificate)
            return verified
        case OtherScheme():
            return Rejected(Reason.TOKEN_MALFORMED, "the Authorization scheme is not Bearer")
        case RepeatedHeader(name):
            # RFC 9110 5.3, 11.6.2: not a list, so it may occur only once.
            reason = Reason.API_KEY_INVALID if name == _SERVICE_KEY_HEADER else Reason.TOKEN_MALFORMED
            return Rejected(reason, f"several {name} headers")
        case _:
            assert_never(credential)


def _token_and_claims(credentials: Sequence[Credential]) -> tuple[BearerToken, VerifiedClaims] | None:
    """Return the two credentials of a request that are a token and claims of the proxy, else None."""
    match list(credentials):
        case [BearerToken() as token, VerifiedClaims() as claims]:
            return token, claims
        case _:
            return None


def _judge_pair(
    token: BearerToken,
    verified: VerifiedClaims,
    peer: str | None,
    keys: Keys,
    now: float,
    policy: TokenPolicy,
    certificate: bytes,
    owner: str | None,
) -> Principal | Rejected | Needs | None:
    """Judge a token that the proxy forwards in addition to its verified claims.

    The token is judged as if it were alone, its type and its binding included, and is the one that counts.
    The claims are those of this token exactly when they are equal to all of its own; others are of another
    token, which is a second credential.
    """
    judged = identify([token], peer, keys, now, policy, certificate, owner)
    if isinstance(judged, Principal) and not same_claims(judged.claims, verified.claims):
        return Rejected(Reason.CREDENTIALS_CONFLICT, "the proxy's metadata is of another token")
    return judged


def _judge_bearer(
    text: str, keys: Keys, now: float, policy: TokenPolicy, owner: str | None
) -> Principal | Rejected | Needs:
    """Judge a token where issuers of this service introspect."""
    return judge_bearer(
        text,
        keys.ring,
        keys.verified,
        now,
        policy,
        owner=owner,
        introspected=keys.introspected,
        answer=keys.answer,
        verify=keys.verify_first_seen,
    )


def _bound(principal: Principal, thumbprint: str, certificate: bytes) -> Principal | Rejected:
    """Return the principal where the peer has the certificate that the token is bound to (RFC 8705 3)."""
    problem = binding_problem(thumbprint, certificate)
    return principal if problem is None else Rejected(Reason.TOKEN_CLAIMS_INVALID, problem)


def _is_service_key(credential: Credential) -> bool:
    """Tell whether a credential is read where tokens are not."""
    match credential:
        case PresentedServiceKey():
            return True
        case RepeatedHeader(name):
            return name == _SERVICE_KEY_HEADER
        case _:
            return False


def _workload(name: str, certificate: bytes) -> Principal | Rejected:
    problem = peer_problem(name) or uri_problem(name, certificate)
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

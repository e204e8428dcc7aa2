"""Judges the text of a bearer token: returns its principal, from the cache or after verification."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from extauthz.decide.needs import NOT_FETCHED, Needs, NeedsIntrospection, NeedsKey, NeedsVerification
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.certificate_binding import confirmation
from extauthz.decide.tokens.claims import ClaimRejected, all_roles, first_domain, freeze_claims, is_service
from extauthz.decide.tokens.jwks import VerificationKey
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import (
    DEFAULT_LEEWAY,
    MAX_LEEWAY,
    MAX_TOKEN_BYTES,
    NO_KEY,
    NoKey,
    RegisteredClaims,
    Rejected,
    UnverifiedToken,
    choose_key,
    issuer_problem,
    judge_claims,
    read_payload,
    read_registered,
    read_token,
    unexpected_algorithm,
    valid_from,
)
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason

KEY_SETTLES_S: Final = 45.0
"""How long after its `iat` the key of a token may still be missing at the provider.

Clocks may differ by `MAX_LEEWAY` (30 s), and a provider may publish a key a moment after it first signs."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What the operator demands of every token. `leeway` and `max_lifetime` (None: unlimited) are seconds.

    Raises:
        ValueError: a leeway outside of 0 to 30 seconds.
    """

    oidc_enabled: bool = True
    leeway: float = DEFAULT_LEEWAY
    max_bytes: int = MAX_TOKEN_BYTES
    max_lifetime: float | None = None

    def __post_init__(self) -> None:
        # RFC 7519 4.1.4: "some small leeway"; written so that NaN is refused too.
        if not 0.0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway is {self.leeway!r}; use 0 to {MAX_LEEWAY:g} seconds")


def judge_token(
    text: str,
    ring: KeyRing,
    verified: VerifiedTokens,
    now: float,
    policy: TokenPolicy,
    *,
    verify: bool = True,
) -> Principal | Rejected | Needs:
    """Judge the text behind `Bearer `, or of a header or cookie that holds a token; `now` is POSIX seconds.

    With `verify` False a token that is not remembered needs its verification, and nothing else is done.
    """
    # Checked first: everything below, the look-up included, reads the whole text.
    if len(text) > policy.max_bytes:
        return Rejected(Reason.TOKEN_MALFORMED, f"longer than {policy.max_bytes} bytes")
    principal = verified.find(text, ring, now, policy.leeway)
    if principal is not None:
        return principal
    if not verify:
        return NeedsVerification()
    return _judge_first_seen(text.lstrip(" "), ring=ring, cache=verified, now=now, policy=policy)


def _judge_first_seen(
    compact: str, *, ring: KeyRing, cache: VerifiedTokens, now: float, policy: TokenPolicy
) -> Principal | Rejected | Needs:
    # Compact tokens are ASCII (RFC 7515 7.1). A comma is not in the alphabet, so a joined header ends here.
    if not compact.isascii():
        return Rejected(Reason.TOKEN_MALFORMED, "not ASCII")
    token = read_token(compact.encode("ascii"), max_bytes=policy.max_bytes, algorithms=ring.algorithms)
    if isinstance(token, Rejected):
        return token
    claims = read_payload(token)
    if isinstance(claims, Rejected):
        return claims

    # RFC 8725 3.8: the issuer selects the keys, and only its own may verify the token.
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        return issuer_problem(issuer)
    issuer_keys = ring.issuers.get(issuer)
    if issuer_keys is None:
        return _unknown_issuer(issuer, ring)
    config = issuer_keys.config
    if token.algorithm not in config.algorithms:
        return unexpected_algorithm(token.algorithm, config.algorithms)
    if config.required_type is not None and token.kind != config.required_type:
        return Rejected(Reason.TOKEN_MALFORMED, f"header: typ is not {config.required_type}")
    if not config.has_keys:
        return NeedsIntrospection(config=config, token=compact)
    keys = issuer_keys.keys_at(now)
    key = choose_key(token, keys) if keys is not None else NO_KEY
    # RFC 7519 7.2: first the signature, then what was signed.
    if not isinstance(key, VerificationKey) or not key.verifies(token.signing_input, token.signature):
        return _judge_unproven(token, key, claims, issuer_keys, now=now, policy=policy)
    registered = judge_registered(claims, config, now=now, policy=policy)
    if isinstance(registered, Rejected):
        return registered
    principal = principal_of(claims, registered, config)
    if isinstance(principal, ClaimRejected):
        return Rejected(Reason.TOKEN_CLAIMS_INVALID, principal.problem)
    _remember(cache, compact, principal, registered, key, issuer_keys)
    return principal


def judge_registered(
    claims: Mapping[str, object], config: IssuerConfig, *, now: float, policy: TokenPolicy
) -> RegisteredClaims | Rejected:
    """Read and judge the registered claims of an issuer's token, as `judge_as_registered` does."""
    registered = read_registered(
        claims, subject_claims=config.subject_claims, audience_claim=config.audience_claim
    )
    if isinstance(registered, Rejected):
        return registered
    refused = judge_as_registered(registered, config, now=now, policy=policy)
    return registered if refused is None else refused


def judge_as_registered(
    registered: RegisteredClaims, config: IssuerConfig, *, now: float, policy: TokenPolicy
) -> Rejected | None:
    """Say why dates or audience are not as the issuer is registered, or None."""
    return judge_claims(
        registered,
        audiences=config.audiences,
        audience_claim=config.audience_claim,
        now=now,
        leeway=policy.leeway if config.leeway is None else config.leeway,
        max_lifetime=longest_lifetime(config, policy),
    )


def longest_lifetime(config: IssuerConfig, policy: TokenPolicy) -> float | None:
    """Return how many seconds a token of the issuer may live; None: unlimited."""
    return policy.max_lifetime if config.max_lifetime is None else config.max_lifetime


def _judge_unproven(
    token: UnverifiedToken,
    key: VerificationKey | NoKey | Rejected,
    claims: Mapping[str, object],
    issuer_keys: IssuerKeys,
    *,
    now: float,
    policy: TokenPolicy,
) -> Rejected | NeedsKey:
    """Judge a token that no known key of its issuer verifies; the issuer may have a new key."""
    unproven = judge_registered(claims, issuer_keys.config, now=now, policy=policy)
    match key:
        case VerificationKey():
            refused = Rejected(Reason.TOKEN_BAD_SIGNATURE, "the signature does not verify")
            if token.kid is not None and issuer_keys.were_fetched_lately(now):
                # Else any forged token could delay the fetch that a rotated key waits for.
                return refused
        case Rejected():
            refused = key
        case _ if isinstance(unproven, Rejected):
            return unproven
        case _:
            refused = _judge_missing_key(issuer_keys, unproven.issued_at, now)
    # A token that would be refused with any key is not worth a fetch.
    if isinstance(unproven, Rejected) or not (issuer_keys.may_fetch(now) or issuer_keys.is_awaited(now)):
        return refused
    otherwise = NOT_FETCHED if isinstance(key, NoKey) else refused
    return NeedsKey(issuer=issuer_keys.config.issuer, kid=token.kid, otherwise=otherwise)


def _judge_missing_key(issuer_keys: IssuerKeys, issued_at: float | None, now: float) -> Rejected:
    """Tell a key that the provider does not have (401) from one that it may have published since (503).

    INVARIANT: that an earlier fetch lacked the key proves nothing about a request that arrived after it,
    unless the token was old by then and no later fetch is under way (ADR on unknown key ids). `now` is when
    it arrived.
    """
    fetched_at = issuer_keys.fetched_at
    if issuer_keys.keys_at(now) is None or fetched_at is None:
        return Rejected(Reason.KEYS_UNAVAILABLE, "the issuer's keys could not be fetched")
    was_old = issued_at is not None and fetched_at - issued_at >= KEY_SETTLES_S
    if fetched_at > now or (was_old and not issuer_keys.fetching):
        return Rejected(Reason.TOKEN_UNKNOWN_KEY, "the issuer has no such key")
    age = max(0.0, now - fetched_at)
    return Rejected(
        Reason.KEYS_UNAVAILABLE, f"the issuer had no such key {age:.1f} s ago; it is asked again soon"
    )


def _unknown_issuer(issuer: str, ring: KeyRing) -> Rejected:
    """Return why a token of an issuer that is not registered is refused."""
    detail = "iss is not registered"
    if issuer + "/" in ring.issuers:
        detail += "; it lacks the final slash of a registered issuer"
    elif issuer.endswith("/") and issuer[:-1] in ring.issuers:
        detail += "; it has a final slash that a registered issuer has not"
    return Rejected(Reason.TOKEN_UNKNOWN_ISSUER, detail)


def judge_claims_of(
    claims: Mapping[str, object], ring: KeyRing, now: float, policy: TokenPolicy
) -> Principal | Rejected:
    """Judge the claims of a token whose signature the proxy verified: issuer, dates and audience too."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        return issuer_problem(issuer)
    issuer_keys = ring.issuers.get(issuer)
    if issuer_keys is None:
        return _unknown_issuer(issuer, ring)
    config = issuer_keys.config
    if not config.has_keys:
        # The proxy passes the claims and no token, so the issuer cannot be asked.
        return Rejected(Reason.TOKEN_MALFORMED, "tokens of the issuer are introspected, and none is here")
    if config.required_type is not None:
        # The proxy passes the claims and no header, so the type is unknown, and unknown never allows.
        return Rejected(Reason.TOKEN_MALFORMED, f"typ has to be {config.required_type}, and is unknown here")
    registered = judge_registered(claims, config, now=now, policy=policy)
    if isinstance(registered, Rejected):
        return registered
    principal = principal_of(claims, registered, config)
    if isinstance(principal, ClaimRejected):
        return Rejected(Reason.TOKEN_CLAIMS_INVALID, principal.problem)
    return replace(principal, authentication=Authentication.METADATA)


def principal_of(
    claims: Mapping[str, object], registered: RegisteredClaims, config: IssuerConfig
) -> Principal | ClaimRejected:
    """Return the principal that the claims of an issuer's token name."""
    roles = all_roles(claims, config.roles, excluded=config.excluded_roles)
    if isinstance(roles, ClaimRejected):
        return roles
    domain = first_domain(claims, config.domain_claims)
    if isinstance(domain, ClaimRejected):
        return domain
    bound_to = confirmation(claims, required=config.require_bound)
    if isinstance(bound_to, ClaimRejected):
        return bound_to
    return Principal(
        kind=PrincipalKind.SERVICE if is_service(claims, config.service_claim) else PrincipalKind.USER,
        id=registered.subject,
        tenant=config.tenant,
        domain=domain,
        roles=roles,
        authentication=Authentication.JWT,
        claims=freeze_claims(claims),
        confirmation=bound_to,
        forwarding=config.forwarding,
    )


def _remember(
    cache: VerifiedTokens,
    compact: str,
    principal: Principal,
    registered: RegisteredClaims,
    key: VerificationKey,
    issuer_keys: IssuerKeys,
) -> None:
    cache.remember(
        compact,
        principal,
        key=key,
        issuer_keys=issuer_keys,
        valid_from=valid_from(registered),
        expires_at=registered.expires_at,
    )

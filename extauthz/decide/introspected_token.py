"""Judges a bearer token, by its signature or by the answer of its issuer to an introspection (RFC 7662).

A JWT names its issuer. An opaque token does not: the one issuer that the tenant of the target introspects
with is asked, and no second one. The claims of an answer are read as those of a JWT are.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from extauthz.decide.bearer_token import (
    TokenPolicy,
    judge_as_registered,
    judge_token,
    longest_lifetime,
    principal_of,
)
from extauthz.decide.needs import Needs, NeedsIntrospection
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.claims import ClaimRejected
from extauthz.decide.tokens.introspection import (
    REFUSAL_AGE_S,
    ActiveToken,
    Introspected,
    IntrospectedTokens,
    is_bearer_token,
    is_opaque,
)
from extauthz.decide.tokens.keyring import IssuerConfig, KeyRing
from extauthz.decide.tokens.reader import Rejected, read_registered
from extauthz.domain.claims import value_kind
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Reason

_KINDS: Final = {
    "token_type": frozenset({"bearer", "access_token"}),
    "token_use": frozenset({"access_token", "access"}),
    "typ": frozenset({"bearer", "jwt", "at+jwt", "application/at+jwt"}),
}
"""Members that name the kind of a token, with the values of an access token for bearers, in lower case.

RFC 7662 2.2 has `token_type`; Ory Hydra names the kind in `token_use`, Keycloak in `typ`. All of them say
that a refresh token is active, too."""


def judge_bearer(
    text: str,
    ring: KeyRing,
    verified: VerifiedTokens,
    now: float,
    policy: TokenPolicy,
    *,
    owner: str | None,
    introspected: IntrospectedTokens | None,
    answer: Introspected | None = None,
    verify: bool = True,
) -> Principal | Rejected | Needs:
    """Judge the text of a bearer token as `judge_token` does, or by what is known of it from introspection.

    `owner` is the tenant that owns the target. `answer` is one that the request has waited for.
    """
    config = ring.introspecting.get(owner) if ring.introspecting and owner is not None else None
    if config is None or not is_opaque(text):
        found = judge_token(text, ring, verified, now, policy, verify=verify)
        if not isinstance(found, NeedsIntrospection):
            return found
        config = found.config
    if len(text) > policy.max_bytes:
        return Rejected(Reason.TOKEN_MALFORMED, f"longer than {policy.max_bytes} bytes")
    token = text.lstrip(" ")
    if not is_bearer_token(token):
        return Rejected(Reason.TOKEN_MALFORMED, "not a bearer token (RFC 6750 2.1)")
    if introspected is None:
        return NeedsIntrospection(config=config, token=token).otherwise
    key = introspected.key_of(config.issuer, token)
    if answer is not None and answer.key == key and answer.config == config:
        known: ActiveToken | Rejected | None = answer.found
    else:
        known = introspected.find(key, config, now)
    if known is None:
        return NeedsIntrospection(config=config, token=token, key=key)
    return known if isinstance(known, Rejected) else _judge_active(known, config, now=now, policy=policy)


def _judge_active(
    active: ActiveToken, config: IssuerConfig, *, now: float, policy: TokenPolicy
) -> Principal | Rejected:
    if not active.states_expiry and (longest := longest_lifetime(config, policy)) is not None:
        detail = f"exp is missing, and a token may live at most {longest:g} s"
        return Rejected(Reason.TOKEN_CLAIMS_INVALID, detail)
    refused = judge_as_registered(active.registered, config, now=now, policy=policy)
    return active.principal if refused is None else refused


def read_answer(key: bytes, members: Mapping[str, object], config: IssuerConfig, now: float) -> Introspected:
    """Return what the members of an answer that was asked for at `now` mean, and how long it counts."""
    assert config.introspection is not None
    max_age = config.introspection.max_age
    found = _read_active(members, config)
    if isinstance(found, Rejected):
        return Introspected(key, config, found, now, now + min(REFUSAL_AGE_S, max_age))
    return Introspected(key, config, found, now, min(now + max_age, found.registered.expires_at))


def _read_active(members: Mapping[str, object], config: IssuerConfig) -> ActiveToken | Rejected:
    active = members.get("active")
    # RFC 7662 2.2: a boolean. INVARIANT: only `true` is active.
    if active is not True:
        if active is False:
            return Rejected(Reason.TOKEN_INACTIVE, "the issuer says that the token is not active")
        shown = "is missing" if "active" not in members else f"is {value_kind(active)}, not a boolean"
        return Rejected(Reason.TOKEN_INACTIVE, f"answer: active {shown}")
    refused = answer_problem(members, config)
    if refused is not None:
        return refused
    claims = dict(members) if members.get("iss") is not None else {**members, "iss": config.issuer}
    registered = read_registered(
        claims,
        subject_claims=config.subject_claims,
        audience_claim=config.audience_claim,
        usual_expiry=math.inf,
    )
    if isinstance(registered, Rejected):
        return Rejected(registered.reason, f"answer: {registered.detail}")
    principal = principal_of(claims, registered, config)
    if isinstance(principal, ClaimRejected):
        return Rejected(Reason.TOKEN_CLAIMS_INVALID, f"answer: {principal.problem}")
    return ActiveToken(
        replace(principal, authentication=Authentication.INTROSPECTION),
        registered,
        states_expiry=claims.get("exp") is not None,
    )


def answer_problem(members: Mapping[str, object], config: IssuerConfig) -> Rejected | None:
    """Say why an answer about an active token is not of this issuer about an access token, or None."""
    issuer = members.get("iss")
    if issuer is not None and issuer not in config.names:
        return Rejected(Reason.TOKEN_UNKNOWN_ISSUER, "answer: iss is not the issuer that was asked")
    problem = _kind_problem(members, config)
    return None if problem is None else Rejected(Reason.TOKEN_CLAIMS_INVALID, f"answer: {problem}")


def _kind_problem(members: Mapping[str, object], config: IssuerConfig) -> str | None:
    """Say why the answer is not about an access token for bearers, or None."""
    for name, accepted in _KINDS.items():
        value = members.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            return f"{name} is {value_kind(value)}, not a string"
        if value.lower() not in accepted:
            return f"{name} does not say that it is an access token for bearers"
    if members.get("token_type") is None and (config.audiences is None or config.required_type is not None):
        # A refresh token is active too: it has no audience that would tell it from an access token.
        return "token_type is missing, and nothing else tells an access token from a refresh token"
    return None

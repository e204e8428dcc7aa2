"""The verdict of `extauthz token verify` on one compact token, by the same reader and judges as a request."""

from typing import Final

from extauthz.decide.tokens.jwks import KeySet
from extauthz.decide.tokens.reader import (
    MAX_TOKEN_BYTES,
    NO_KEY,
    Rejected,
    choose_key,
    judge_claims,
    read_payload,
    read_registered,
    read_token,
)
from extauthz.domain.reasons import Reason

OK: Final = "ok"


def verdict(
    line: bytes,
    keys: KeySet,
    *,
    issuer: str | None,
    audience: str | None,
    signature_only: bool,
    now: float,
    leeway: float = 0.0,
    max_bytes: int = MAX_TOKEN_BYTES,
) -> dict[str, object]:
    """Judge one line, without its line feed; numbers of the claims are exact, as `int` and `Decimal`.

    `issuer` and `audience` None are not checked. With `signature_only` the payload may be any bytes, also
    none. `claims` is the payload when the signature is good and it is a JSON object, else None: a claim
    that nobody signed is not shown as one. `now` is POSIX seconds, `leeway` seconds.
    """
    token = read_token(line, max_bytes=max_bytes)
    if isinstance(token, Rejected):
        return _invalid(token)
    key = choose_key(token, keys)
    if key is NO_KEY:
        return _invalid(Rejected(Reason.TOKEN_UNKNOWN_KEY, "no such key"))
    if isinstance(key, Rejected):
        return _invalid(key)
    if not key.verifies(token.signing_input, token.signature):
        return _invalid(Rejected(Reason.TOKEN_BAD_SIGNATURE, "the signature does not verify"))
    claims = read_payload(token)
    shown = None if isinstance(claims, Rejected) else claims
    if signature_only:
        return {"valid": True, "reason": OK, "claims": shown}
    if isinstance(claims, Rejected):
        return _invalid(claims)
    registered = read_registered(claims)
    if isinstance(registered, Rejected):
        return _invalid(registered, shown)
    if issuer is not None and registered.issuer != issuer:
        return _invalid(Rejected(Reason.TOKEN_UNKNOWN_ISSUER, "another issuer"), shown)
    refused = judge_claims(
        registered,
        audiences=None if audience is None else (audience,),
        now=now,
        leeway=leeway,
        max_lifetime=None,
    )
    if refused is not None:
        return _invalid(refused, shown)
    return {"valid": True, "reason": OK, "claims": shown}


def _invalid(refused: Rejected, claims: object = None) -> dict[str, object]:
    return {"valid": False, "reason": refused.reason.value, "claims": claims}

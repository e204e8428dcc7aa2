"""`extauthz token verify`: one compact token per line in, one JSON verdict per line out.

Tokens go through the reader and the checks of a request (`decide/tokens/reader.py`). With `--settings` it is
`token_verify_service.py`.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from extauthz.commands.status import answer_lines, unreadable
from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
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

VALID: Final = "ok"

# The strict reader has accepted the payload; these keep the digits of its numbers.
AS_WRITTEN: Final = json.JSONDecoder(parse_int=orjson.Fragment, parse_float=orjson.Fragment)


def run(jwks: Path, *, issuer: str | None, audience: str | None, signature_only: bool) -> int:
    """Answer the lines of stdin with the keys of the file `jwks` now; return the exit status."""
    try:
        document = jwks.read_bytes()
    except OSError as error:
        return unreadable(jwks, error)
    keys = parse_jwks(document, accept_private=True)
    if isinstance(keys, JwksRejected):
        # Every line still gets its verdict: with no usable key no token is valid.
        print(f"extauthz: {str(jwks)!r} has no usable keys: {keys.problem}", file=sys.stderr)
        keys = KeySet()
    return answer_lines(
        lambda line: verdict_line(
            line, keys, issuer=issuer, audience=audience, signature_only=signature_only, now=time.time()
        )
    )


def thawed(value: object) -> object:
    """Return a claim as orjson writes it; numbers keep their digits."""
    match value:
        case Mapping():
            return {name: thawed(member) for name, member in value.items()}
        case tuple():
            return [thawed(item) for item in value]
        case bool() | str() | None:
            return value
        case _:
            return orjson.Fragment(str(value))


def verdict_line(
    line: bytes, keys: KeySet, *, issuer: str | None, audience: str | None, signature_only: bool, now: float
) -> bytes:
    """Judge one line as `verdict` does, and return the verdict as one line of JSON.

    Numbers keep the spelling that they have in the token: `1.10` stays `1.10`, and 30 digits stay 30.
    """
    answer = verdict(line, keys, issuer=issuer, audience=audience, signature_only=signature_only, now=now)
    if answer["claims"] is not None:
        token = read_token(line, max_bytes=MAX_TOKEN_BYTES)
        assert not isinstance(token, Rejected)  # its claims were read
        answer["claims"] = AS_WRITTEN.decode(token.payload.decode("utf-8"))
    return orjson.dumps(answer)


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
    none. `claims` is the payload where the signature verifies and it is a JSON object, else None: a verdict
    shows no claim without a signature. `now` is POSIX seconds, `leeway` seconds.
    """
    token = read_token(line, max_bytes=max_bytes)
    if isinstance(token, Rejected):
        return invalid(token)
    key = choose_key(token, keys)
    if key is NO_KEY:
        return invalid(Rejected(Reason.TOKEN_UNKNOWN_KEY, "no such key"))
    if isinstance(key, Rejected):
        return invalid(key)
    if not key.verifies(token.signing_input, token.signature):
        return invalid(Rejected(Reason.TOKEN_BAD_SIGNATURE, "the signature does not verify"))
    claims = read_payload(token)
    shown = None if isinstance(claims, Rejected) else claims
    if signature_only:
        return {"valid": True, "reason": VALID, "claims": shown}
    if isinstance(claims, Rejected):
        return invalid(claims)
    registered = read_registered(claims)
    if isinstance(registered, Rejected):
        return invalid(registered, shown)
    if issuer is not None and registered.issuer != issuer:
        return invalid(Rejected(Reason.TOKEN_UNKNOWN_ISSUER, "another issuer"), shown)
    refused = judge_claims(
        registered,
        audiences=None if audience is None else (audience,),
        now=now,
        leeway=leeway,
        max_lifetime=None,
    )
    if refused is not None:
        return invalid(refused, shown)
    return {"valid": True, "reason": VALID, "claims": shown}


def invalid(refused: Rejected, claims: object = None) -> dict[str, object]:
    """Return the verdict on a refused token; `claims` are those of a token with a good signature."""
    return {"valid": False, "reason": refused.reason.value, "claims": claims}

"""The lines of `extauthz token verify`: a verdict as JSON, its claims exactly as the token has them."""

import json
from typing import Final

import orjson

from extauthz.decide.tokens.jwks import KeySet
from extauthz.decide.tokens.reader import MAX_TOKEN_BYTES, Rejected, read_token
from extauthz.decide.verdict import verdict

# The strict reader has taken the payload before; these keep the digits of its numbers.
_AS_WRITTEN: Final = json.JSONDecoder(parse_int=orjson.Fragment, parse_float=orjson.Fragment)


def verdict_line(
    line: bytes, keys: KeySet, *, issuer: str | None, audience: str | None, signature_only: bool, now: float
) -> bytes:
    """Judge one line as `verdict` does, and return the verdict as one line of JSON.

    No number is rounded or written otherwise than in the token: `1.10` stays `1.10`, and 30 digits stay 30.
    """
    answer = verdict(line, keys, issuer=issuer, audience=audience, signature_only=signature_only, now=now)
    if answer["claims"] is not None:
        token = read_token(line, max_bytes=MAX_TOKEN_BYTES)
        assert not isinstance(token, Rejected)  # its claims were read
        answer["claims"] = _AS_WRITTEN.decode(token.payload.decode("utf-8"))
    return orjson.dumps(answer)

"""What token libraries accept that the project refuses, as a table.

    python -m tests.token_libraries

Each row has one flaw, and a signature of the key that is published. Each library is called as its
documentation says for an access token: algorithm, issuer and audience given, `exp`, `iss`, `aud` and `sub`
required. PyJWT comes with the project; joserfc is asked where it is installed.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from extauthz.decide.tokens.jwks import KeySet, VerificationKey, parse_jwks
from extauthz.decide.tokens.reader import (
    MAX_TOKEN_BYTES,
    Rejected,
    choose_key,
    judge_claims,
    read_payload,
    read_registered,
    read_token,
)
from tests.tokens import AUDIENCE, ISSUER, SigningKey, claims

KEY: Final = SigningKey.rs256("one")
SMALL_KEY: Final = SigningKey.rs256("small", bits=1024)
LEEWAY_S: Final = 5


@dataclass(frozen=True)
class Row:
    """A token with one flaw, and the published key that signed it."""

    flaw: str
    token: str
    jwk: Mapping[str, object] = field(default_factory=KEY.jwk)


def rows(now: float) -> list[Row]:
    """Return the table; tokens are good at `now` (POSIX seconds) but for their flaw. The first has none."""
    usual = claims(iat=int(now) - 60, exp=int(now) + 600)
    good = KEY.sign(usual)
    head, payload, signature = good.split(".")

    def with_expiry(text: str) -> str:
        return KEY.sign(json.dumps(usual).replace(str(usual["exp"]), text).encode())

    def with_member(text: str) -> str:
        return KEY.sign(f"{json.dumps(usual)[:-1]}, {text}}}".encode())

    def with_header(text: str) -> str:
        return KEY.sign_bytes(text.encode(), json.dumps(usual).encode())

    return [
        Row("none", good),
        Row("`exp` is a string of digits", with_expiry(f'"{usual["exp"]}"')),
        Row("`exp` is `Infinity`", with_expiry("Infinity")),
        Row("`exp` is `NaN`", with_expiry("NaN")),
        Row("`exp` is in milliseconds", with_expiry(str(int(now * 1000)))),
        Row("`sub` twice", with_member('"sub": "admin"')),
        Row("`alg` twice in the header", with_header('{"alg": "none", "alg": "RS256", "kid": "one"}')),
        Row("`kid` twice in the header", with_header('{"alg": "RS256", "kid": "two", "kid": "one"}')),
        Row("`typ` of another kind of token (`logout+jwt`)", KEY.sign(usual, typ="logout+jwt")),
        Row("`zip` in the header", KEY.sign(usual, zip="DEF")),
        Row("an unknown critical header member", KEY.sign(usual, crit=["x"], x=1)),
        Row("padding behind the signature", f"{good}=="),
        Row(
            "a character outside base64url in the signature",
            f"{head}.{payload}.{signature[:8]}!{signature[8:]}",
        ),
        Row("unused bits that are not zero in the signature", f"{good[:-1]}{_next(good[-1])}"),
        Row("a line feed behind the token", f"{good}\n"),
        Row("an RSA key of 1,024 bits", SMALL_KEY.sign(usual), SMALL_KEY.jwk()),
        Row("a key with `use: enc`", good, KEY.jwk(use="enc")),
        Row("a key with `key_ops: [encrypt]`", good, KEY.jwk(use=None, key_ops=["encrypt"])),
        Row("a key with `alg: PS256`", good, KEY.jwk(alg="PS256")),
        Row("`sub` is empty", KEY.sign(usual | {"sub": ""})),
        Row("`sub` has a line break", KEY.sign(usual | {"sub": "alice\r\nx-auth-roles: admin"})),
        Row("`sub` has an invisible character", KEY.sign(usual | {"sub": "ali\u200bce"})),
    ]


def _next(character: str) -> str:
    # 256 octets leave four unused bits in the last of 342 characters.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) + 1]


def extauthz_accepts(row: Row, now: float) -> bool:
    """Judge by the functions that judge the token of a request."""
    keys = parse_jwks(json.dumps({"keys": [row.jwk]}).encode())
    token = read_token(row.token.encode(), max_bytes=MAX_TOKEN_BYTES)
    if isinstance(token, Rejected) or not isinstance(keys, KeySet):
        return False
    key = choose_key(token, keys)
    if not isinstance(key, VerificationKey) or not key.verifies(token.signing_input, token.signature):
        return False
    members = read_payload(token)
    registered = members if isinstance(members, Rejected) else read_registered(members)
    if isinstance(registered, Rejected):
        return False
    refused = judge_claims(registered, audiences=(AUDIENCE,), now=now, leeway=LEEWAY_S, max_lifetime=None)
    return refused is None


def pyjwt_accepts(row: Row, _now: float) -> bool:
    """Decode as the documentation of PyJWT shows, with the keys that its PyJWKClient would use."""
    try:
        published = jwt.PyJWKSet.from_dict({"keys": [dict(row.jwk)]}).keys
        key = next(each for each in published if each.public_key_use in {"sig", None})
        jwt.decode(
            row.token,
            key,
            algorithms=["RS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except Exception:  # noqa: BLE001  # whatever it raises, it does not accept
        return False
    return True


def joserfc_accepts(row: Row, _now: float) -> bool:
    """Decode and validate as the documentation of joserfc shows."""
    tokens, keys = (importlib.import_module(f"joserfc.{name}") for name in ("jwt", "jwk"))
    try:
        published = keys.KeySet.import_key_set({"keys": [dict(row.jwk)]})
        token = tokens.decode(row.token, published, algorithms=["RS256"])
        registry = tokens.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )
        registry.validate(token.claims)
    except Exception:  # noqa: BLE001  # whatever it raises, it does not accept
        return False
    return True


def main() -> None:
    """Print the table as Markdown."""
    judges: dict[str, Callable[[Row, float], Any]] = {"extauthz": extauthz_accepts}
    for name, accepts in (("pyjwt", pyjwt_accepts), ("joserfc", joserfc_accepts)):
        if importlib.util.find_spec("jwt" if name == "pyjwt" else name):
            judges[f"{name} {importlib.metadata.version(name)}"] = accepts
    now = time.time()
    print(f"| flaw | {' | '.join(judges)} |\n|{' --- |' * (len(judges) + 1)}")
    for row in rows(now):
        answers = ("accepted" if accepts(row, now) else "refused" for accepts in judges.values())
        print(f"| {row.flaw} | {' | '.join(answers)} |")


if __name__ == "__main__":
    main()

"""Tokens at the limits of the rules: the last valid value, and the first invalid one."""

import pytest

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import (
    MAX_TOKEN_BYTES,
    RegisteredClaims,
    Rejected,
    numeric_date,
    read_registered,
    read_token,
)
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from tests.asking import ask_with
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims, jwks

KEY = SigningKey.es256()
CONFIG = IssuerConfig.usual(ISSUER, "acme", (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset())
YEAR_9999 = 253402300799


def ring(*, fetched_at: float | None = NOW) -> KeyRing:
    keys = parse_jwks(jwks(KEY))
    assert isinstance(keys, KeySet)
    return KeyRing.of([IssuerKeys(CONFIG, keys, fetched_at=fetched_at, fetch_allowed_at=NOW + 20)])


def reason(
    authorization: str, *, policy: TokenPolicy | None = None, now: float = NOW, keys: KeyRing | None = None
) -> Reason | None:
    """Return why the credential is refused; None when it proves a principal."""
    answer = ask_with(authorization, ring=keys or ring(), now=now, policy=policy or TokenPolicy())
    assert isinstance(answer, Principal | Rejected)
    return answer.reason if isinstance(answer, Rejected) else None


@pytest.mark.parametrize("scheme", ["Digest", "Basic+", "Bearex", "bearer\t", "Bearer,", "BearerX"])
def test_a_valid_token_with_another_scheme_proves_nothing(scheme: str) -> None:
    assert reason(f"{scheme} {KEY.sign(claims())}") is Reason.TOKEN_MALFORMED
    assert reason(f"{scheme}{KEY.sign(claims())}") is Reason.TOKEN_MALFORMED


def test_several_spaces_may_follow_the_scheme() -> None:
    """RFC 6750 2.1 and RFC 9110 11.4: `1*SP`."""
    assert reason(f"Bearer    {KEY.sign(claims())}") is None


def test_a_token_of_just_the_size_is_read_and_one_byte_more_is_not() -> None:
    token = KEY.sign(claims())

    assert reason(f"Bearer {token}", policy=TokenPolicy(max_bytes=len(token))) is None
    assert reason(f"Bearer {token}", policy=TokenPolicy(max_bytes=len(token) - 1)) is Reason.TOKEN_MALFORMED
    assert MAX_TOKEN_BYTES == TokenPolicy().max_bytes == 16_384


def test_the_leeway_is_five_seconds_unless_configured() -> None:
    token = KEY.sign(claims(exp=int(NOW)))

    assert reason(f"Bearer {token}", now=NOW + 4.999) is None
    assert reason(f"Bearer {token}", now=NOW + 5) is Reason.TOKEN_EXPIRED
    early = KEY.sign(claims(nbf=int(NOW) + 5))
    assert reason(f"Bearer {early}") is None
    assert reason(f"Bearer {early}", now=NOW - 0.001) is Reason.TOKEN_NOT_YET_VALID
    none = TokenPolicy(leeway=0.0)
    assert reason(f"Bearer {token}", policy=none) is Reason.TOKEN_EXPIRED
    assert reason(f"Bearer {token}", now=NOW - 0.001, policy=none) is None
    assert reason(f"Bearer {token}", now=NOW + 29.999, policy=TokenPolicy(leeway=30.0)) is None
    assert reason(f"Bearer {token}", now=NOW + 30, policy=TokenPolicy(leeway=30.0)) is Reason.TOKEN_EXPIRED


def test_a_payload_that_is_not_base64url_is_malformed() -> None:
    header, payload, signature = KEY.sign(claims()).split(".")

    for wrong in (payload + "=", payload + "!", payload[:-1] + "\xe9", "a"):
        read = read_token(f"{header}.{wrong}.{signature}".encode(), max_bytes=MAX_TOKEN_BYTES)
        assert isinstance(read, Rejected)
        assert read.reason is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("issuer", [None, "", 0, 1, True, ["x"], {"x": 1}])
def test_an_issuer_is_a_non_empty_string(issuer: object) -> None:
    read = read_registered({**claims(), "iss": issuer})

    assert isinstance(read, Rejected)
    assert read.reason is Reason.TOKEN_CLAIMS_INVALID
    assert isinstance(read_registered(claims()), RegisteredClaims)


def test_dates_end_with_the_year_9999() -> None:
    assert numeric_date(0) == 0.0
    assert numeric_date(YEAR_9999) == float(YEAR_9999)
    assert numeric_date(YEAR_9999 + 1) is None
    assert numeric_date(-1) is None


def test_keys_that_were_never_fetched_prove_no_key_missing() -> None:
    other = SigningKey.es256("other")

    assert reason(f"Bearer {other.sign(claims())}") is Reason.TOKEN_UNKNOWN_KEY
    never = ring(fetched_at=None)
    assert reason(f"Bearer {other.sign(claims())}", keys=never) is Reason.KEYS_UNAVAILABLE

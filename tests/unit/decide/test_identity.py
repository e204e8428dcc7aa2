"""Identity: from credentials to a principal, a rejection or the need for a key."""

import math
from dataclasses import replace

import pytest

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import key_text
from tests.identity_rings import (
    CONFIG,
    EC,
    KEYS,
    OTHER,
    POLICY,
    ROBOT,
    ROBOT_ID,
    ROBOTS_KEY,
    RSA,
    ask,
    bearer,
    key_set,
    needs_key,
    reason,
    ring_with,
)
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims


@pytest.mark.parametrize("signer", [RSA, EC])
def test_a_valid_token_proves_its_subject(signer: SigningKey) -> None:
    answer = ask(bearer(signer, dom="emea", realm_access={"roles": ["b", "offline_access", "a"]}, n=[1.5]))
    assert answer == Principal(
        kind=PrincipalKind.USER,
        id="alice",
        tenant="acme",
        domain="emea",
        roles=("a", "b"),
        authentication=Authentication.JWT,
    )
    assert isinstance(answer, Principal)
    assert answer.claims["sub"] == "alice"
    assert isinstance(answer.claims["n"], tuple)


def test_a_request_without_credential_has_no_principal() -> None:
    assert ask() is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_compared_without_case(scheme: str) -> None:
    assert isinstance(ask(bearer().replace("Bearer", scheme, 1)), Principal)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Digest x",
        "Token abc",
        "Bearer\tabc",
        " Bearer abc",
        "Bearer abc, Bearer abc",
        "Bearer \u00e9.\u00e9.\u00e9",
    ],
)
def test_authorization_without_a_bearer_token_is_malformed(authorization: str) -> None:
    assert reason(ask(authorization)) is Reason.TOKEN_MALFORMED


def test_a_joined_or_repeated_authorization_is_malformed() -> None:
    assert reason(ask(f"{bearer()}, {bearer()}")) is Reason.TOKEN_MALFORMED
    assert reason(ask(f"{bearer()},")) is Reason.TOKEN_MALFORMED
    assert reason(ask(bearer(), repeated=True)) is Reason.TOKEN_MALFORMED
    assert reason(ask(None, repeated=True)) is Reason.TOKEN_MALFORMED


def test_trailing_characters_are_malformed() -> None:
    for end in (" ", "\n", "\r\n", "\t", "\x00", "="):
        assert reason(ask(bearer() + end)) is Reason.TOKEN_MALFORMED


def test_two_credentials_are_a_conflict() -> None:
    assert reason(ask(bearer(), service_key=ROBOTS_KEY)) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask("Basic x", service_key="key")) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask(bearer(), service_key="")) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask(bearer(), service_key_repeated=True)) is Reason.CREDENTIALS_CONFLICT


def test_a_service_key_is_looked_up() -> None:
    assert ask(service_key=ROBOTS_KEY) == ROBOT
    assert reason(ask(service_key=key_text(ROBOT_ID, bytes(32)))) is Reason.API_KEY_INVALID
    assert reason(ask(service_key="key")) is Reason.API_KEY_INVALID
    assert reason(ask(service_key="")) is Reason.API_KEY_INVALID
    assert reason(ask(service_key_repeated=True)) is Reason.API_KEY_INVALID


def test_without_oidc_tokens_are_not_read_at_all() -> None:
    policy = TokenPolicy(oidc_enabled=False)
    assert ask(bearer(), policy=policy) is None
    assert ask("garbage", policy=policy, repeated=True) is None
    assert ask(bearer(), service_key=ROBOTS_KEY, policy=policy) == ROBOT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://other.example.test"}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": ISSUER + "/"}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": ISSUER.upper()}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iss": ""}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iss": [ISSUER]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": ""}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": 7}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": "alice\r\nx-auth-subject: root"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": "alice\u200b"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": None}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": "other"}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": []}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": ["other", "another"]}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": AUDIENCE.upper()}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": {AUDIENCE: 1}}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": [AUDIENCE, 1]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": 1}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": str(int(NOW) + 600)}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": True}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": -1}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 10**15}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 10**300}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 1e300}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": [NOW + 600]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": math.inf}, Reason.TOKEN_MALFORMED),
        ({"exp": math.nan}, Reason.TOKEN_MALFORMED),
        ({"nbf": "0"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iat": "0"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iat": False}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": NOW - 10}, Reason.TOKEN_EXPIRED),
        ({"exp": 0}, Reason.TOKEN_EXPIRED),
        ({"nbf": NOW + 10.5}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": NOW + 10.5}, Reason.TOKEN_NOT_YET_VALID),
        ({"dom": "*"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"dom": ["emea"]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"realm_access": {"roles": {"a": 1}}}, Reason.TOKEN_CLAIMS_INVALID),
    ],
)
def test_claims_that_do_not_hold_are_refused(changes: dict[str, object], expected: Reason) -> None:
    assert reason(ask(bearer(**changes))) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW - 9.5},
        {"exp": NOW + 0.25},
        {"nbf": NOW + 10},
        {"iat": NOW + 10},
        {"iat": None},
        {"nbf": 0},
    ],
)
def test_claims_that_just_hold_are_accepted(changes: dict[str, object]) -> None:
    assert isinstance(ask(bearer(**changes)), Principal)


def test_any_audience_is_accepted_only_where_the_operator_wrote_it_out() -> None:
    ring = ring_with(config=replace(CONFIG, audiences=None))
    assert isinstance(ask(bearer(aud=None), ring=ring), Principal)
    assert isinstance(ask(bearer(aud="other"), ring=ring), Principal)
    assert reason(ask(bearer(aud=1), ring=ring)) is Reason.TOKEN_CLAIMS_INVALID
    assert reason(ask(bearer(), ring=ring_with(config=replace(CONFIG, audiences=())))) is (
        Reason.TOKEN_WRONG_AUDIENCE
    )


def test_a_maximum_lifetime_needs_iat_and_is_kept() -> None:
    policy = replace(POLICY, max_lifetime=660.0)
    assert isinstance(ask(bearer(), policy=policy), Principal)
    assert reason(ask(bearer(exp=NOW + 601), policy=policy)) is Reason.TOKEN_CLAIMS_INVALID
    assert reason(ask(bearer(iat=None), policy=policy)) is Reason.TOKEN_CLAIMS_INVALID


@pytest.mark.parametrize("leeway", [-1.0, 30.5, math.inf, math.nan])
def test_a_leeway_beyond_thirty_seconds_cannot_be_configured(leeway: float) -> None:
    with pytest.raises(ValueError, match="leeway"):
        TokenPolicy(leeway=leeway)


def test_a_changed_token_has_a_bad_signature() -> None:
    header, payload, signature = bearer().removeprefix("Bearer ").split(".")
    other = bearer(sub="root").removeprefix("Bearer ").split(".")
    assert reason(ask(f"Bearer {header}.{other[1]}.{signature}")) is Reason.TOKEN_BAD_SIGNATURE
    assert reason(ask(f"Bearer {header}.{payload}.AAAA")) is Reason.TOKEN_BAD_SIGNATURE


def test_the_claims_of_a_forged_token_are_not_judged() -> None:
    forger = SigningKey.es256("ec", serial=1)
    assert reason(ask(bearer(forger, exp=1, aud="other", sub=""))) is Reason.TOKEN_BAD_SIGNATURE


def test_the_algorithm_must_be_the_keys() -> None:
    assert reason(ask(f"Bearer {EC.sign(claims(), kid='rsa')}")) is Reason.TOKEN_ALGORITHM
    assert reason(ask(f"Bearer {EC.sign(claims(), alg='RS256')}")) is Reason.TOKEN_ALGORITHM


def test_key_headers_of_a_token_are_ignored() -> None:
    embedded = OTHER.jwk()
    header = {"jwk": embedded, "jku": "https://evil.test/jwks", "x5u": "https://evil.test/x", "x5c": ["AA"]}
    assert reason(ask(f"Bearer {OTHER.sign(claims(), kid='ec', **header)}")) is Reason.TOKEN_BAD_SIGNATURE
    assert isinstance(ask(f"Bearer {EC.sign(claims(), **header)}"), Principal)


def test_a_token_without_kid_needs_exactly_one_key_that_fits() -> None:
    compact = f"Bearer {EC.sign(claims(), kid=None)}"
    assert isinstance(ask(compact), Principal)
    two = ring_with(keys=key_set(EC, OTHER))
    assert reason(ask(compact, ring=two)) is Reason.TOKEN_UNKNOWN_KEY
    none = ring_with(keys=key_set(RSA), fetch_allowed_at=NOW)
    assert ask(compact, ring=none) == needs_key(None)


def test_a_kid_never_falls_back_to_another_key() -> None:
    nameless = key_set(SigningKey(None, "ES256", EC.private))
    assert reason(ask(bearer(), ring=ring_with(keys=nameless))) is Reason.TOKEN_UNKNOWN_KEY
    assert reason(ask(f"Bearer {EC.sign(claims(), kid='')}")) is Reason.TOKEN_UNKNOWN_KEY


def test_keys_of_one_issuer_never_verify_for_another() -> None:
    other = replace(CONFIG, issuer="https://other.example.test", tenant="globex")
    ring = KeyRing.of([KEYS, replace(KEYS, config=other, keys=key_set(OTHER))])
    crossed = bearer(EC, iss=other.issuer)
    assert reason(ask(crossed, ring=ring)) is Reason.TOKEN_UNKNOWN_KEY
    same_kid = SigningKey("other", "ES256", EC.private)
    assert reason(ask(bearer(same_kid, iss=other.issuer), ring=ring)) is Reason.TOKEN_BAD_SIGNATURE
    answer = ask(bearer(OTHER, iss=other.issuer), ring=ring)
    assert isinstance(answer, Principal)
    assert answer.tenant == "globex"


def test_an_overlong_token_is_refused_before_it_is_read() -> None:
    policy = replace(POLICY, max_bytes=100)
    assert reason(ask("Bearer " + "a" * 101, policy=policy)) is Reason.TOKEN_MALFORMED
    assert reason(ask(bearer(), policy=policy)) is Reason.TOKEN_MALFORMED

"""The registered claims: null is absence, and a refusal names the claim and its bound, never its value."""

import json
from dataclasses import replace

import pytest

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import RegisteredClaims, Rejected, judge_claims, read_registered
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from tests.asking import ask_with
from tests.secret_traces import found
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, b64, claims, jwks

KEY = SigningKey.es256()
CONFIG = IssuerConfig.usual(ISSUER, "acme", (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset())
POLICY = TokenPolicy(leeway=5.0, max_lifetime=3600.0)


def ring(config: IssuerConfig = CONFIG, *keys: SigningKey) -> KeyRing:
    parsed = parse_jwks(jwks(*(keys or (KEY,))))
    assert isinstance(parsed, KeySet)
    return KeyRing.of([IssuerKeys(config, parsed, fetched_at=NOW - 1, fetch_allowed_at=NOW + 1)])


def ask(token: str, keys: KeyRing | None = None) -> Principal | Rejected:
    answer = ask_with(f"Bearer {token}", ring=keys or ring(), now=NOW, policy=POLICY)
    assert isinstance(answer, Principal | Rejected)
    return answer


def refusal(token: str, keys: KeyRing | None = None) -> Rejected:
    answer = ask(token, keys)
    assert isinstance(answer, Rejected)
    return answer


def signed(**changes: object) -> str:
    """Return a token with these claims; None stays in it, as null."""
    return KEY.sign(json.dumps(claims() | changes).encode())


@pytest.mark.parametrize("claim", ["aud", "nbf", "iat"])
def test_an_optional_claim_that_is_null_is_absent(claim: str) -> None:
    read = read_registered({**claims(), claim: None})

    assert read == read_registered({name: value for name, value in claims().items() if name != claim})
    assert isinstance(read, RegisteredClaims)


@pytest.mark.parametrize("claim", ["iss", "sub", "exp"])
def test_a_required_claim_that_is_null_is_missing(claim: str) -> None:
    read = read_registered({**claims(), claim: None})

    assert read == Rejected(Reason.TOKEN_CLAIMS_INVALID, f"{claim} is missing")


@pytest.mark.parametrize("claim", ["nbf", "iat", "dom", "adm", "realm_access"])
def test_a_token_with_a_null_is_judged_like_one_without_the_claim(claim: str) -> None:
    keys = ring()
    without = {name: value for name, value in claims().items() if name != claim}
    policy = replace(POLICY, max_lifetime=None)
    answers = [
        ask_with(f"Bearer {KEY.sign(json.dumps(said).encode())}", ring=keys, now=NOW, policy=policy)
        for said in (without, without | {claim: None})
    ]
    assert isinstance(answers[0], Principal)
    assert answers[0] == answers[1]


def test_a_null_audience_is_not_accepted() -> None:
    assert refusal(signed(aud=None)) == Rejected(Reason.TOKEN_WRONG_AUDIENCE, "aud is missing")
    anybodys = ring(replace(CONFIG, audiences=None))
    assert isinstance(ask(signed(aud=None), anybodys), Principal)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"exp": NOW - 12}, "exp passed 12 s ago (leeway 5 s)"),
        ({"exp": NOW - 5.25}, "exp passed 5.2 s ago (leeway 5 s)"),
        ({"exp": 0}, "exp passed 1800000000 s ago (leeway 5 s)"),
        ({"nbf": NOW + 7}, "nbf is 7 s ahead (leeway 5 s)"),
        ({"iat": NOW + 8}, "iat is 8 s ahead (leeway 5 s)"),
        ({"iat": NOW + 8, "nbf": NOW + 9}, "nbf is 9 s ahead (leeway 5 s)"),
        ({"exp": None}, "exp is missing"),
        ({"exp": "soon"}, "exp is a string, not a number of seconds"),
        ({"exp": True}, "exp is a boolean, not a number of seconds"),
        ({"exp": [1]}, "exp is a list, not a number of seconds"),
        ({"exp": NOW * 1000}, "exp is not a date from 1970 to 9999; it counts seconds, not milliseconds"),
        ({"nbf": -1}, "nbf is not a date from 1970 to 9999; it counts seconds, not milliseconds"),
        ({"iat": None}, "iat is missing, and a token may live at most 3600 s"),
        ({"exp": NOW + 7200}, "exp is 7260 s after iat, more than 3600 s"),
        ({"aud": "elsewhere"}, "aud does not contain the expected audience"),
        ({"aud": []}, "aud does not contain the expected audience"),
        ({"aud": 7}, "aud is a number, not a string or a list of strings"),
        ({"aud": {"a": 1}}, "aud is an object, not a string or a list of strings"),
        ({"aud": [AUDIENCE, None]}, "aud holds an entry that is null, not a string"),
        ({"iss": None}, "iss is missing"),
        ({"iss": ""}, "iss is empty"),
        ({"iss": ["x"]}, "iss is a list, not a string"),
        ({"iss": "https://elsewhere.example.test"}, "iss is not registered"),
        (
            {"iss": ISSUER + "/"},
            "iss is not registered; it has a final slash that a registered issuer has not",
        ),
        ({"sub": None}, "sub is missing"),
        ({"sub": 7}, "sub is a number, not a string"),
        ({"sub": ""}, "sub is empty"),
        ({"sub": "a\nb"}, "sub contains the control character U+000A"),
        ({"dom": ["emea"]}, "claim 'dom' is a list, not one string"),
        ({"dom": "*"}, "claim 'dom' is the wildcard"),
        (
            {"realm_access": {"roles": {"a": 1}}},
            "claim 'realm_access.roles' is an object, not a list of roles",
        ),
        (
            {"realm_access": {"roles": ["a", None]}},
            "claim 'realm_access.roles' holds a role that is null, not a string",
        ),
    ],
)
def test_a_refusal_names_the_claim_and_its_bound(changes: dict[str, object], detail: str) -> None:
    assert refusal(signed(**changes)).detail == detail


def test_issuers_with_and_without_a_final_slash_are_distinguished() -> None:
    keys = ring(replace(CONFIG, issuer=ISSUER + "/"))
    assert (
        refusal(signed(), keys).detail
        == "iss is not registered; it lacks the final slash of a registered issuer"
    )


@pytest.mark.parametrize(
    "algorithm",
    [
        "none",
        "HS256",
        "HS384",
        "HS512",
        "RS384",
        "RS512",
        "ES384",
        "ES512",
        "PS256",
        "PS384",
        "PS512",
        "EdDSA",
    ],
)
def test_a_refusal_names_an_algorithm_that_is_one(algorithm: str) -> None:
    refused = refusal(KEY.sign(claims(), alg=algorithm))
    assert refused == Rejected(Reason.TOKEN_ALGORITHM, f"alg is neither RS256 nor ES256 but {algorithm}")


def test_a_refusal_names_the_header_or_key() -> None:
    assert refusal(KEY.sign(claims(), alg="sEcReT")).detail == "alg is neither RS256 nor ES256 but another"
    assert refusal(KEY.sign(claims(), alg=["RS256"])).detail == "alg is neither RS256 nor ES256 but another"
    assert refusal(KEY.sign(claims(), kid=7)).detail == "header: kid is a number, not a string"
    assert refusal(KEY.sign(claims(), alg="RS256")).detail == "the key is for ES256"
    both = ring(CONFIG, KEY, SigningKey.es256(serial=1))
    assert refusal(KEY.sign(claims()), both).detail == "the kid names several ES256 keys"
    assert refusal(KEY.sign(claims(), kid=None), both).detail == "no kid, and several keys fit"
    unknown = refusal(KEY.sign(claims(iat=NOW), kid="other"))
    assert unknown.detail == "the issuer had no such key 1.0 s ago; it is asked again soon"


def test_no_detail_quotes_the_token() -> None:
    secret = "tr3asure-0123456789"
    values: list[object] = [secret, [secret], {secret: secret}, secret + "\n", [secret + "\n"]]
    names = ("iss", "sub", "aud", "exp", "nbf", "iat", "dom", "realm_access")
    tokens = [signed(**{name: value}) for name in names for value in values]
    tokens += [signed(realm_access={"roles": value}) for value in values[1:]]
    tokens += [KEY.sign(claims(iat=NOW), **{name: secret}) for name in ("kid", "alg", "typ", "crit", "zip")]
    tokens += [KEY.sign_bytes(secret.encode(), b"{}"), KEY.sign_bytes(b"{}", secret.encode()), secret]
    tokens += [KEY.sign(secret.encode()), f"{b64(secret.encode())}.{secret}.x", KEY.sign(claims()) + secret]
    details = {}
    for number, token in enumerate(tokens):
        answer = ask(token)
        if isinstance(answer, Rejected):
            details[str(number)] = answer.detail.encode()
    assert len(details) >= 40
    assert found({"claim": secret}, details) == []


@pytest.mark.parametrize(
    "now", ["1800000000", "1.8e9", "1800000000.5", "1800000000.0", "18e8", "180000000000e-2"]
)
def test_dates_may_have_fractions_and_exponents(now: str) -> None:
    said = json.dumps(claims(exp=None, iat=None))[:-1] + f', "nbf": {now}, "exp": {NOW + 60}, "iat": {now}}}'
    answer = ask(KEY.sign(said.encode()))
    assert isinstance(answer, Principal)


def test_a_date_is_valid_until_the_year_9999() -> None:
    for exp, good in ((253402300799, True), (253402300800, False), (9223372036854775807, False)):
        read = read_registered({**claims(), "exp": exp})
        assert isinstance(read, RegisteredClaims) is good


def test_the_configured_audience_may_be_one_of_a_thousand() -> None:
    many = [f"https://service-{number}.example.test" for number in range(999)]
    read = read_registered({**claims(), "aud": [*many, AUDIENCE]})
    assert isinstance(read, RegisteredClaims)
    assert judge_claims(read, audiences=(AUDIENCE,), now=NOW, leeway=0.0, max_lifetime=None) is None
    read = read_registered({**claims(), "aud": many})
    assert isinstance(read, RegisteredClaims)
    refused = judge_claims(read, audiences=(AUDIENCE,), now=NOW, leeway=0.0, max_lifetime=None)
    assert refused == Rejected(Reason.TOKEN_WRONG_AUDIENCE, "aud does not contain the expected audience")

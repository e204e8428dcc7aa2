"""The verdict of `extauthz token verify` on one line."""

from decimal import Decimal

import pytest

from extauthz.commands.token_verify import verdict, verdict_line
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims, jwks

RSA = SigningKey.rs256()
EC = SigningKey.es256()


def judge(
    compact: str | bytes,
    *,
    keys: KeySet | None = None,
    issuer: str | None = None,
    audience: str | None = None,
    signature_only: bool = False,
) -> dict[str, object]:
    known = parse_jwks(jwks(RSA, EC))
    assert isinstance(known, KeySet)
    answer = verdict(
        compact if isinstance(compact, bytes) else compact.encode(),
        known if keys is None else keys,
        issuer=issuer,
        audience=audience,
        signature_only=signature_only,
        now=NOW,
    )
    assert (answer["reason"] == "ok") is answer["valid"]
    return answer


@pytest.mark.parametrize("signer", [RSA, EC])
def test_a_valid_token_is_shown_with_its_claims(signer: SigningKey) -> None:
    said = claims(price=1.5, nested={"list": [0.25, 1]})
    compact = signer.sign(said)
    assert judge(compact, issuer=ISSUER, audience=AUDIENCE) == {"valid": True, "reason": "ok", "claims": said}


def test_numbers_of_any_size_are_exact() -> None:
    said = claims(big=10**300, negative=-(10**20), exact=2**64 - 1, tiny=Decimal("5e-300"))
    answer = judge(EC.sign(said))
    assert answer["valid"]
    assert answer["claims"] == said


@pytest.mark.parametrize(
    "number",
    [
        "12345678901234567890123456789012345678901234567890", "-18446744073709551617", "9007199254740993",
        "0", "-0", "1.10", "0.1000000000000000000000000000000000000001",
        "3.14159265358979323846264338327950288",
        "1e5", "1E+5", "2.50e-7", "1e300", "5e-324", "-0.0", "100000000000000000000.5",
    ],
)  # fmt: skip
def test_a_line_shows_numbers_exactly_as_the_token_has_them(number: str) -> None:
    payload = (
        f'{{"iss": "i", "sub": "s", "exp": {int(NOW) + 60},\r\n "n": {number}, "in": [{{"n":{number}}}]}}'
    )
    known = parse_jwks(jwks(RSA, EC))
    assert isinstance(known, KeySet)
    for compact, signature_only in ((EC.sign(payload.encode()), False), (RSA.sign(payload.encode()), True)):
        line = verdict_line(
            compact.encode(), known, issuer=None, audience=None, signature_only=signature_only, now=NOW
        ).decode()
        assert line.count("\n") == 0
        assert line == (
            '{"valid":true,"reason":"ok","claims":{"iss":"i","sub":"s",'
            f'"exp":{int(NOW) + 60},"n":{number},"in":[{{"n":{number}}}]}}}}'
        )


def test_claims_of_a_refused_token_are_as_exact() -> None:
    known = parse_jwks(jwks(EC))
    assert isinstance(known, KeySet)
    compact = EC.sign(b'{"iss":"i","sub":"s","exp":1.50,"n":12345678901234567890123,"t":"\\u00e9\\n"}')
    line = verdict_line(compact.encode(), known, issuer=None, audience=None, signature_only=False, now=NOW)
    assert line.decode() == (
        '{"valid":false,"reason":"token_expired",'
        '"claims":{"iss":"i","sub":"s","exp":1.50,"n":12345678901234567890123,"t":"é\\n"}}'
    )
    for bad in (b"x", EC.sign(b"[1]").encode(), EC.sign(b'{"n":1e999}').encode()):
        line = verdict_line(bad, known, issuer=None, audience=None, signature_only=False, now=NOW)
        assert line.endswith(b'"claims":null}')


def test_issuer_and_audience_are_checked_when_asked_for() -> None:
    compact = EC.sign(claims())
    assert judge(compact)["valid"]
    assert judge(compact, issuer="https://other")["reason"] == "token_unknown_issuer"
    assert judge(compact, audience="other")["reason"] == "token_wrong_audience"
    assert judge(EC.sign(claims(aud=None)), audience=AUDIENCE)["reason"] == "token_wrong_audience"
    assert judge(EC.sign(claims(aud=None)))["valid"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW}, "token_expired"),
        ({"nbf": NOW + 1}, "token_not_yet_valid"),
        ({"iat": NOW + 1}, "token_not_yet_valid"),
        ({"exp": "never"}, "token_claims_invalid"),
        ({"sub": ""}, "token_claims_invalid"),
        ({"iss": None}, "token_claims_invalid"),
    ],
)
def test_dates_and_names_are_always_judged(changes: dict[str, object], reason: str) -> None:
    said = claims(**changes)
    assert judge(EC.sign(said)) == {"valid": False, "reason": reason, "claims": said}


def test_claims_without_a_valid_signature_are_not_shown() -> None:
    forger = SigningKey.es256("ec", serial=1)
    for signature_only in (True, False):
        answer = judge(forger.sign(claims()), signature_only=signature_only)
        assert answer == {"valid": False, "reason": "token_bad_signature", "claims": None}


@pytest.mark.parametrize("payload", [b"", b"\xff\x00", b"text", b"[1]", b'{"a":1,"a":2}'])
def test_signature_only_takes_any_payload(payload: bytes) -> None:
    compact = RSA.sign(payload)
    assert judge(compact, signature_only=True) == {"valid": True, "reason": "ok", "claims": None}
    assert judge(compact) == {"valid": False, "reason": "token_malformed", "claims": None}


def test_signature_only_still_judges_header_and_key() -> None:
    assert judge(EC.sign(b"x", crit=["exp"]), signature_only=True)["reason"] == "token_malformed"
    assert judge(EC.sign(b"x", alg="none"), signature_only=True)["reason"] == "token_algorithm"
    assert judge(EC.sign(b"x", kid="other"), signature_only=True)["reason"] == "token_unknown_key"
    assert judge(EC.sign(b"x", kid="rsa"), signature_only=True)["reason"] == "token_algorithm"
    assert judge(EC.sign(b'{"sub":"x"}'), signature_only=True)["claims"] == {"sub": "x"}


def test_with_no_usable_key_every_token_is_invalid() -> None:
    assert judge(EC.sign(claims()), keys=KeySet())["reason"] == "token_unknown_key"
    assert judge(EC.sign(claims(), kid=None), keys=KeySet())["reason"] == "token_unknown_key"


@pytest.mark.parametrize("line", [b"", b"\xff", b"\r", b" ", b"a.b.c\r", b"." * 100_000])
def test_every_line_gets_a_verdict(line: bytes) -> None:
    assert judge(line) == {"valid": False, "reason": "token_malformed", "claims": None}


def test_the_examples_of_rfc_7515_verify() -> None:
    """RFC 7515 appendix A.3, ES256, without kid; `exp` is long past."""
    key = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    keys = parse_jwks(jwks(key))
    assert isinstance(keys, KeySet)
    compact = (
        "eyJhbGciOiJFUzI1NiJ9"
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    answer = judge(compact, keys=keys, signature_only=True)
    assert answer["valid"]
    assert answer["claims"] == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    assert judge(compact, keys=keys)["reason"] == "token_claims_invalid"

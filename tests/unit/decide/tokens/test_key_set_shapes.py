"""Key sets in the shapes that providers publish them in, each with keys of the test's own.

What differs is which members there are, which other keys stand in the set, and what surrounds it. The tokens
are judged as `extauthz token verify` does.
"""

import json
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from extauthz.commands.token_verify import verdict
from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
from tests.tokens import NOW, SigningKey, b64, claims, unsigned

RSA = SigningKey.rs256("first")
NEXT = SigningKey.rs256("second")
EC = SigningKey.es256("ec")
X5C = ["MIICnTCCAYUCBgFz"]
HYDRA = "public:hydra.openid.id-token"
X5T = "NBjmFdcqZZZgXXfw6bHfgOcd2Lo"

Entry = dict[str, object]


def other_ec(curve: ec.EllipticCurve, name: str, size: int, **members: object) -> Entry:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    return {
        "kty": "EC", "crv": name, "x": unsigned(numbers.x, size), "y": unsigned(numbers.y, size),
    } | members  # fmt: skip


def okp(**members: object) -> Entry:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw)),
    } | members


def every_member(key: SigningKey) -> Entry:
    """Return a key as a serialiser writes it that writes unset members too."""
    names = (
        "alg",
        "crv",
        "d",
        "dp",
        "dq",
        "e",
        "k",
        "key_ops",
        "kid",
        "kty",
        "n",
        "p",
        "q",
        "qi",
        "use",
        "x",
        "x5c",
    )
    return (
        dict.fromkeys(names)
        | {"x5t": None, "x5u": None, "y": None, "oth": None}
        | key.jwk(alg=None, use=None)
    )


SHAPES: dict[str, tuple[list[Entry], list[SigningKey]]] = {
    "Keycloak": (
        [
            RSA.jwk(x5c=X5C, x5t=X5T, **{"x5t#S256": X5T}),
            NEXT.jwk(alg="RSA-OAEP", use="enc", x5c=X5C, x5t=X5T),
            EC.jwk(x5c=X5C),
            okp(kid="ed", alg="EdDSA", use="sig"),
        ],
        [RSA, EC],
    ),
    "Auth0": ([RSA.jwk(x5t=X5T, x5c=X5C), NEXT.jwk(x5t=X5T, x5c=X5C)], [RSA, NEXT]),
    "Okta": ([RSA.jwk(), NEXT.jwk()], [RSA, NEXT]),
    "Entra ID": (
        [
            key.jwk(
                alg=None, x5t=key.kid, x5c=X5C, cloud_instance_name="microsoftonline.com",
                issuer="https://login.microsoftonline.com/{tenantid}/v2.0",
            )
            for key in (RSA, NEXT)
        ],
        [RSA, NEXT],
    ),
    "Azure AD B2C": ([RSA.jwk(alg=None, nbf=1493763266)], [RSA]),
    "AD FS": ([RSA.jwk(x5t=X5T, x5c=X5C)], [RSA]),
    "Google and Firebase": ([RSA.jwk(), NEXT.jwk()], [RSA, NEXT]),
    "Cognito": ([RSA.jwk(), NEXT.jwk()], [RSA, NEXT]),
    "Apple": ([RSA.jwk(), NEXT.jwk()], [RSA, NEXT]),
    "Dex": ([RSA.jwk()], [RSA]),
    "GitHub Actions": ([RSA.jwk(x5t=X5T, x5c=X5C), NEXT.jwk()], [RSA, NEXT]),
    "GitLab": ([RSA.jwk(), NEXT.jwk()], [RSA, NEXT]),
    "Zitadel": ([RSA.jwk()], [RSA]),
    "Kubernetes": ([RSA.jwk()], [RSA]),
    "Kubernetes with an EC key": ([EC.jwk()], [EC]),
    "Ory Hydra": ([RSA.jwk(kid=HYDRA)], [SigningKey(HYDRA, "RS256", RSA.private)]),
    "PingFederate": (
        [
            RSA.jwk(alg=None),
            EC.jwk(alg=None),
            other_ec(ec.SECP384R1(), "P-384", 48, kid="384", use="sig"),
            other_ec(ec.SECP521R1(), "P-521", 66, kid="521", use="sig"),
        ],
        [RSA, EC],
    ),
    "a SPIFFE bundle": (
        [
            NEXT.jwk(kid=None, alg=None, use="x509-svid", x5c=X5C),
            EC.jwk(alg=None, use="jwt-svid"),
            RSA.jwk(alg=None, use="jwt-svid"),
        ],
        [EC, RSA],
    ),
    "RFC 7517 A.1": ([EC.jwk(kid="1", alg=None, use="enc"), RSA.jwk(use=None)], [RSA]),
    "RFC 7517 4.5: one kid, two kinds": (
        [RSA.jwk(), EC.jwk(kid="first")],
        [RSA, SigningKey("first", "ES256", EC.private)],
    ),
    "the same key twice": ([RSA.jwk(), RSA.jwk(x5c=X5C), NEXT.jwk()], [RSA, NEXT]),
    "one key without kid": ([RSA.jwk(kid=None)], [SigningKey(None, "RS256", RSA.private)]),
    "unset members as null": ([every_member(RSA), every_member(NEXT)], [RSA, NEXT]),
    "no use and no alg": ([RSA.jwk(use=None, alg=None)], [RSA]),
    "key_ops instead of use": ([RSA.jwk(use=None, key_ops=["verify"])], [RSA]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_of_the_provider_verify(shape: str) -> None:
    entries, signers = SHAPES[shape]
    document: Mapping[str, object] = {"keys": entries, "spiffe_sequence": 7, "spiffe_refresh_hint": 300}

    keys = parse_jwks(json.dumps(document).encode())

    assert isinstance(keys, KeySet)
    assert {(key.kid, key.algorithm) for key in keys.keys} == {(each.kid, each.algorithm) for each in signers}
    for signer in signers:
        assert said(signer.sign(claims()), keys) == "ok"
        forged = SigningKey(signer.kid, signer.algorithm, other_key(signer).private)
        assert said(forged.sign(claims()), keys) == "token_bad_signature"


def other_key(signer: SigningKey) -> SigningKey:
    make = SigningKey.rs256 if signer.algorithm == "RS256" else SigningKey.es256
    return make("other")


def said(token: str, keys: KeySet) -> object:
    return verdict(token.encode(), keys, issuer=None, audience=None, signature_only=False, now=NOW)["reason"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (RSA.jwk(n=None, e=None, x5c=X5C), "n or e is missing"),
        (RSA.jwk(kid=7), "kid is not a string"),
        (RSA.jwk(kid=["first"]), "kid is not a string"),
        (RSA.jwk(kty="XYZ"), "kty is neither RSA nor EC"),
        (EC.jwk(crv="secp256k1"), "crv is not P-256"),
        (RSA.jwk(d="AA"), "its private half is published"),
        (RSA.jwk(alg="PS256"), "alg is not RS256"),
        ({"kty": "oct", "k": "AAAA", "kid": "hmac", "alg": "HS256"}, "kty is neither RSA nor EC"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_cannot_be_used_is_ignored_and_the_others_are_not(entry: Entry, problem: str) -> None:
    keys = parse_jwks(json.dumps({"keys": [entry, NEXT.jwk()]}).encode())

    assert isinstance(keys, KeySet)
    assert [key.kid for key in keys.keys] == ["second"]
    assert [key.problem for key in keys.ignored] == [problem]


def test_an_empty_kid_is_a_kid_like_any_other() -> None:
    keys = parse_jwks(json.dumps({"keys": [RSA.jwk(kid=""), NEXT.jwk()]}).encode())

    assert isinstance(keys, KeySet)
    assert said(SigningKey("", "RS256", RSA.private).sign(claims()), keys) == "ok"
    assert said(SigningKey("", "RS256", NEXT.private).sign(claims()), keys) == "token_bad_signature"
    assert said(RSA.sign(claims()), keys) == "token_unknown_key"
    assert said(RSA.sign(claims(), kid=None), keys) == "token_unknown_key"


def test_kids_are_compared_with_case() -> None:
    keys = parse_jwks(json.dumps({"keys": [RSA.jwk(kid="Key"), NEXT.jwk(kid="key")]}).encode())

    assert isinstance(keys, KeySet)
    assert said(SigningKey("Key", "RS256", RSA.private).sign(claims()), keys) == "ok"
    assert said(SigningKey("key", "RS256", RSA.private).sign(claims()), keys) == "token_bad_signature"
    assert said(SigningKey("KEY", "RS256", RSA.private).sign(claims()), keys) == "token_unknown_key"


def test_only_the_ambiguous_kid_is_refused() -> None:
    twin = SigningKey.rs256("first", serial=1)
    keys = parse_jwks(json.dumps({"keys": [RSA.jwk(), twin.jwk(), NEXT.jwk(), EC.jwk(kid="first")]}).encode())

    assert isinstance(keys, KeySet)
    assert said(RSA.sign(claims()), keys) == "token_unknown_key"
    assert said(twin.sign(claims()), keys) == "token_unknown_key"
    assert said(NEXT.sign(claims()), keys) == "ok"
    assert said(SigningKey("first", "ES256", EC.private).sign(claims()), keys) == "ok"
    # Without a kid any of three RSA keys could be meant, but there is one EC key.
    assert said(NEXT.sign(claims(), kid=None), keys) == "token_unknown_key"
    assert said(EC.sign(claims(), kid=None), keys) == "ok"


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIC"
NO_KEYS = "no list of `keys`"
CERTIFICATES = " but X.509 certificates; use the provider's JWK Set (RFC 7517)"
DISCOVERY = " but a discovery document; use its jwks_uri"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"a": CERTIFICATE, "b": CERTIFICATE}, CERTIFICATES),
        ({"a": CERTIFICATE, "b": "-----BEGIN PUBLIC KEY-----"}, ""),
        ({"a": CERTIFICATE, "b": 7}, ""),
        ({"a": "certificate"}, ""),
        ({"issuer": "https://idp.test", "jwks_uri": "https://idp.test/jwks"}, DISCOVERY),
        ({"kty": "RSA", "n": "AA", "e": "AQAB"}, ""),
        ({"keys": {"first": {}}}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_document_of_another_kind_is_named(document: Mapping[str, object], problem: str) -> None:
    found = parse_jwks(json.dumps(document).encode())

    assert found == JwksRejected(NO_KEYS + problem)

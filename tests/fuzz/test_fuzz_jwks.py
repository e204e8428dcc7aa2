"""Fuzzes the JWKS loader: no document raises, and no key comes out of one that may not verify."""

import json

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated
from tests.tokens import SigningKey, jwks

EC, RSA = SigningKey.es256("ec"), SigningKey.rs256("rsa")
OTHER = SigningKey.es256("other", serial=7)
OTHER_RSA = SigningKey.rs256("other", serial=7)
DOCUMENTS = [
    *(text.encode() for family in corpus("jwks").values() for text in family),
    jwks(EC),
    jwks(RSA),
    jwks(EC, RSA),
    jwks(EC.jwk(kid=None), RSA.jwk(alg=None)),
]
FRAGMENTS = [
    b'"', b"{", b"}", b"[", b"]", b",", b"null", b"true", b"1e999", b"NaN", b'"kty":"oct"', b'"kty":"RSA"',
    b'"kty":"EC"', b'"crv":"P-384"', b'"use":"enc"', b'"alg":"none"', b'"alg":"HS256"', b'"d":"AA"',
    b'"k":"AA"',
    b'"key_ops":["sign"]', b'"e":"AQ"', b'"e":"AAAA"', b'"kid":1', b"A", b"_", b"=", b"[" * 40, b"\xff",
]  # fmt: skip
SIGNED = b"signing.input"
FOREIGN = {"ES256": OTHER.signature(SIGNED), "RS256": OTHER_RSA.signature(SIGNED)}


def judge(document: bytes) -> None:
    found = parse_jwks(document)
    if isinstance(found, JwksRejected):
        assert found.problem
        return
    assert isinstance(found, KeySet)
    named = [(key.kid, key.algorithm) for key in found.keys if key.kid is not None]
    assert len(set(named)) == len(named)
    for key in found.keys:
        match key._public_key:
            case RSAPublicKey() as public:
                assert key.algorithm == "RS256"
                assert public.key_size >= 2048
                assert public.public_numbers().e % 2 == 1
                assert public.public_numbers().e >= 3
            case EllipticCurvePublicKey() as public:
                assert key.algorithm == "ES256"
                assert public.curve.name == "secp256r1"
        assert not key.verifies(SIGNED, FOREIGN[key.algorithm])
        for signature in (b"", b"\0" * 64, b"\0" * 256, b"\xff" * 256):
            assert not key.verifies(SIGNED, signature)


@fuzzing
@given(mutated(DOCUMENTS, FRAGMENTS))
def changed_documents(document: bytes) -> None:
    judge(document)


MEMBER = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=6), st.lists(st.text(max_size=3), max_size=2)
)
CHANGES = st.dictionaries(
    st.sampled_from(
        ["kty", "crv", "x", "y", "n", "e", "d", "k", "use", "alg", "kid", "key_ops", "x5c", "oth"]
    ),
    st.one_of(MEMBER, st.sampled_from(["RSA", "EC", "oct", "sig", "enc", "RS256", "ES256", "none", "P-256"])),
    max_size=4,
)


@fuzzing
@given(
    st.lists(
        st.builds(lambda key, change: key.jwk() | change, st.sampled_from([EC, RSA]), CHANGES), max_size=3
    )
)
def changed_keys(entries: list[dict[str, object]]) -> None:
    judge(json.dumps({"keys": entries}).encode())


@fuzzing
@given(st.binary(max_size=300))
def anything(document: bytes) -> None:
    judge(document)


def test_no_document_gives_a_key_that_may_not_verify() -> None:
    keep_fuzzing(changed_documents, changed_keys, anything)


def test_inputs_of_the_corpus_raise_nothing() -> None:
    for document in DOCUMENTS:
        judge(document)

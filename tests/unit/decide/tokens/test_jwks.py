"""Key sets: only keys that may verify are kept, and a set with two meanings is refused."""

import json
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
from tests.tokens import SigningKey, b64, jwks, unsigned

RSA = SigningKey.rs256()
EC = SigningKey.es256()


def usable(document: bytes) -> KeySet:
    keys = parse_jwks(document)
    assert isinstance(keys, KeySet), keys
    return keys


def problem_of(entry: dict[str, object]) -> str | None:
    """Return why the entry is ignored in a key set with a valid key, None when it is used."""
    keys = usable(jwks(SigningKey.es256("good"), entry))
    assert keys.named("good", "ES256") is not None
    return keys.ignored[0].problem if keys.ignored else None


def test_keys_verify_what_their_private_half_signed_and_nothing_else() -> None:
    keys = usable(jwks(RSA, EC))
    for signer in (RSA, EC):
        key = keys.named(str(signer.kid), signer.algorithm)
        assert key is not None
        assert key.algorithm == signer.algorithm
        signature = signer.signature(b"message")
        assert key.verifies(b"message", signature)
        assert not key.verifies(b"messagE", signature)
        assert not key.verifies(b"message", signature[:-1])
        assert not key.verifies(b"message", signature + b"\x00")
        assert not key.verifies(b"message", b"")
        assert not key.verifies(b"message", b"\x00" * len(signature))


def test_a_der_signature_is_not_an_es256_signature() -> None:
    key = usable(jwks(EC)).keys[0]
    assert isinstance(EC.private, ec.EllipticCurvePrivateKey)
    from cryptography.hazmat.primitives import hashes

    assert not key.verifies(b"message", EC.private.sign(b"message", ec.ECDSA(hashes.SHA256())))


def test_members_that_are_optional_may_be_left_out() -> None:
    for key in (RSA, EC):
        assert problem_of(key.jwk(kid=None, alg=None, use=None)) is None
        assert problem_of(key.jwk(key_ops=["verify"])) is None
        assert problem_of(key.jwk(key_ops=["verify", "sign"], unknown={"deep": [1]})) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": 7},
        {"use": ["sig"]},
        {"key_ops": []},
        {"key_ops": ["sign"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"key_ops": ["verify", 1]},
        {"key_ops": ["verify", "verify"]},
        {"kid": 7},
        {"kty": "oct", "k": b64(b"secret" * 8)},
        {"kty": "OKP"},
        {"kty": "rsa"},
        {"kty": 1},
    ],
)
def test_keys_that_may_not_verify_are_ignored(changes: dict[str, object]) -> None:
    assert problem_of(RSA.jwk(**changes)) is not None
    assert problem_of(EC.jwk(**changes)) is not None


@pytest.mark.parametrize("alg", ["RS512", "PS256", "RSA-OAEP", "HS256", "none", "ES256", 5])
def test_an_rsa_key_for_another_algorithm_is_ignored(alg: object) -> None:
    assert problem_of(RSA.jwk(alg=alg)) is not None


@pytest.mark.parametrize("alg", ["ES384", "ECDH-ES", "HS256", "RS256", 5])
def test_a_p256_key_for_another_algorithm_is_ignored(alg: object) -> None:
    assert problem_of(EC.jwk(alg=alg)) is not None


@pytest.mark.parametrize("member", ["use", "key_ops", "alg", "kid", "d", "x5c", "k", "crv"])
def test_a_member_that_is_null_is_absent(member: str) -> None:
    assert problem_of(RSA.jwk() | {member: None}) is None


@pytest.mark.parametrize("member", ["kty", "n", "e"])
def test_a_member_that_has_to_be_there_is_not_null(member: str) -> None:
    assert problem_of(RSA.jwk() | {member: None}) is not None


def test_a_short_rsa_key_is_ignored() -> None:
    problem = problem_of(SigningKey.rs256("short", bits=1024).jwk())
    assert problem is not None
    assert "2048" in problem


def test_a_modulus_with_the_roca_fingerprint_is_ignored() -> None:
    """Its structure alone; `test_roca` has whole keys."""
    modulus = 65537 + (1 << 1900) * prod(n for n in range(2, 168) if all(n % d for d in range(2, n)))
    problem = problem_of(RSA.jwk(n=unsigned(modulus)))
    assert problem == "an RSA key whose private half can be computed (ROCA, CVE-2017-15361)"


@pytest.mark.parametrize(
    "changes",
    [
        {"n": None},
        {"e": None},
        {"n": 7},
        {"n": ""},
        {"n": "AA=="},
        {"n": unsigned(1 << 2047)},
        {"n": unsigned((1 << 20000) + 1)},
        {"e": "A"},
        {"e": "AQAB="},
        {"e": unsigned(1)},
        {"e": unsigned(65536)},
        {"e": unsigned((1 << 100) + 1)},
        {"n": "Ä"},
    ],
)
def test_broken_rsa_members_are_ignored(changes: dict[str, object]) -> None:
    assert problem_of(RSA.jwk(**changes)) is not None


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"n": unsigned((1 << 2047) + 1)}, {"n": unsigned((1 << 2047) - 1)}),
        ({"n": unsigned((1 << 16384) - 1)}, {"n": unsigned((1 << 16384) + 1)}),
        ({"e": unsigned((1 << 64) - 1)}, {"e": unsigned((1 << 64) + 1)}),
        ({"e": unsigned(3)}, {"e": unsigned(2)}),
    ],
    ids=["least bits", "most bits", "most bits of an exponent", "least exponent"],
)
def test_rsa_keys_are_used_up_to_the_bound(good: dict[str, object], bad: dict[str, object]) -> None:
    assert problem_of(RSA.jwk(**good)) is None
    assert problem_of(RSA.jwk(**bad)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": None},
        {"x": None},
        {"y": None},
        {"x": b64(b"\x01" * 31)},
        {"x": b64(b"\x01" * 33)},
        {"x": b64(b"\x01" * 32)},
        {"x": b64(b"\x00" * 32), "y": b64(b"\x00" * 32)},
        {"x": "A" * 42 + "B"},
    ],
)
def test_points_that_are_not_on_the_curve_are_ignored(changes: dict[str, object]) -> None:
    assert problem_of(EC.jwk(**changes)) is not None


def test_a_published_private_key_proves_nothing_but_a_local_file_may_hold_one() -> None:
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    entry = RSA.jwk(d=unsigned(RSA.private.private_numbers().d))
    assert problem_of(entry) == "its private half is published"
    keys = parse_jwks(jwks(entry), accept_private=True)
    assert isinstance(keys, KeySet)
    assert keys == usable(jwks(RSA))


def test_the_same_key_twice_is_one_key() -> None:
    assert usable(jwks(RSA, RSA)) == usable(jwks(RSA))
    assert usable(jwks(RSA, RSA.jwk(alg=None, use=None, x5t="other"))) == usable(jwks(RSA))
    assert usable(jwks(RSA, RSA)).ignored == ()


def test_two_keys_of_one_kid_are_distinguished_by_algorithm() -> None:
    """RFC 7517 4.5 has this very example."""
    keys = usable(jwks(RSA, EC.jwk(kid=RSA.kid)))
    assert RSA.kid is not None
    rsa_key, ec_key = keys.named(RSA.kid, "RS256"), keys.named(RSA.kid, "ES256")
    assert rsa_key is not None
    assert ec_key is not None
    assert rsa_key.verifies(b"message", RSA.signature(b"message"))
    assert ec_key.verifies(b"message", EC.signature(b"message"))
    assert not rsa_key.verifies(b"message", EC.signature(b"message"))


def test_only_the_kid_that_names_two_keys_of_one_algorithm_is_refused() -> None:
    other, twin = SigningKey.rs256("other"), SigningKey.rs256(serial=1)
    keys = usable(jwks(RSA, other, twin, EC.jwk(kid=RSA.kid)))
    assert keys.named("rsa", "RS256") is None
    assert keys.named("rsa", "ES256") is not None
    assert keys.named("other", "RS256") is not None
    assert {key.kid for key in keys.ambiguous} == {"rsa"}
    assert [ignored.problem for ignored in keys.ignored] == ["another RS256 key has the same kid"] * 2
    # Without a kid any of them could be meant.
    assert len(keys.fitting("RS256")) == 3


def test_one_key_under_two_names_is_one_key_for_a_token_without_kid() -> None:
    keys = usable(jwks(RSA, RSA.jwk(kid="second name"), RSA.jwk(kid=None)))
    assert len(keys.keys) == 3
    assert len(keys.fitting("RS256")) == 1


def test_a_usable_and_an_unusable_key_may_share_a_kid() -> None:
    keys = usable(jwks(RSA, EC.jwk(kid=RSA.kid, use="enc")))
    assert [key.algorithm for key in keys.keys] == ["RS256"]


def test_keys_without_kid_do_not_clash() -> None:
    assert len(usable(jwks(RSA.jwk(kid=None), SigningKey.rs256("b").jwk(kid=None))).keys) == 2


def test_entries_that_are_not_objects_are_ignored() -> None:
    document = json.dumps({"keys": [None, 1, "x", [], EC.jwk()]}).encode()
    keys = usable(document)
    assert len(keys.keys) == 1
    assert len(keys.ignored) == 4


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b"\xef\xbb\xbf" + jwks(EC),
        jwks(EC).decode().encode("utf-16"),
        jwks(EC)[:-1],
        b'{"keys":' + b"[" * 100_000,
        b"<html>",
        b'{"keys":[' + b",".join([b"{}"] * 257) + b"]}",
    ],
)
def test_a_document_that_is_not_a_key_set_is_refused(document: bytes) -> None:
    assert isinstance(parse_jwks(document), JwksRejected)


def test_a_set_holds_256_keys_and_no_more() -> None:
    entries = [EC.jwk(kid=f"k{number}") for number in range(257)]

    assert len(usable(jwks(*entries[:256])).keys) == 256
    assert isinstance(parse_jwks(jwks(*entries)), JwksRejected)


def test_ignored_entries_do_not_make_key_sets_unequal() -> None:
    assert usable(jwks(EC)) == usable(jwks(EC, RSA.jwk(use="enc")))


def test_an_empty_set_is_a_set_that_verifies_nothing() -> None:
    assert usable(b'{"keys":[]}') == KeySet()


def test_keys_are_equal_by_what_they_are() -> None:
    assert usable(jwks(RSA)).keys[0] == usable(jwks(RSA.jwk(alg=None))).keys[0]
    assert usable(jwks(RSA)).keys[0] != usable(jwks(RSA.jwk(kid="other"))).keys[0]
    assert usable(jwks(RSA)).keys[0] != usable(jwks(SigningKey.rs256(serial=1))).keys[0]

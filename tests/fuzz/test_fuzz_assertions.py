"""Fuzzes what assertions are made of: key files, and the key sets and tokens that the client verifies."""

import asyncio
import json
import time
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given

from extauthz.check.assertions import Assertions
from extauthz.domain.verdict import Allowed, PolicyVersion, Rule, RuleKind
from extauthz.keys.assertion_keys import AssertionKey, read_assertion_keys
from extauthz_client import AssertionRejected, AssertionVerifier, assertion_keys
from tests.builders import ALICE, READ_INVOICE, request_facts
from tests.fuzz.rounds import fuzzing, keep_fuzzing, mutated

PEMS = [
    key.private_bytes(Encoding.PEM, form, NoEncryption())
    for key, form in (
        (ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8),
        (ec.generate_private_key(ec.SECP256R1()), PrivateFormat.TraditionalOpenSSL),
        (ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
    )
]
PEM_FRAGMENTS = [
    b"-----BEGIN ",
    b"PRIVATE KEY-----",
    b"-----END ",
    b"PUBLIC KEY-----",
    b"\n",
    b"=",
    b"\0",
    b"A" * 64,
]
FRAGMENTS = [
    b".",
    b"e30",
    b"bnVsbA",
    b"W10",
    b"=",
    b"A",
    b"_",
    b"\xff",
    b'"',
    b"{",
    b"}",
    b"[" * 50,
    b"null",
    b"1e999",
]
VERDICT = Allowed("id", Rule("r", RuleKind.ROLE), ALICE, (), READ_INVOICE, PolicyVersion(), request_facts())


def keys_of(pem: bytes) -> tuple[AssertionKey, ...]:
    found = read_assertion_keys(pem)
    assert isinstance(found, tuple)
    return found


class One:
    def __init__(self, key: AssertionKey) -> None:
        self._key = key

    def signer(self) -> AssertionKey:
        return self._key


KEYS = [keys_of(pem)[0] for pem in PEMS]
KEY_SET = json.dumps({"keys": [key.jwk for key in KEYS]}).encode()
NOW = time.time()


def signed(key: AssertionKey) -> bytes:
    made = Assertions("mesh", One(key)).sign(VERDICT, "billing", NOW)
    assert made is not None
    return made.token.encode()


TOKENS = [signed(key) for key in KEYS]


class Known(AssertionVerifier):
    """A verifier that has its keys."""

    def __init__(self, keys: Mapping[str, assertion_keys.Key]) -> None:
        super().__init__("http://127.0.0.1:1/", issuer="mesh", audience="billing", clock=lambda: NOW)
        self._rules._keys = keys
        self._rules._fetched_at = self._rules._tried_at = float("inf")


def known(key_set: bytes) -> Known | None:
    keys = assertion_keys.read_key_set(key_set)
    return None if keys is None else Known(keys)


def is_accepted(verifier: Known, token: bytes) -> bool:
    try:
        asyncio.run(verifier.verify(token.decode("latin-1")))
    except AssertionRejected:
        return False
    return True


@fuzzing
@given(mutated(PEMS, PEM_FRAGMENTS))
def changed_key_files(text: bytes) -> None:
    found = read_assertion_keys(text)
    if isinstance(found, str):
        assert found
        return
    for key in found:
        assert set(key.jwk) <= {"kty", "crv", "x", "y", "alg", "use", "kid"}
    verifier = known(json.dumps({"keys": [found[0].jwk]}).encode())
    assert verifier is not None
    assert is_accepted(verifier, signed(found[0]))


@fuzzing
@given(mutated(TOKENS, FRAGMENTS))
def changed_tokens(token: bytes) -> None:
    verifier = known(KEY_SET)
    assert verifier is not None
    assert is_accepted(verifier, token) is (token in TOKENS)


@fuzzing
@given(mutated([KEY_SET], FRAGMENTS))
def changed_key_sets(text: bytes) -> None:
    verifier = known(text)
    if verifier is None:
        return
    # A changed key verifies nothing that the other key signed.
    for token in TOKENS:
        is_accepted(verifier, token)
    assert not is_accepted(verifier, TOKENS[0] + b"x")


def test_no_input_is_an_error_and_no_changed_token_is_accepted() -> None:
    keep_fuzzing(changed_key_files, changed_tokens, changed_key_sets)

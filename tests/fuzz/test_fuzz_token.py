"""Fuzzes the token reader and the identity: nothing raises, and no forged token proves a principal."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected, UnverifiedToken, read_token
from extauthz.domain.principal import Principal
from tests.asking import ask_with
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated, spliced
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, b64, claims, jwks

OURS, OTHER = SigningKey.es256("ec"), SigningKey.es256("ec", serial=1)
RSA = SigningKey.rs256("rsa")
PAIRS: list[list[str]] = [pair for family in corpus("token").values() for pair in family]
FRAGMENTS = [
    b".",
    b"..",
    b"=",
    b"-",
    b"_",
    b"\0",
    b"\xff",
    b"e30",
    b"bnVsbA",
    b"eyJ",
    b" ",
    b",",
    b"%",
    b"A" * 64,
]

CONFIG = IssuerConfig.usual(ISSUER, "default", (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset())
KEYS = parse_jwks(jwks(OURS, RSA))
assert isinstance(KEYS, KeySet)
RING = KeyRing.of([IssuerKeys(CONFIG, KEYS, fetched_at=NOW)])

GENUINE = [
    OURS.sign(claims()),
    RSA.sign(claims()),
    OURS.sign(claims(dom="emea", realm_access={"roles": ["a"]})),
]
FORGED = [
    *(OTHER.sign_bytes(header.encode(), payload.encode()) for header, payload in PAIRS),
    *(f"{b64(header.encode())}.{b64(payload.encode())}." for header, payload in PAIRS),
]


def judged(compact: str) -> Principal | None:
    found = ask_with(f"Bearer {compact}", ring=RING, now=NOW, policy=TokenPolicy(leeway=5.0))
    return found if isinstance(found, Principal) else None


@fuzzing
@given(mutated([token.encode() for token in FORGED], FRAGMENTS))
def forged_tokens(raw: bytes) -> None:
    assert isinstance(read_token(raw, max_bytes=16384), Rejected | UnverifiedToken)
    assert judged(raw.decode("utf-8", "replace")) is None


@fuzzing
@given(mutated([token.encode() for token in GENUINE], FRAGMENTS))
def genuine_tokens_changed(raw: bytes) -> None:
    found = judged(raw.decode("utf-8", "replace"))
    # An ECDSA signature has a twin, so a changed one may verify; what was signed is never changed.
    if found is not None:
        signed = raw.rpartition(b".")[0].lstrip(b" ")
        assert signed in {token.rpartition(".")[0].encode() for token in GENUINE}
        assert found.id == "alice"


HEADERS = [header.encode() for header, _ in PAIRS]
PAYLOADS = [payload.encode() for _, payload in PAIRS]
JSON_FRAGMENTS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"null", b"NaN", b"1e999", b"-0", b"1" * 400, b"\\ud800",
    b"\xef\xbb\xbf", b'"alg":"none"', b'"alg":"HS256"', b'"crit":["x"]', b'"sub":"root"', b"[" * 40, b"\xc3(",
]  # fmt: skip


@fuzzing
@given(mutated(HEADERS, JSON_FRAGMENTS), mutated(PAYLOADS, JSON_FRAGMENTS), st.sampled_from([OURS, RSA]))
def well_signed_nonsense(header: bytes, payload: bytes, key: SigningKey) -> None:
    """Even what our own issuer signed has to be a token for us: nothing raises, and types hold."""
    found = judged(key.sign_bytes(header, payload))
    if found is not None:
        assert found.id
        assert found.tenant == "default"
        assert all(found.roles)
        expires = found.claims["exp"]
        assert isinstance(expires, int | Decimal)
        assert float(expires) > NOW - 5.0


@fuzzing
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))))
def anything(compact: str) -> None:
    assert judged(compact) is None
    assert judged(spliced(compact.encode("utf-8", "replace"), 1, 0, b".").decode("utf-8", "replace")) is None


def test_only_payloads_signed_by_a_published_key_prove_a_principal() -> None:
    keep_fuzzing(forged_tokens, genuine_tokens_changed, well_signed_nonsense, anything)


def test_the_corpus_is_refused_and_the_originals_are_valid() -> None:
    assert all(judged(token) is None for token in FORGED)
    assert all(judged(token) is not None for token in GENUINE)

"""Tokens that are bound to a client certificate (RFC 8705), and each way in which the proof can fail."""

from dataclasses import replace
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys, identify
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.certificate_binding import binding_problem
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.credential import BearerToken, Credential, VerifiedClaims
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from tests.certificates import Authority, thumbprint
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims, jwks

KEY = SigningKey.es256()
USUAL = IssuerConfig.usual(ISSUER, "acme", (AUDIENCE,), "roles", "dom", "adm", frozenset())
AUTHORITY = Authority("clients")
OWN, OTHER = AUTHORITY.issue("own"), AUTHORITY.issue("other")
SHOWN = quote(OWN.chain.decode(), safe="").encode()
BOUND = {"x5t#S256": thumbprint(OWN)}


def judged(
    credential: Credential,
    certificate: bytes = b"",
    *,
    config: IssuerConfig = USUAL,
    cache: VerifiedTokens | None = None,
) -> object:
    keys = parse_jwks(jwks(KEY))
    assert isinstance(keys, KeySet)
    ring = KeyRing.of([IssuerKeys(config, keys, fetched_at=NOW - 10, fetch_allowed_at=NOW + 20)])
    verified = VerifiedTokens() if cache is None else cache
    return identify([credential], None, Keys(ring, {}, verified), NOW, TokenPolicy(), certificate)


def token(**changes: object) -> BearerToken:
    return BearerToken(KEY.sign(claims(**changes)))


def detail(found: object) -> str:
    assert isinstance(found, Rejected), found
    assert found.reason is Reason.TOKEN_CLAIMS_INVALID
    return found.detail


def test_the_certificate_of_the_peer_opens_its_token() -> None:
    assert isinstance(judged(token(cnf=BOUND), SHOWN), Principal)
    assert isinstance(judged(VerifiedClaims(claims(cnf=BOUND)), SHOWN), Principal)


def test_a_bound_token_is_never_a_plain_bearer_token_not_even_when_remembered() -> None:
    cache, bound = VerifiedTokens(), token(cnf=BOUND)
    assert isinstance(judged(bound, SHOWN, cache=cache), Principal)
    assert detail(judged(bound, cache=cache)) == (
        "the token is bound to a certificate, and the proxy passed none of its client"
    )
    other = quote(OTHER.chain.decode(), safe="").encode()
    assert detail(judged(bound, other, cache=cache)) == "the token is bound to another certificate"
    assert (
        detail(judged(VerifiedClaims(claims(cnf=BOUND)), other))
        == "the token is bound to another certificate"
    )


@pytest.mark.parametrize(
    ("cnf", "problem"),
    [
        ({}, "cnf has another method than x5t#S256, which alone can be verified"),
        ({"jkt": "x"}, "cnf has another method than x5t#S256, which alone can be verified"),
        (BOUND | {"jkt": "x"}, "cnf has another method than x5t#S256, which alone can be verified"),
        ({"x5t#S256": "short"}, "cnf: x5t#S256 is not the base64url of a SHA-256 value"),
        ({"x5t#S256": None}, "cnf: x5t#S256 is not the base64url of a SHA-256 value"),
        ("x5t#S256", "cnf is a string, not an object"),
        ([BOUND], "cnf is a list, not an object"),
        (False, "cnf is a boolean, not an object"),
    ],
)
def test_a_binding_that_cannot_be_verified_refuses_the_token(cnf: object, problem: str) -> None:
    assert detail(judged(token(cnf=cnf), SHOWN)) == problem


def test_an_issuer_may_require_bound_tokens() -> None:
    config = replace(USUAL, require_bound=True)
    assert isinstance(judged(token(cnf=BOUND), SHOWN, config=config), Principal)
    assert detail(judged(token(), SHOWN, config=config)) == (
        "cnf is missing, and tokens of the issuer have to be bound"
    )


@pytest.mark.parametrize(
    "certificate",
    [
        b"x",
        b"%",
        b"-----BEGIN CERTIFICATE-----",
        quote("-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n").encode(),
        SHOWN + SHOWN,
        b"\xff" * 10_000,
        b"-----BEGIN CERTIFICATE-----" + b"A" * 200_000 + b"-----END CERTIFICATE-----",
    ],
)
def test_an_unreadable_certificate_proves_no_binding(certificate: bytes) -> None:
    assert binding_problem(BOUND["x5t#S256"], certificate) is not None


def test_line_ends_of_the_pem_do_not_matter() -> None:
    (own,) = x509.load_pem_x509_certificates(OWN.chain)[:1]
    pem = own.public_bytes(Encoding.PEM).replace(b"\n", b"\r\n")
    assert binding_problem(BOUND["x5t#S256"], quote(pem).encode()) is None

"""Known queries, values and tokens with their right answers; `rows` is the self-check of serving.

Keys, tokens and the time are constants: the private keys are gone, and the tokens are good at `_NOW` only.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extauthz.commands.self_check.rows import SelfCheckRows, WrongRow, domain_rows, wrong_rows
from extauthz.commands.token_verify import verdict
from extauthz.compile.conditions.query import read_query
from extauthz.compile.conditions.values import Missing, parse_address, parse_network
from extauthz.decide.tokens.jwks import JwksRejected, parse_jwks
from extauthz.domain.time_text import parse_time

_NOW: Final = 1_800_000_000.0
_ISSUER: Final = "https://idp.example"
_AUDIENCE: Final = "extauthz"
_KEYS: Final = (
    '{"keys": [{"kid": "rsa", "kty": "RSA", "e": "AQAB", "n": "'
    "uDE4YtnQ_p0MHAD_75uY89uela20hQMjdj5uiJuRL1xYOTTSLIWFCJGmKLDx0cRCOvX4NBl0lJKgh6VSz8xd_FiSN3kYjrD4ad"
    "HRWhfQrZcnlRc1GyCLW3tzfmL3sqi1J00OSoa2X_phtsC1SoNmottzsSr2E08AfzigVCXWYoHErKnMhP7yjn8vl31vxIqcTwpj"
    "K4Nac3VDcQQ-ommHc2UasMsAE-2dFsLu1zQ9-p0NX7TRoJ9sfeg-o_N3mw4NE5W7KhfJZ1fiI-k-b2Rley1F1R49bVEppGebXp"
    "VNP0inJ8tia1ge7jylqeNEQa7wnf4SzVGMN0UuTcemndzc4w"
    '"}, {"kid": "ec", "kty": "EC", "crv": "P-256", "x": "cLMx6MwT9nVegNa_bIJ8BxymuSCOM3n_xF9TDf1V3oQ",'
    ' "y": "9XMLAL86pkiOZYfmZmSD4Hg7rwRxN6Rn5sgVJNRoeXs"}]}'
)
_PAYLOAD: Final = (
    "eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJleHRhdXRoeiIsImV4cCI6MTgwMDAwMDYwMH0"
)
_SIGNATURE_RS256: Final = (
    "OBOinsT2ENioGBb8HrxANniZ2Ie9yc58ocx1ul8jzbe8bEG_I7JkIxrDElKvrfjhoS4gy-CMlO4XSB5Wuj0RSFi8B-D8Ru1BL9"
    "OfcPL3UHtb1Rn0e5PMZsDNK7JgOhI4cJCeJU9FomDmQnSWgk7CWAQVj5U8h1L7ElwkbB_tIXMrUVcjFfUQ0xgKlFqkgkUDWfgp"
    "tAFN9poKbwra8VoH0KDzTlIVu1Ba_Tk6Oe3UmQxKHr8A4qX3zDnJn7KqAZstMKdgZiivgBI7_ywgFpUFI9M1hKJP6kLY4nsprh"
    "oiVZ3baR3FEIBfqN-6EraSpL-tBuS-pK1h9iH_WrNSY7Mhhg"
)
_SIGNATURE_ES256: Final = (
    "OW9P2qzRUNQTwVpmrHArxBYBw2w3sdlK2rrDj2gRmH-8cwxPvIcvE2j_GnhqSDpQJdnCGRz8qhPgeriuoPydaA"
)


def _token(header: str, payload: str = _PAYLOAD, signature: str = _SIGNATURE_ES256) -> str:
    return f"{_encoded(header)}.{payload}.{signature}"


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


_RS256: Final = _token('{"alg":"RS256","kid":"rsa"}', signature=_SIGNATURE_RS256)
_ES256: Final = _token('{"alg":"ES256","kid":"ec"}')
_ROOT: Final = _encoded('{"iss":"https://idp.example","sub":"root","aud":"extauthz","exp":1800000600}')


@dataclass(frozen=True, slots=True)
class _Question:
    compact: str
    issuer: str = _ISSUER
    audience: str = _AUDIENCE
    now: float = _NOW


_TOKENS: Final = {
    "of RS256": (_Question(_RS256), "ok"),
    "of ES256": (_Question(_ES256), "ok"),
    "of another issuer": (_Question(_ES256, issuer="https://idp.example/"), "token_unknown_issuer"),
    "for another audience": (_Question(_ES256, audience="extauth"), "token_wrong_audience"),
    "that has expired": (_Question(_ES256, now=_NOW + 600), "token_expired"),
    "of RS256 with another subject": (
        _Question(_token('{"alg":"RS256","kid":"rsa"}', _ROOT, _SIGNATURE_RS256)),
        "token_bad_signature",
    ),
    "of ES256 with another subject": (
        _Question(_token('{"alg":"ES256","kid":"ec"}', _ROOT)),
        "token_bad_signature",
    ),
    "with a signature of zeros": (
        _Question(_token('{"alg":"ES256","kid":"ec"}', signature="A" * 86)),
        "token_bad_signature",
    ),
    "without a signature": (_Question(_token('{"alg":"none"}', signature="")), "token_malformed"),
    "of alg none": (_Question(_token('{"alg":"none","kid":"ec"}')), "token_algorithm"),
    "of alg HS256": (_Question(_token('{"alg":"HS256","kid":"rsa"}')), "token_algorithm"),
    "of ES256 that names the RSA key": (_Question(_token('{"alg":"ES256","kid":"rsa"}')), "token_algorithm"),
    "of a key that there is not": (_Question(_token('{"alg":"ES256","kid":"EC"}')), "token_unknown_key"),
    "with alg twice": (_Question(_token('{"alg":"none","alg":"ES256","kid":"ec"}')), "token_malformed"),
    "with crit": (_Question(_token('{"alg":"ES256","kid":"ec","crit":["b64"]}')), "token_malformed"),
    "with padding": (_Question(_ES256 + "=="), "token_malformed"),
    "with a second spelling of its last octet": (_Question(_ES256[:-1] + "h"), "token_malformed"),
    "with a line break": (_Question(_ES256 + "\n"), "token_malformed"),
}

_QUERIES: SelfCheckRows = (
    ("role=user", "user"),
    ("%72ole=%75ser", "user"),
    ("role=a%26role%3Db", "a&role=b"),
    ("roles=admin", "absent"),
    ("role", ""),
    ("role=a&role=b", "unknown"),
    ("role=a&%72ole=b", "unknown"),
    ("role=a;x", "unreadable"),
    ("role=%ff", "unreadable"),
    ("role=%zz", "unreadable"),
    ("role=admin%00", "unknown"),
    ("role=%c2%85", "unknown"),
    ("role=user&text=a%0Ab", "user"),
    ("role%00=admin", "unreadable"),
    ("role=%", "unreadable"),
    ("role=%fe", "unreadable"),
)

_VALUES: SelfCheckRows = (
    ("2027-01-31T23:59:59.5+01:30", "2027-01-31 22:29:59.500000+00:00"),
    ("2027-01-31T24:00:00Z", "None None None"),
    ("2027-02-29T00:00:00Z", "None None None"),
    ("2027-01-31T00:00:00+24:00", "None None None"),
    ("2027-01-31T00:00Z", "None None None"),
    ("10.1.2.3", "None 10.1.2.3 10.1.2.3/32"),
    ("010.1.2.3", "None None None"),
    ("::ffff:10.1.2.3", "None 10.1.2.3 10.1.2.3/32"),
    ("fe80::1%eth0", "None None None"),
    ("10.0.0.0/8", "None None 10.0.0.0/8"),
    ("10.1.0.0/8", "None None None"),
    ("10.0.0.0/255.0.0.0", "None None None"),
    ("::ffff:10.0.0.0/104", "None None 10.0.0.0/8"),
)


def token_rows() -> Iterator[WrongRow]:
    """Yield the rows of tokens that come out wrong, which `extauthz token verify` depends on."""
    keys = parse_jwks(_KEYS.encode())
    if isinstance(keys, JwksRejected):
        yield WrongRow("key set", "of RFC 7517", "two keys", keys.problem)
        return

    def judge(name: str) -> str:
        asked, _ = _TOKENS[name]
        answer = verdict(
            asked.compact.encode(),
            keys,
            issuer=asked.issuer,
            audience=asked.audience,
            signature_only=False,
            now=asked.now,
        )
        return str(answer["reason"])

    yield from wrong_rows("token", judge, ((name, expected) for name, (_, expected) in _TOKENS.items()))


def rows() -> Iterator[WrongRow]:
    """Yield every row that comes out wrong."""
    yield from domain_rows()
    yield from wrong_rows("query", _query, _QUERIES)
    yield from wrong_rows("value", _value, _VALUES)
    yield from token_rows()


def _query(raw: str) -> str:
    query = read_query(raw)
    if query is None:
        return "unreadable"
    value = query.value("role")
    return value.value if isinstance(value, Missing) else value


def _value(text: str) -> str:
    time = parse_time(text)
    return f"{time}" if time is not None else f"{time} {parse_address(text)} {parse_network(text)}"

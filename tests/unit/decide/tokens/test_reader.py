"""The strict token reader: any octets have one meaning or are refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.tokens.base64url import decode_base64url
from extauthz.decide.tokens.reader import MAX_TOKEN_BYTES, Rejected, UnverifiedToken, read_token
from extauthz.domain.reasons import Reason
from extauthz.domain.strict_json import MAX_DEPTH, JsonRejected, read_json, read_object
from tests.tokens import SigningKey, b64, claims

KEY = SigningKey.es256()


def read(compact: str | bytes, max_bytes: int = MAX_TOKEN_BYTES) -> UnverifiedToken | Rejected:
    return read_token(compact if isinstance(compact, bytes) else compact.encode(), max_bytes=max_bytes)


def reason(compact: str | bytes, max_bytes: int = MAX_TOKEN_BYTES) -> Reason | None:
    outcome = read(compact, max_bytes)
    return outcome.reason if isinstance(outcome, Rejected) else None


def with_header(header: bytes) -> str:
    return KEY.sign_bytes(header, json.dumps(claims()).encode())


def test_a_valid_token_is_read() -> None:
    token = read(KEY.sign(claims()))
    assert isinstance(token, UnverifiedToken)
    assert token.algorithm == "ES256"
    assert token.kid == "ec"
    assert json.loads(token.payload) == claims()
    assert len(token.signature) == 64


@pytest.mark.parametrize(
    "compact",
    [
        "",
        ".",
        "..",
        "a",
        "a.b",
        "a.b.c.d",
        f"{b64(b'{}')}.{b64(b'{}')}.",
        f".{b64(b'{}')}.{b64(b'x')}",
        "e30.e30.a b",
        "e30.e30.\n",
        "e30 .e30.eA",
        "e30.e30.eA,e30.e30.eA",
        b"e30.e30.\xff",
    ],
)
def test_anything_but_three_base64url_segments_is_malformed(compact: str | bytes) -> None:
    assert reason(compact) is Reason.TOKEN_MALFORMED


def test_the_five_segments_of_an_encrypted_token_are_malformed() -> None:
    assert reason("e30.e30.e30.e30.e30") is Reason.TOKEN_MALFORMED


def test_a_padded_signature_is_malformed() -> None:
    header, payload, signature = KEY.sign(claims()).split(".")
    assert len(signature) % 4 == 2
    assert reason(f"{header}.{payload}.{signature}==") is Reason.TOKEN_MALFORMED


def test_stray_bits_in_the_last_character_are_malformed() -> None:
    compact = KEY.sign(claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 64 octets leave four unused bits in the last character.
    respelt = compact[:-1] + alphabet[alphabet.index(compact[-1]) | 1]
    assert respelt != compact
    assert reason(respelt) is Reason.TOKEN_MALFORMED


def test_the_other_base64_alphabet_is_malformed() -> None:
    assert decode_base64url(b"-_-_") is not None
    assert decode_base64url(b"+/+/") is None


def test_a_token_over_the_limit_is_malformed_and_one_at_it_is_not() -> None:
    compact = KEY.sign(claims())
    assert reason(compact, max_bytes=len(compact)) is None
    assert reason(compact, max_bytes=len(compact) - 1) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"[]",
        b'"ES256"',
        b'{"alg":"ES256"',
        b'\xef\xbb\xbf{"alg":"ES256"}',
        b'{"alg":"ES256","kid":"\xff"}',
        b'{"alg":"ES256","kid":"\\ud800"}',
        b'{"alg":"ES256","alg":"ES256"}',
        b'{"alg":"none","\\u0061lg":"ES256"}',
        b'{"alg":"ES256","x":{"y":1,"y":2}}',
        b'{"alg":"ES256","x":NaN}',
        b'{"alg":"ES256","x":-Infinity}',
        b'{"alg":"ES256","x":1e999}',
        b'{"alg":"ES256","x":1e-999999999999999999999}',
        b'{"alg":"ES256","x":' + b"9" * 5000 + b"}",
        b'{"alg":"ES256","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"alg":"ES256","x":"' + b"\x00" + b'"}',
        '{"alg":"ES256"}'.encode("utf-16"),
        b'{"alg":"ES256"}{"alg":"ES256"}',
        b'{"alg":"ES256",}',
        b"{'alg':'ES256'}",
    ],
)
def test_a_header_that_two_readers_could_read_differently_is_malformed(header: bytes) -> None:
    assert reason(with_header(header)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt", "Application/JWT"]
)
def test_a_token_of_a_known_type_is_accepted(typ: str) -> None:
    assert reason(KEY.sign(claims(), typ=typ)) is None


def test_a_token_without_type_is_accepted() -> None:
    assert reason(KEY.sign(claims(), typ=None)) is None


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "application/logout+jwt"},
        {"typ": "application/application/jwt"},
        {"typ": "application/"},
        {"typ": "application/jwt/"},
        {"typ": "application/jwt; charset=utf-8"},
        {"typ": "text/jwt"},
        {"typ": "/jwt"},
        {"typ": "application/\u212aWT"},
        {"typ": "JWE"},
        {"typ": ""},
        {"typ": 1},
        {"typ": ["JWT"]},
        {"typ": "\u212aWT"},
        {"crit": []},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"kid": 7},
        {"kid": ["ec"]},
        {"kid": {"ec": 1}},
    ],
)
def test_header_members_that_change_the_meaning_are_malformed(header: dict[str, object]) -> None:
    assert reason(KEY.sign(claims(), **header)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "member",
    [b'"typ":null', b'"kid":null', b'"crit":null', b'"zip":null', b'"b64":null'],
)
def test_null_in_a_header_is_not_absence(member: bytes) -> None:
    assert reason(with_header(b'{"alg":"ES256",' + member + b"}")) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "algorithm",
    [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "HS256",
        "HS512",
        "RS384",
        "PS256",
        "ES384",
        "ES256K",
        "EdDSA",
        "es256",
        "ES256 ",
        7,
        True,
        ["ES256"],
        {"ES256": 1},
    ],
)
def test_every_algorithm_but_two_is_refused(algorithm: object) -> None:
    assert reason(KEY.sign(claims(), alg=algorithm)) is Reason.TOKEN_ALGORITHM


def test_a_token_without_algorithm_is_refused() -> None:
    assert reason(KEY.sign(claims(), alg=None)) is Reason.TOKEN_ALGORITHM


def test_the_payload_may_be_any_bytes_until_it_is_read() -> None:
    for payload in (b"", b"\xff\x00", b"text"):
        token = read(KEY.sign(payload))
        assert isinstance(token, UnverifiedToken)
        assert token.payload == payload


def test_depth_is_bounded_at_the_limit_exactly() -> None:
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) == json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert isinstance(read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)), JsonRejected)


def test_brackets_inside_strings_and_side_by_side_do_not_count_as_depth() -> None:
    document = json.dumps({"a": "[{" * 100 + '\\"[[', "b": [[]] * 100}).encode()
    assert read_json(document) == json.loads(document)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(octets: bytes) -> None:
    assert isinstance(read(octets), Rejected)
    read_json(octets)
    read_object(octets)
    decode_base64url(octets)


@given(st.text(alphabet='[]{}",:\\u01d8e-+.ntfa ', max_size=120))
def test_the_strict_reader_agrees_with_the_lenient_one_on_accepted_texts(text: str) -> None:
    strict = read_json(text.encode())
    if not isinstance(strict, JsonRejected):
        assert strict == json.loads(text, parse_float=Decimal)


@given(st.binary(max_size=64))
def test_base64url_has_one_spelling_for_one_value(octets: bytes) -> None:
    assert decode_base64url(b64(octets).encode()) == octets

"""The fast reader of bodies reads what the strict one reads, or nothing; no body is read in two ways."""

import json
from decimal import Decimal
from typing import Final

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.compile.conditions import request_body
from extauthz.compile.conditions.fast_json import exact, read_fast
from extauthz.compile.conditions.member_names import CONTROL, MESSAGE_NAMES
from extauthz.compile.conditions.request_body import JsonBody, read_body
from extauthz.domain.content_type import BodyForm
from extauthz.domain.folded_names import folded
from extauthz.domain.mcp import RESPONSE
from tests.property.json_texts import NUMBERS, assert_agrees, objects

LINES: Final = "Some lines of a file that is written.\n"
SPELLINGS: Final = [
    {"separators": (", ", ": ")},
    {"separators": (",", ":")},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 2},
]


def deep(levels: int, before: str = "", after: str = "") -> bytes:
    """Return an object in which lists are nested, with strings next to them."""
    return ('{"a":' + f"[{before}" * levels + "1" + f"{after}]" * levels + "}").encode()


@given(objects(), st.sampled_from([32, 32, 32, 4, 30]))
@example(b'{"a":1,"a":1}', 32)
@example(b'{"a":1,"\\u0061":1}', 32)
@example(b'{"a":":","b":"\\u003a\\u003a","b":1}', 32)
@example(b'{"a":"\\"","b":1,"b":"\\u0022"}', 32)
@example(b'{"a":"\\u0022\\u0022","b":1,"b":2}', 32)
@example(b'{"a":{"b":1,"b":1},"c":"' + b"x" * 2048 + b'"}', 32)
@example(b'{"a":"' + b"x" * 2048 + b'","b":1e-400}', 32)
@example(b'{"a":"' + b"x" * 2048 + b'","b":0.1000000000000000055511151231257827}', 32)
@example(b'{"a":1e-400}', 32)
@example(b'{"a":0e99999}', 32)
@example(b"\xef\xbb\xbf{}", 32)
@example(deep(31), 32)
@example(deep(32), 32)
@example(deep(300), 32)
@example(deep(40, '"]",', ',"["'), 32)
@example(deep(40, '"\\"]",', ',"["'), 32)
@example(b'{"x":"' + b"x" * 2048 + b'",' + deep(40, '"]",', ',"["')[1:], 32)
def test_the_fast_reader_reads_what_the_strict_one_reads(content: bytes, depth: int) -> None:
    assert_agrees(content, depth)


@given(st.binary(max_size=64) | st.text(alphabet='{}[]":,\\u01dea-+.e \n', max_size=80).map(str.encode))
def test_it_agrees_about_any_octets(content: bytes) -> None:
    assert_agrees(content)
    assert_agrees(b'{"a":' + content + b"}")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("other", [b"", b',"b":"' + b"x" * 2048 + b'"', b',"b":[' + b"{}," * 40 + b"{}]"])
@pytest.mark.parametrize("before", [b"", b'"', b"-"])
def test_it_agrees_about_every_number(number: str, other: bytes, before: bytes) -> None:
    assert_agrees(b'{"a":' + before + number.encode() + before.strip(b"-") + other + b"}")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "", "limit": 20},
        {"text": LINES * 100, "limit": 20},
        {"text": LINES * 100, "amount": 12.5},
        {"records": [{"id": number, "amount": number / 8, "tags": ["a"]} for number in range(60)]},
        {"records": [{"note": "[é]", "amount": 0.5} for _ in range(60)], "text": LINES},
        {"text": 'print("{[")\n' * 100},
    ],
)
def test_ordinary_calls_are_read_fast(arguments: object, spelling: dict[str, object]) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "a", "arguments": arguments},
    }
    assert assert_agrees(json.dumps(call, **spelling).encode())  # type: ignore[arg-type]


def test_an_amount_with_a_zero_at_its_end_is_read_fast() -> None:
    assert assert_agrees(b'{"text": "' + b"x" * 2048 + b'", "amount": 12.50}')
    assert assert_agrees(b'{"amount": 12.50, "tags": [' + b'{"a": 1},' * 60 + b"1]}")


@given(objects(), st.sampled_from(["a", "b", "c", "many", "long", "a.b", "many.a", "é", ""]))
def test_a_body_is_the_same_by_both_readers(content: bytes, path: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        either = read_body(content, BodyForm.JSON)
        patch.setattr(request_body, "read_fast", lambda _content, _depth: None)
        strict = read_body(content, BodyForm.JSON)
    assert (either is None) is (strict is None)
    if either is not None and strict is not None:
        assert either.value(path) == strict.value(path)
        assert either.exists(path) is strict.exists(path)
        assert either.message() == strict.message()


# What is relied on in orjson: a version that does otherwise fails here.


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_orjson_writes_each_double_so_that_it_reads_the_same(number: float) -> None:
    written = orjson.dumps(number)
    assert float(written) == number
    assert Decimal(written.decode()) == Decimal(repr(number)) == exact(number)


@given(st.integers(-(2**63), 2**64 - 1))
def test_orjson_keeps_integers_of_64_bits(number: int) -> None:
    read = orjson.loads(str(number))
    assert type(read) is int
    assert read == number


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**64, 10**30])
def test_orjson_makes_doubles_of_longer_integers(number: int) -> None:
    # So they are fractions to the proofs, and are not written as they were.
    assert type(orjson.loads(str(number))) is float
    assert orjson.dumps(orjson.loads(str(number))) != str(number).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"NaN", b"Infinity", b"1e400", b"01", b"+1", b"1.", b".5", b"[1,]", b'{"a":1,}', b"//\n1", b"1 2",
        b"",
        b"\xef\xbb\xbf1", b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\t"',
        b'"\\x"',
        b"\x0c1", b"1\0", b"'a'", '{"a":1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_orjson_refuses_what_no_proof_looks_for(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(text)


# Names that are told at once, and names that were seen before.


def test_no_two_names_of_messages_resemble_each_other() -> None:
    assert len({folded(name) for name in MESSAGE_NAMES}) == len(MESSAGE_NAMES)
    assert not any("." in name or CONTROL.search(name) for name in MESSAGE_NAMES)


_MEMBERS = st.dictionaries(
    st.sampled_from(["jsonrpc", "method", "params", "result", "error", "Method", "id", "_meta", "meta"]),
    st.sampled_from(["2.0", "tools/call", "ping", RESPONSE, "", "a\0", None, 1, {}, {"name": "x"}]),
    max_size=4,
)
_PARAMS: Final[st.SearchStrategy[dict[str, object]]] = st.dictionaries(
    st.sampled_from(["name", "Name", "uri", "_meta", "meta", "name.x"]),
    st.sampled_from(["x", "", "\x85", "é", "null", " [1]", "[draft]", "nul", None, 1, {}]),
    max_size=3,
)


@given(
    _MEMBERS,
    _PARAMS,
    st.sampled_from(["tools/call", "resources/read", "ping", RESPONSE, "p\x07", "null", None]),
)
def test_a_member_that_no_message_has_changes_no_message(
    members: dict[str, object], params: dict[str, object], method: str | None
) -> None:
    # With it every name is looked at, one by one.
    ordinary = {"jsonrpc": "2.0", "method": method, "params": params, **members}
    longer = {**ordinary, "another": 1}
    if isinstance(inner := longer["params"], dict):
        longer["params"] = {**inner, "another": 1}
    assert message_of(ordinary) == message_of(longer)


def message_of(document: object) -> object:
    body = read_body(json.dumps(document).encode(), BodyForm.JSON)
    assert isinstance(body, JsonBody)
    return body.message()


@given(
    st.lists(
        st.sampled_from(["user_id", "userId", "a.b", "a", "b", "x\0", "é", "$ref"]), unique=True, max_size=4
    ),
    st.sampled_from(["user_id", "userId", "userid", "a", "a.b", "b", "x", "é", "É"]),
)
def test_the_same_names_again_are_judged_the_same(names: list[str], path: str) -> None:
    content = json.dumps(dict.fromkeys(names, 1)).encode()
    first, again = (JsonBody(read_fast(content, 32) or {}) for _ in range(2))
    longer = JsonBody({**dict.fromkeys(names, 1), "z" * 300: 1})
    assert first.exists(path) is again.exists(path) is longer.exists(path)
    assert first.value(path) == again.value(path) == longer.value(path)

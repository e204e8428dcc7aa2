"""Fuzzes bodies of requests: nothing raises, time is bounded, what is read is what every reader reads."""

import json
import time
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.conditions.request_body import FormBody, JsonBody, read_body
from extauthz.compile.conditions.values import ABSENT, UNKNOWN
from extauthz.domain.content_type import BodyForm, body_form
from extauthz.domain.mcp import RESPONSE, McpMessage
from tests.fuzz.rounds import fuzzing, keep_fuzzing, mutated

PATHS: Final = ("a", "a.b", "params.name", "params.arguments.amount", "amount", "A", "", "é", "a b", "method")
CALL: Final = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call",'
    b' "params": {"name": "pay", "arguments": {"amount": 12.50, "to": ["a", "b"]}}}'
)
ORIGINALS: Final = [
    CALL,
    CALL.replace(b"method", b"m\\u0065thod"),
    CALL.decode().encode("utf-16"),
    b"\xef\xbb\xbf" + CALL,
    b"[" + CALL + b"]",
    b'{"a": {"b": 1}, "A": 2}',
    b'{"amount": 1, "amount": 2}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
    b"amount=1&a=%41&a.b=2",
    b"",
]
FRAGMENTS: Final = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"1e400", b"-0", b"1" * 400, b"NaN", b"\\ud800",
    b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"\0", b" ", b"\n", b"true", b'"amount":', b'"Method":"x",',
    b"/*", b"&", b"=", b"%", b"+", b"null",
]  # fmt: skip
HEADERS: Final = st.none() | st.sampled_from([b"tools/call", b"pay", b"=?base64?cGF5?=", b"\xff", b""])


@fuzzing
@given(
    st.one_of(mutated(ORIGINALS, FRAGMENTS), st.binary(max_size=64)),
    st.sampled_from(BodyForm),
    HEADERS,
    HEADERS,
)
def any_bytes(content: bytes, form: BodyForm, method: bytes | None, name: bytes | None) -> None:
    body = read_body(content, form, (method, name))
    if body is None:
        return
    for path in PATHS:
        value, exists = body.value(path), body.exists(path)
        assert value is not ABSENT
        assert exists in {True, False, None}
        # INVARIANT: what has a value exists for every reader.
        assert value is UNKNOWN or exists
    message = body.message()
    if isinstance(body, FormBody):
        assert message is None
        return
    assert isinstance(body, JsonBody)
    # A reader with exact numbers reads the same, and no name is twice in an object.
    pairs: list[str] = []

    def members(found: list[tuple[str, object]]) -> dict[str, object]:
        names = [each for each, _ in found]
        assert len(names) == len(set(names))
        pairs.extend(names)
        return dict(found)

    document = json.loads(content.decode(), object_pairs_hook=members, parse_float=Decimal)
    assert isinstance(document, dict)
    if isinstance(message, McpMessage):
        assert document["jsonrpc"] == "2.0"
        if message.method != RESPONSE:
            assert document["method"] == message.method
            assert method in {None, message.method.encode()}
    amount = body.value("amount")
    assert amount is UNKNOWN or amount == (
        tuple(document["amount"]) if isinstance(document["amount"], list) else document["amount"]
    )


@fuzzing
@given(
    mutated(
        [b'application/json; charset="utf-8"', b"application/x-www-form-urlencoded", b"a/b+json"],
        [b";", b'"', b"charset=utf-16", b"\0", b"\xff", b"/", b"+json", b" ", b"\t", b"="],
    )
)
def any_content_type(text: bytes) -> None:
    form = body_form(text)
    if form is not None:
        kind = text.split(b";")[0].strip().lower()
        assert kind.endswith(b"json") if form is BodyForm.JSON else kind.endswith(b"urlencoded")
        names = [part.strip().lower().partition(b"=") for part in text.split(b";")[1:]]
        assert all(b"utf-16" not in value for name, _, value in names if name == b"charset")


def test_bodies_of_any_bytes_are_read_or_not() -> None:
    keep_fuzzing(any_bytes, any_content_type)


LONGEST: Final = 512 * 1024
"""The most that CONDITION_BODY_MAX can be."""


def filled(unit: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + unit * ((LONGEST - len(before) - len(after)) // len(unit)) + after


@pytest.mark.parametrize(
    "content",
    [
        filled(b"["),
        filled(b'{"a":'),
        filled(b'"'),
        filled(b"\\"),
        filled(b"1", b'{"amount": ', b"}"),
        filled(b"1", b'{"amount": 1e', b"}"),
        filled(b"a", b'{"amount": "', b'"}'),
        filled(b"\\u0061", b'{"amount": "', b'"}'),
        filled(b"\\ud800", b'{"amount": "', b'"}'),
        filled(b"[],", b'{"amount": [', b"0]}"),
        filled(b"1,", b'{"amount": [', b"0]}"),
        filled(b" ", b"{", b"}"),
        b"{" + b",".join(b'"%d":0' % number for number in range(50_000)) + b"}",
        b"{" + b",".join(b'"a-%d":0' % number for number in range(40_000)) + b"}",
        filled(b"a=1&"),
        filled(b"%41"),
        filled(b"&"),
    ],
    ids=range(17),
)
def test_the_longest_bodies_take_bounded_time(content: bytes) -> None:
    began = time.process_time()
    for form in BodyForm:
        body = read_body(content, form)
        if body is not None:
            for path in PATHS:
                body.value(path)
                body.exists(path)
            body.message()
    # Half a mebibyte, read twice: 2 us a KiB is 2 ms. The bound finds what grows as the square.
    assert time.process_time() - began < 1.0

"""Fuzzes the fast reader of bodies: what it reads, the strict reader reads the same."""

import json
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.rounds import fuzzing, keep_fuzzing, mutated
from tests.property.json_texts import assert_agrees, objects

CALL: Final = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay", "arguments":'
    b' {"amount": 12.50, "to": ["a", "b"], "note": "a \\"b\\" [\\u00e9]: \\/"}}}'
)
RECORDS: Final = json.dumps(
    {"a": [{"id": number, "b": number / 8, "c": ["x", {}]} for number in range(40)]}
).encode()
ORIGINALS: Final = [
    CALL,
    CALL.replace(b'": ', b'":').replace(b', "', b',"'),
    CALL.replace(b"pay", b"a line of text\\n" * 150),
    RECORDS,
    RECORDS.replace(b" ", b""),
    b'{"a":' + b"[" * 31 + b'"]"' + b"]" * 31 + b"}",
]
FRAGMENTS: Final = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"1e400", b"1e-400", b"-0", b"1" * 20, b"0." + b"1" * 20,
    b"NaN", b"\\ud800", b"\\u0022", b"\\u003a", b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"\0", b" ", b"\n",
    b"true",
    b'"a":1,', b'"name":"x",', b'"\\u0061":1,', b'"[",', b'"]",', b"[" * 31, b"]" * 31, b"e5", b".5",
]  # fmt: skip


@fuzzing
@given(mutated(ORIGINALS, FRAGMENTS), st.sampled_from([32, 32, 5]))
def any_call(content: bytes, depth: int) -> None:
    assert_agrees(content, depth)


@fuzzing
@given(objects(), st.sampled_from([32, 32, 5]))
def any_object(content: bytes, depth: int) -> None:
    assert_agrees(content, depth)


def test_what_is_read_fast_is_what_the_strict_reader_reads() -> None:
    keep_fuzzing(any_call, any_object)

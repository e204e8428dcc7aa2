"""Messages of the Model Context Protocol: what we find, the readers of servers find too.

The readers are those of the official SDK: the standard library's for the protocol of 2026-07-28, pydantic's
before that. The texts are messages with what an attacker would add: a member again, in another case, escaped,
in another encoding, with something before or behind.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import pydantic_core
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.compile.conditions.request_body import JsonBody, read_body
from extauthz.domain.content_type import BodyForm
from extauthz.domain.mcp import NAME_MEMBERS, RESPONSE, McpMessage

READERS: Final[tuple[Callable[[bytes], Any], ...]] = (json.loads, pydantic_core.from_json)
METHODS: Final = ["tools/call", "tools/list", "resources/read", "prompts/get", "ping", "initialize"]
NAMES: Final = ["read-invoice", "delete-invoice", "reports://2026/sales", ""]
MEMBERS: Final = ["jsonrpc", "id", "method", "params", "name", "uri", "result", "error", "arguments"]


SCALARS: Final = [
    *(json.dumps(each) for each in (*METHODS, *NAMES)),
    *('"2.0"', "1", "1e400", "NaN", "null", "[]", '"\\ud800"', '"tools\\/call"', "12345678901234567890"),
]


def written(draw: st.DrawFn, name: str) -> str:
    """Return a member name as JSON text, in one of many spellings."""
    text = draw(
        st.sampled_from([*[name] * 4, name.upper(), name.title(), f"{name}\0", f" {name}", f"_{name}"])
    )
    if draw(st.booleans()):
        return json.dumps(text)
    return '"' + "".join(f"\\u{ord(each):04x}" for each in text) + '"'


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> str:
    if depth < 2 and draw(st.booleans()):
        return draw(objects(depth + 1))
    return draw(st.sampled_from(SCALARS))


@st.composite
def objects(draw: st.DrawFn, depth: int = 0) -> str:
    members = draw(st.lists(st.sampled_from(MEMBERS), max_size=2))
    pairs = [f"{written(draw, name)}: {draw(values(depth))}" for name in members]
    if depth == 0 and draw(st.integers(0, 9)) > 0:
        method = draw(st.sampled_from(METHODS))
        params = draw(objects(1))
        pairs = ['"jsonrpc": "2.0"', '"id": 1', f'"method": "{method}"', f'"params": {params}', *pairs]
        if draw(st.booleans()):
            pairs.reverse()
    if depth == 1 and draw(st.booleans()):
        pairs.append(f'"{draw(st.sampled_from(["name", "uri"]))}": "{draw(st.sampled_from(NAMES))}"')
    return "{" + ", ".join(pairs) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    text = draw(objects())
    around = draw(st.sampled_from([*["{}"] * 12, "\ufeff{}", " {}\n", "[{}]", "{}{}", "{}\0", "{},"]))
    encoding = draw(st.sampled_from([*["utf-8"] * 12, "utf-16", "utf-32-le"]))
    return around.replace("{}", text).encode(encoding, "surrogatepass")


@given(bodies())
@example(b'{"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "a", "name": "b"}}')
@example(b'{"jsonrpc": "2.0", "method": "tools/call", "m\\u0065thod": "ping", "params": {"name": "a"}}')
def test_every_reader_finds_the_message_that_we_find(body: bytes) -> None:
    read = read_body(body, BodyForm.JSON)
    message = read.message() if isinstance(read, JsonBody) else None
    if message is None:
        return
    for reader in READERS:
        found = reader(body)
        assert message == named(found), reader


def named(found: Any) -> McpMessage:
    if "method" not in found:
        return McpMessage(RESPONSE)
    member = NAME_MEMBERS.get(found["method"])
    return McpMessage(found["method"], None if member is None else found["params"][member])


@pytest.mark.parametrize(
    ("headers", "is_message"),
    [
        ((None, None), True),
        ((b"tools/call", b"a"), True),
        ((b"tools/call", b"=?base64?YQ==?="), True),
        ((b"Tools/Call", b"a"), False),
        ((b"tools/call ", b"a"), False),
        ((b"tools/list", b"a"), False),
        ((b"", None), False),
        ((None, b""), False),
        ((None, b"A"), False),
        ((None, b"a,b"), False),
        ((None, b"=?base64?YR==?="), False),
        ((None, b"=?base64?Y?="), False),
        ((None, b"=?BASE64?YQ==?="), False),
        ((None, b"\xff"), False),
    ],
)
def test_a_header_that_says_otherwise_makes_it_no_message(
    headers: tuple[bytes | None, bytes | None], *, is_message: bool
) -> None:
    text = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}}'
    read = read_body(text, BodyForm.JSON, headers)
    assert read is not None
    assert read.message() == (McpMessage("tools/call", "a") if is_message else None)


@pytest.mark.parametrize(
    ("name", "is_message"), [(None, True), (b"", True), (b"x", False), (b"=?base64??=", True)]
)
def test_a_message_without_a_name_has_no_other(name: bytes | None, *, is_message: bool) -> None:
    read = read_body(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}', BodyForm.JSON, (b"ping", name))
    assert read is not None
    assert (read.message() is not None) is is_message

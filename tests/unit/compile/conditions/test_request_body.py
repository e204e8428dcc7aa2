"""Reading bodies: what every reader reads alike has a value, everything else is unknown."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.conditions.request_body import MAX_ENTRIES, MAX_MEMBERS, read_body
from extauthz.compile.conditions.values import UNKNOWN
from extauthz.domain.content_type import BodyForm

JSON, FORM = BodyForm.JSON, BodyForm.FORM


def json_value(text: str, path: str) -> object:
    body = read_body(text.encode(), JSON)
    return "unread" if body is None else body.value(path)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ('{"a": "x"}', "a", "x"),
        ('{"a": ""}', "a", ""),
        ('{"a": {"b": {"c": true}}}', "a.b.c", True),
        ('{"a": 9007199254740991}', "a", 2**53 - 1),
        ('{"a": -9007199254740991}', "a", -(2**53) + 1),
        ('{"a": 0.1}', "a", Decimal("0.1")),
        ('{"a": 1e3}', "a", Decimal(1000)),
        ('{"a": ["x", 2, [false]]}', "a", ("x", 2, (False,))),
        ('{"m\\u0065thod": "tools/call"}', "method", "tools/call"),
        ('{"ab": 1, "a": 2}', "a", 2),
        ('{"a": "[draft] of null"}', "a", "[draft] of null"),
        ('{"a": "[draft]"}', "a", "[draft]"),
        ('{"a": "{draft}"}', "a", "{draft}"),
        ('{"a": "[1]["}', "a", "[1]["),
        ('{"a": "true"}', "a", "true"),
        ('{"\u00fcber": 1, "b": 2}', "\u00fcber", 1),
        (' {"a": 1}\r\n', "a", 1),
    ],
)
def test_values(text: str, path: str, value: object) -> None:
    assert json_value(text, path) == value
    body = read_body(text.encode(), JSON)
    assert body is not None
    assert body.exists(path) is True


@pytest.mark.parametrize(
    ("text", "path", "exists"),
    [
        ("{}", "a", False),
        ('{"a": null}', "a", False),
        ('{"a": 1}', "a.b", False),
        ('{"a": null}', "a.b", False),
        ('{"a": true}', "a.b", False),
        ('{"a": {}}', "a", True),
        ('{"a": 9007199254740992}', "a", True),
        ('{"a": 9007199254740992.0}', "a", True),
        ('{"a": 1000.00000000000000000001}', "a", True),
        ('{"a": "x\\u0000y"}', "a", True),
        ('{"a": "x\\ny"}', "a", True),
        ('{"a": [1, null]}', "a", True),
        ('{"a": [1, {}]}', "a", True),
        # Other members that some readers would take.
        ('{"A": 1}', "a", None),
        ('{"a": 1, "A": 2}', "a", None),
        ('{"to_user": 1, "toUser": 2}', "to_user", None),
        ('{"toUser": 1}', "to_user", None),
        ('{"\\u212aey": 1, "key": 2}', "key", None),
        ('{"a.b": 1}', "a.b", None),
        ('{"a": {"b": 1}, "a.b": 2}', "a.b", None),
        ('{"a": {"b": 1}, "A.b": 2}', "a.b", None),
        ('{"a": 1, "a\\u0000": 2}', "a", None),
        ('{"a": 1, "b\\u0000": 2}', "a", None),
        ('{"x": {"a": 1}, "X": {"a": 2}}', "x.a", None),
        ('{"id": 1, "\u0131d": 2}', "id", None),
        ('{"\u0130d": 1}', "id", None),
        ('{"\u00e9": 1, "e\u0301": 2}', "\u00e9", None),
        ('{"a": 1, "\uff41": 2}', "a", None),
        ('{"a": 1, "a\u200b": 2}', "a", None),
        ('{"a": 1, "!a": 2}', "a", None),
        ('{"a": 1, "' + "\u00e9" * 2000 + '": 2}', "a", None),
        # Objects that some readers replace, or fill with other members.
        ('{"__proto__": {"a": 1}}', "a", None),
        ('{"x": {"__proto__": {"a": 1}}}', "x.a", None),
        ('{"x": {"$ref": "#/y"}, "y": {"a": 1}}', "x.a", None),
        # Lists that some readers take for their entry.
        ('{"a": []}', "a.0", None),
        ('{"a": [{"b": 1}]}', "a.b", None),
        # Text that some readers read as JSON again.
        ('{"a": "x"}', "a.b", None),
        (r'{"a": "{\"b\": 1}"}', "a.b", None),
        (r'{"a": "{\"b\": 1}"}', "a", None),
        (r'{"a": " [\"b\"]\n"}', "a", None),
        ('{"a": "{ }"}', "a", None),
        ('{"a": "[]"}', "a", None),
        ('{"a": "[NaN]"}', "a", None),
        ('{"a": "null"}', "a", None),
    ],
)
def test_what_is_not_there_or_read_in_several_ways_is_unknown(
    text: str, path: str, exists: bool | None
) -> None:
    body = read_body(text.encode(), JSON)
    assert body is not None
    assert body.value(path) is UNKNOWN
    assert body.exists(path) is exists


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[1]",
        b'"a"',
        b'{"a": 1} {"a": 2}',
        b'{"a": 1}garbage',
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"b": {"a": 1, "a": 2}}',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_a_body_that_is_not_one_strict_json_object_is_not_read(content: bytes) -> None:
    assert read_body(content, JSON) is None


def test_an_object_with_very_many_members_is_not_compared() -> None:
    most = json.dumps({f"m{number}": number for number in range(MAX_MEMBERS)})
    assert json_value(most, "m7") == 7
    assert json_value(most[:-1] + ', "x": 1}', "m7") is UNKNOWN


@pytest.mark.parametrize(
    ("entries", "is_compared"),
    [
        ([1] * MAX_ENTRIES, True),
        ([1] * (MAX_ENTRIES + 1), False),
        ([[1] * 400, [2] * 400], True),
        ([[1] * 600, [2] * 600], False),
    ],
)
def test_a_list_with_very_many_entries_is_not_compared(entries: list[object], *, is_compared: bool) -> None:
    value = json_value(json.dumps({"a": entries}), "a")
    assert (value is not UNKNOWN) is is_compared


@pytest.mark.parametrize(
    ("content", "name", "value", "exists"),
    [
        (b"a=x", "a", "x", True),
        (b"a=1&b=2", "a", "1", True),
        (b"a=%C3%A9+e", "a", "é e", True),
        (b"a=", "a", "", True),
        (b"x.y=1", "x.y", "1", True),
        (b"b=1", "a", UNKNOWN, False),
        (b"a=1&a=1", "a", UNKNOWN, None),
        (b"a=1&A=2", "a", UNKNOWN, None),
        (b"x.y=1&x_y=2", "x.y", UNKNOWN, None),
        (b"x.y=1&x[y]=2", "x.y", UNKNOWN, None),
        (b"a[]=1", "a", UNKNOWN, None),
        (b"a=x%00y", "a", UNKNOWN, None),
        (b"user[name]=x&user[mail]=y", "user[name]", "x", True),
        (b"ab.c=1&a=2", "a", "2", True),
        (b"a=1&a[b]=2", "a", UNKNOWN, None),
        (b"a=1&A%5B0%5D=2", "a", UNKNOWN, None),
        (b"a[b]=2", "a", UNKNOWN, None),
        (b"a=1&a.b=2", "a", UNKNOWN, None),
        (b"a[b]=1&a=2", "a[b]", UNKNOWN, None),
        (b"a[b]=1&a[b][c]=2", "a[b]", UNKNOWN, None),
        (b"!a=1", "a", UNKNOWN, None),
        (b"b=1&[a]=2", "a", UNKNOWN, None),
        (b"a[b]=1&a[b]c=2", "a[b]", UNKNOWN, None),
        (b"a[b]%3D1", "a[b]", UNKNOWN, None),
        (b"a[b]c[d]=1", "a[b]", UNKNOWN, None),
    ],
)
def test_fields_of_forms(content: bytes, name: str, value: object, exists: bool | None) -> None:
    body = read_body(content, FORM)
    assert body is not None
    assert body.value(name) == value
    assert body.exists(name) is exists


POLYGLOTS = [b'{"a": "x", "b": "&a=y&c="}', b' \n[{"a": "&a=y&c="}]', b'"&a=y"']
"""Forms that a reader which does not ask for the content type reads as JSON."""


@pytest.mark.parametrize(
    "content",
    [b"a=%", b"a=%zz", b"a=1;b=2", b"a=\xff", b"a=%ff", b"a%00=1", b"a" + b"[b]" * 9 + b"=1", *POLYGLOTS],
)
def test_a_form_that_is_not_well_formed_is_not_read(content: bytes) -> None:
    assert read_body(content, FORM) is None


_NAMES = st.text(min_size=1, max_size=4)
_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | _TREES.map(lambda tree: json.dumps(tree).encode()), _NAMES)
def test_nothing_raises_and_what_is_read_is_what_a_lenient_reader_reads(content: bytes, path: str) -> None:
    body = read_body(content, JSON)
    if body is None:
        return
    value = body.value(path)
    if value is not UNKNOWN:
        lenient = json.loads(content)
        for name in path.split("."):
            lenient = lenient[name]
        assert _plain(value) == lenient


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(value, Decimal) else value

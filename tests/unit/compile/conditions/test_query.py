"""Queries: names and values, decoded once."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.conditions.query import MAX_ESCAPES, MAX_FIELDS, read_query
from extauthz.compile.conditions.values import ABSENT, UNKNOWN
from tests.reference_routes import read_query as read_plainly


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("", {"q": ABSENT}),
        ("q=a", {"q": "a", "": ABSENT, "a": ABSENT, "qq": ABSENT}),
        ("q", {"q": ""}),
        ("q=", {"q": ""}),
        ("q=a=b", {"q": "a=b"}),
        ("q=a%3Db%26c", {"q": "a=b&c", "c": ABSENT}),
        ("%71=%61", {"q": "a"}),
        ("a%3Db=c", {"a=b": "c", "a": ABSENT}),
        ("q=a&q=a", {"q": UNKNOWN}),
        ("q&q", {"q": UNKNOWN}),
        ("q&q&q", {"q": UNKNOWN}),
        ("q&q=", {"q": UNKNOWN}),
        ("q=a&%71=b", {"q": UNKNOWN}),
        ("qq=1&q=2&xq=3", {"q": "2"}),
        ("&&q=a&&", {"q": "a"}),
        ("a+b=c+d%2B", {"a b": "c d+"}),
        ("q=%C3%A9", {"q": "é"}),
        ("é=ü", {"é": "ü"}),
        ("q=\\x41\\", {"q": "\\x41\\"}),
        ("q=%00", {"q": UNKNOWN}),
        ("q=a%00&b=c", {"q": UNKNOWN, "b": "c", "x": ABSENT}),
        ("q=a%C2%85", {"q": UNKNOWN}),
        ("q=a%7f", {"q": UNKNOWN}),
        ("q=a\x01", {"q": UNKNOWN}),
        ("q=%C3%82%C2%A0", {"q": "\xc2\xa0"}),
        ("b&q=%00&q", {"q": UNKNOWN, "b": ""}),
        ("q=%3D%3D", {"q": "=="}),
        ("q=%0D%0Aa%3D\r\n", {"q": UNKNOWN}),
        ("b&bb&q&b", {"q": "", "b": UNKNOWN, "bb": ""}),
        ("q=a&q", {"q": UNKNOWN}),
        ("q=a?b/c", {"q": "a?b/c"}),
        ("[q]=a", {"q": UNKNOWN}),
        ("q[x]%3Da", {"q": UNKNOWN, "q[x]": UNKNOWN}),
        ("q[]=a", {"q": UNKNOWN, "q[]": "a"}),
        ("q=a&q%5Bx%5D[y]=b&qq=c", {"q": UNKNOWN, "qq": "c", "q[x][y]": "b", "q[x]": UNKNOWN}),
    ],
)
def test_a_query_name_is_decoded(raw: str, values: Mapping[str, object]) -> None:
    query = read_query(raw)
    assert query is not None
    for name, value in values.items():
        assert query.value(name) == value, name


@pytest.mark.parametrize(
    "raw",
    [
        *("a;b", "q=%", "q=%a", "q=%zz", "q=%%", "%", "q=%41%", "q=%\n41", "q=%\r41\n", "q=%\r%"),
        *("q%00=a", "%00", "a=b&%0A", "q=%00&%C2%85=", "\x7f=a"),
        *("q=%ff", "q=%C3", "%FE", "q=%FF", "q=%C3&b=%A9", "q=\ud800"),
    ],
)
def test_a_query_that_servers_read_differently_is_unreadable(raw: str) -> None:
    assert read_query(raw) is None


@pytest.mark.parametrize(
    ("raw", "is_readable"),
    [
        ("&".join(["a"] * MAX_FIELDS), True),
        ("&".join(["a"] * (MAX_FIELDS + 1)), False),
        ("q=" + "%41" * MAX_ESCAPES, True),
        ("q=" + "%41" * (MAX_ESCAPES + 1), False),
        ("%71=a&" * (MAX_ESCAPES // 2) + "%41" * (MAX_ESCAPES // 2 + 1), False),
    ],
)
def test_a_query_beyond_a_bound_is_unreadable(raw: str, is_readable: bool) -> None:
    assert (read_query(raw) is not None) is is_readable


PIECES = [
    "q",
    "a",
    "b",
    "=",
    "&",
    "%26",
    "%3D",
    "%71",
    "+",
    "%2B",
    "%C3%A9",
    "%fe",
    "%ff",
    "%00",
    "%c2%85",
    "%",
    "%0",
    "\n",
    "\r",
    ";",
    "é",
    "\\",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_names_and_values_are_those_of_a_plain_reader(raw: str) -> None:
    query, parsed = read_query(raw), read_plainly(raw)
    assert (query is None) is (parsed is None)
    if query is not None and parsed is not None:
        names = {"q", "a", "b", "qa", "é", "a b", "=", *parsed} - {""}
        for name in names:
            values = parsed.get(name, [])
            expected = values[0] if len(values) == 1 else UNKNOWN if values else ABSENT
            assert query.value(name) == expected, name


PRINTED = st.characters(exclude_categories=["Cc", "Cs"])


@given(st.dictionaries(st.text(PRINTED, min_size=1), st.text(PRINTED), max_size=5))
def test_every_text_survives_being_escaped(pairs: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        return "".join(f"%{octet:02x}" for octet in text.encode("utf-8"))

    raw = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in pairs.items())
    query = read_query(raw)
    assert query is not None
    assert {name: query.value(name) for name in pairs} == pairs

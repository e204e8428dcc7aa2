"""URIs in their normal form: no reader that normalizes makes another URI of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import Url

from extauthz.domain.normal_uri import MAX_URI, is_normal_uri, with_lower_authority


@pytest.mark.parametrize(
    "text",
    [
        "reports://2026/sales",
        "reports://Q4/Sales?of=7#top",
        "note:Title",
        "file:///notes/%C3%A9%20x.md",
        "https://example.com/",
        "https://example.com:8443/a;b=c?d",
        "x+y://h:80/",
        "note:" + "a" * (MAX_URI - 5),
    ],
)
def test_a_normal_form(text: str) -> None:
    assert is_normal_uri(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sales",
        "/sales",
        "REPORTS://2026/sales",
        "reports://2026/./sales",
        "reports://2026/x/../sales",
        "reports://2026/..",
        "reports://../sales",
        "reports://2026//sales",
        "note:x/../y",
        "reports://2026/%2e/sales",
        "reports://2026/%73ales",
        "reports://2026/sales%c3%a9",
        "reports://2026%2Fsales",
        "reports://2026/a%5Cb",
        "reports://2026/sales%00",
        "reports://2026/sales%0A",
        "reports://2026/sales%",
        "reports://2026/s ales",
        " reports://2026/sales",
        "reports://2026/sales\n",
        "reports://2026/sa\tles",
        "reports://2026/a\\b",
        "reports://2026/é",
        "reports://2026/a|b",
        "reports://u@2026/sales",
        "reports://2026:/sales",
        "reports://2026:080/sales",
        "https://example.com",
        "https://Example.com/",
        "https://example.com:443/",
        "https://127.1/",
        "https://127.0.0.1/",
        "https://0x7f.0x1/",
        "https://example.com./",
        "https:///example.com/",
        "https:/example.com/",
        "https://example.com/?a'b",
        "https:\\\\example.com/",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "file://host/share",
        "https://" + "a" * 2_000 + "!/",
        "note:" + "a" * MAX_URI,
    ],
)
def test_another_form(text: str) -> None:
    assert not is_normal_uri(text)


SCHEMES = st.sampled_from(["reports:", "REPORTS:", "https:", "http:", "file:", "note:", "ws:", ""])
HOSTS = st.sampled_from(["", "//", "//h", "//Host.com", "//127.1", "//0x7f.1", "//localhost", "//u@h", "///"])
PIECES = st.sampled_from(
    [
        *"/.?#:@\\ '|é%",
        "..",
        "/./",
        "/a",
        "/%2e",
        "%41",
        "%C3%A9",
        ":80",
        ":443",
        "/C:",
        "\t",
        "[b]",
        "{",
        '"',
    ]
)
TEXTS = st.builds(
    lambda scheme, host, rest: scheme + host + "".join(rest), SCHEMES, HOSTS, st.lists(PIECES, max_size=5)
)


@given(TEXTS)
def test_a_reader_of_urls_keeps_a_normal_form(text: str) -> None:
    if not is_normal_uri(text):
        return
    try:
        read = str(Url(text))
    except ValueError:
        return
    assert read == text


@pytest.mark.parametrize(
    ("text", "lower"),
    [
        ("reports://Q4/Sales", "reports://q4/Sales"),
        ("reports://q4/Sales?A", "reports://q4/Sales?A"),
        ("note:Title", "note:Title"),
    ],
)
def test_only_the_authority_becomes_lower_case(text: str, lower: str) -> None:
    assert with_lower_authority(text) == lower

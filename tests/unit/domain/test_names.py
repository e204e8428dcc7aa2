import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.domain.names import name_problem


@pytest.mark.parametrize(
    "name",
    [
        "a", "invoice:read", "finance", "*", "user_123", "auth0|5f7c8ec7c33c6c004bbafe82",
        "alice@example.com", "a b", "CN=alice,O=Example", "spiffe://cluster.local/ns/a/sa/b",
        "/demo/invoices/17", "Zoë", "財務", "العربية", "हिन्दी", "💶", "a\xa0b", "x" * 256,
        "財" * 256,
        # A face of Unicode 15 and a letter of Unicode 17: new, and with one spelling in every version.
        "\U0001fae8", "\U00010940",
    ],
)  # fmt: skip
def test_ordinary_names_are_canonical(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("x" * 257, "is longer than 256 characters"),
        ("財" * 257, "is longer than 256 characters"),
        (" a", "begins or ends with white space"),
        ("a ", "begins or ends with white space"),
        (" ", "begins or ends with white space"),
        ("\u00a0a", "begins or ends with white space"),
        ("é\u3000", "begins or ends with white space"),
        ("\u2800a", "begins or ends with white space"),
        ("a\n", "contains the control character U+000A"),
        ("a\tb", "contains the control character U+0009"),
        ("a\0", "contains the control character U+0000"),
        ("a\x7f", "contains the control character U+007F"),
        ("a\x85b", "contains the control character U+0085"),
        ("a\u200bb", "contains the invisible format character U+200B"),
        ("a\u200db", "contains the invisible format character U+200D"),
        ("admin\u202e", "contains the invisible format character U+202E"),
        ("\ufeffa", "contains the invisible format character U+FEFF"),
        ("a\u00adb", "contains the invisible format character U+00AD"),
        ("a\U000e0041", "contains the invisible format character U+E0041"),
        ("a\u2028b", "contains the line separator U+2028"),
        ("a\u2029b", "contains the paragraph separator U+2029"),
        ("a\ud800", "contains the lone surrogate U+D800"),
        ("a\u3164", "contains the invisible character U+3164"),
        ("a\ufe0f", "contains the invisible character U+FE0F"),
        ("a\u034fb", "contains the invisible character U+034F"),
        ("a\U00013440\U0001343fb", "contains the invisible format character U+1343F"),
        ("a\u0897", "is not normalized by every supported version of Unicode because of U+0897"),
        (
            "\U00016d67\U00016d67",
            "is not normalized by every supported version of Unicode because of U+16D67",
        ),
        (
            "\U0001e4ec\u0332",
            "is not normalized by every supported version of Unicode because of U+1E4EC",
        ),
        ("e\u0301", "is not in Unicode normalization form NFC"),
        ("\u212a", "is not in Unicode normalization form NFC"),
    ],
)
def test_names_that_look_like_another_name_are_not_canonical(name: str, problem: str) -> None:
    assert name_problem(name) == problem


def test_a_name_longer_than_the_given_length_is_refused() -> None:
    assert name_problem("abc", max_length=3) is None
    assert name_problem("abcd", max_length=3) == "is longer than 3 characters"


def test_every_invisible_character_of_the_unicode_database_is_refused() -> None:
    hidden = [
        char
        for char in map(chr, range(0x110000))
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]
    assert len(hidden) > 2_000
    assert [char for char in hidden if name_problem(f"a{char}b") is None] == []


def test_every_interpreter_judges_the_same_marks_and_compositions() -> None:
    """The numbers are those of Unicode 14, CPython 3.11 has it; what is younger is refused by its code."""
    characters = [char for char in map(chr, range(0x110000)) if not "\ud800" <= char <= "\udfff"]
    marks = [char for char in characters if unicodedata.combining(char)]
    composed = [char for char in characters if unicodedata.normalize("NFD", char) != char]
    assert len([char for char in marks if not is_young(char)]) == 912
    assert len([char for char in composed if not is_young(char)]) == 13_233


def is_young(char: str) -> bool:
    return "every supported version of Unicode" in str(name_problem(f"a{char}"))


@given(st.text(max_size=20))
def test_a_canonical_name_survives_normalising_trimming_and_encoding(name: str) -> None:
    if name_problem(name) is None:
        assert unicodedata.normalize("NFC", name) == name == name.strip()
        assert name.encode().decode() == name

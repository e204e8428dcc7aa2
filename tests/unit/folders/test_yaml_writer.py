"""What is written as YAML is read as the same documents, by the reader of policy files and by PyYAML."""

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.compile.documents.policy_files import read_document
from extauthz.folders.formatting.text import formatted
from extauthz.folders.yaml_writer import scalar, table
from extauthz.storage.encoding import encode_json

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["", "true", "No", "on", "~", "null", "1", "0x1", "1e3", "-", "- a", "a: b",
        "a:", "#", "a #b", "@", "*", "&a",
         "!t", "%", "|", ">", "'", '"', "\\", "2026-01-01", "=", "<<", "a\nb",
         "\ttab", " lead", "trail ", "x\u2028y", "\ufeff",
         "\u202e", "\x00\x7f\x85", "😀", "{}", "[a]", "a,b", "?", "?a", "012", "1_000", ".5", "1:30"]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-(10**320), 10**320),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
)
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)
ENTRIES = st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), max_size=3)


@settings(max_examples=80)
@given(ENTRIES, st.booleans())
def test_a_table_is_read_as_it_was_written_and_has_the_form_of_fmt(
    entries: list[dict[str, Any]], one_line: bool
) -> None:
    text = table("role_rules", entries, one_line=one_line)
    read = read_document(text.encode(), is_json=False)
    assert isinstance(read, dict), (read, text)
    assert encode_json(read["role_rules"]) == encode_json(entries)
    assert formatted(text.encode(), is_json=False) == text.encode()


@given(TEXTS)
def test_a_text_is_a_text_to_other_readers(text: str) -> None:
    assert yaml.safe_load(scalar(text)) == text


@pytest.mark.parametrize(
    "plain", ["invoice:read", "request.query.a", "/a/b", "GET", "a-b", "finance@example.com"]
)
def test_usual_texts_have_no_quotes(plain: str) -> None:
    assert scalar(plain) == plain


def test_numbers_keep_their_digits() -> None:
    assert [scalar(Decimal(text)) for text in ("0.10", "-0.0", "1E+2")] == ["0.10", "0.0", "100"]

"""The text of policy files: YAML and JSON have one meaning or none, and nothing is coerced."""

from decimal import Decimal

import pytest

from extauthz.compile.documents.policy_files import read_document, read_documents
from extauthz.compile.documents.yaml_text import MAX_DEPTH
from extauthz.domain.problem import Problem


def yaml(text: str) -> object:
    return read_document(text.encode(), is_json=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", 1),
        ("a: -0", 0),
        ("a: 0.1", Decimal("0.1")),
        ("a: 9007199254740993.0", Decimal("9007199254740993.0")),
        ("a: 1e3", Decimal(1000)),
        ("a: true", True),
        ("a: null", None),
        ("a:", None),
        ("a: ~", None),
        ("a: 'true'", "true"),
        # What YAML 1.1 reads as booleans, dates, octal and base-60 numbers is text.
        ("a: yes", "yes"),
        ("a: off", "off"),
        ("a: True", "True"),
        ("a: 2026-01-05", "2026-01-05"),
        ("a: 2026-01-05T10:00:00Z", "2026-01-05T10:00:00Z"),
        ("a: 010", "010"),
        ("a: 0x1F", "0x1F"),
        ("a: 1_000", "1_000"),
        ("a: 12:30:45", "12:30:45"),
        ("a: .inf", ".inf"),
        ("a: .nan", ".nan"),
        ("a: =", "="),
        ("a: '*'", "*"),
    ],
)
def test_a_scalar_has_its_json_type(text: str, value: object) -> None:
    document = yaml(text)
    assert isinstance(document, dict)
    assert document["a"] == value
    assert type(document["a"]) is type(value)


def test_a_merge_key_is_an_ordinary_name() -> None:
    assert yaml("<<: {a: 1}") == {"<<": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "line 2, column 1: the member 'a' occurs twice"),
        ("b: {a: 1, a: 1}", "the member 'a' occurs twice"),
        ("1: a", "a member name is a string"),
        ("true: a", "a member name is a string"),
        ("? [a]\n: b", "a member name is a string"),
        ("a: &x [1]\nb: *x", "line 2: aliases are not part of policies"),
        ("a: [", "line 2"),
        ("a: @", "line 1, column 4"),
        ("a: 1\n---\nb: 2", "holds 2 documents"),
        ("a: \x07", "not YAML"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "is nested deeper than"),
    ],
)
def test_yaml_with_two_meanings_or_none_is_refused(text: str, said: str) -> None:
    found = yaml(text)
    assert isinstance(found, Problem)
    assert said in found.message


@pytest.mark.parametrize(
    "text",
    [
        "a: !!float nan",
        "a: !!float 1e999999999",
        "a: !!int 0x10",
        "a: !!bool yes",
        "a: !!timestamp 2026-01-05",
        "a: !!binary aGk=",
        "a: !!set {b, c}",
        "a: !!omap [b: c]",
        "a: !!python/object/apply:os.system [id]",
        "a: !own x",
        "a: ! 5",
        "!!map [a]",
        "!!map a",
        "!!seq {a: b}",
        "!!str 1: a",
    ],
)
def test_yaml_tags_are_refused(text: str) -> None:
    found = yaml(text)
    assert isinstance(found, Problem)
    assert "tags are not part of policies" in found.message


def test_a_hundred_aliases_do_not_expand() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{after}: &{after} [*{before}, *{before}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert isinstance(yaml(text), Problem)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "infinity"),
        (b'{"a": 1} x', "not JSON"),
        (b"\xff", "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b"[" * 1_000_000, "nested deeper"),
    ],
)
def test_json_with_two_meanings_or_none_is_refused(text: bytes, said: str) -> None:
    found = read_document(text, is_json=True)
    assert isinstance(found, Problem)
    assert said in found.message


def test_numbers_of_json_are_exact() -> None:
    assert read_document(b"[0.1, 9007199254740993]", is_json=True) == [Decimal("0.1"), 9007199254740993]


def test_text_that_is_not_utf8_is_reported_with_its_place() -> None:
    found = read_document(b"a: \xff", is_json=False)
    assert isinstance(found, Problem)
    assert found.message == "is not UTF-8 at byte 3"


def test_an_empty_file_is_refused() -> None:
    assert yaml("") is None
    assert yaml("# nothing yet\n") is None
    assert read_documents(b"a: 1\n---\nb: 2", is_json=False) == [{"a": 1}, {"b": 2}]

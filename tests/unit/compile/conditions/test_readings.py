"""Readings of strings, and names with quoted parts: what is read, what is unknown, how it is printed."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest

from extauthz.compile.conditions.compiled_conditions import compile_condition
from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.conditions.condition_trees import parse_condition
from extauthz.compile.conditions.expression import NameReference, parse, unparse
from extauthz.compile.conditions.readings import READINGS, reading_of
from extauthz.compile.conditions.required_values import Lookup, RequiredValues, required_values
from extauthz.compile.conditions.values import Kind
from extauthz.domain.policy import AttributeName, Condition, Node
from extauthz.domain.reasons import Effect
from tests.condition_documents import asked

DAY = datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-31T08:00:00Z", DAY),
        ("2026-01-31t09:00:00.000000000+01:00", DAY),
        ("2026-01-30T20:00:00-12:00", DAY),
        *dict.fromkeys(
            [
                "", "2026-01-31", "08:00:00Z", "2026-01-31T08:00:00", "2026-01-31 08:00:00Z",
                "20260131T080000Z",
                "2026-01-31T08:00Z", "2026-02-30T08:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T08:00:60Z",
                "2026-01-31T08:00:00+0100", "2026-01-31T08:00:00.Z", " 2026-01-31T08:00:00Z",
                "2026-01-31T08:00:00Z\n", "\uff12026-01-31T08:00:00Z", "1769846400", "now",
                "0001-01-01T00:00:00+23:59",
            ]
        ).items(),
    ],
)  # fmt: skip
def test_a_time_is_read_as_rfc_3339_alone(text: str, value: object) -> None:
    assert READINGS["time"].read(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.0.0.1", ip_address("10.0.0.1")),
        ("2001:DB8::1", ip_address("2001:db8::1")),
        ("::ffff:10.0.0.1", ip_address("10.0.0.1")),
        *dict.fromkeys(
            [
                "", "10.0.0", "10.0.0.01", "0x0a.0.0.1", "167772161", "10.0.0.1/32", "10.0.0.1:80", "[::1]",
                "::1%lo",
                " ::1", "::1\n", "1.2.3.256", "\uff11.2.3.4", "localhost", ":::", "1:" * 5000,
            ]
        ).items(),
    ],
)  # fmt: skip
def test_an_address_is_read_in_its_plain_spelling_alone(text: str, value: object) -> None:
    assert READINGS["ip"].read(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ()),
        ("a", ("a",)),
        (" a  b:c ", ("a", "b:c")),
        ("a,b", ("a,b",)),
        *dict.fromkeys(["a\tb", "a\nb", "a\0b", "a\u00a0b", "a\u2003b", "a\x85b", "\ud800"]).items(),
    ],
)
def test_words_are_split_at_spaces_alone(text: str, value: object) -> None:
    assert READINGS["words"].read(text) == value


@pytest.mark.parametrize("value", [True, 3, None, ["a"], {"a": "b"}, [], "\t"])
def test_what_is_not_such_a_string_is_unknown_in_an_allow_and_in_a_deny(value: object) -> None:
    for reading, literal, operator in (
        ("time", "2026-01-31T08:00:00Z", "gt"),
        ("ip", "10.0.0.1", "neq"),
        ("words", "a", "has"),
    ):
        node = read({"attribute": "user.x", "as": reading, "operator": operator, "value": literal})
        for effect in Effect:
            assert compile_condition(node, effect)(asked({"x": value})) is None


def test_both_places_of_a_reading_are_the_same_condition() -> None:
    one = read({"attribute": "user.x", "as": "time", "operator": "gt", "value": {"attribute": "env.time"}})
    both = {
        "attribute": {"attribute": "user.x", "as": "time"},
        "operator": "gt",
        "value": {"attribute": "env.time"},
    }
    assert one == read(both) == Condition("time(user.x)", "gt", AttributeName("env.time"))
    assert list(attribute_names(one)) == ["user.x", "env.time"]


def test_the_index_of_required_values_takes_no_reading_for_the_string_itself() -> None:
    def required(reading: str, operator: str, value: object) -> tuple[RequiredValues, ...]:
        return required_values(
            read({"attribute": "user.x", "as": reading, "operator": operator, "value": value})
        )

    # Times and addresses have several spellings, so that no value is required.
    assert required("time", "eq", "2026-01-31T08:00:00Z") == ()
    assert required("ip", "in", ["10.0.0.1"]) == ()
    (words,) = required("words", "has", "a")
    assert words.lookup == Lookup("words(user.x)", Kind.TEXT, lists=True)
    (raw,) = required_values(read({"attribute": "user.x", "operator": "has", "value": "a"}))
    assert raw.lookup != words.lookup


@pytest.mark.parametrize("name", ["user.time(x)", "user.x)", "time(user.x", "user.ip(a).b", "words"])
def test_a_plain_name_has_no_reading(name: str) -> None:
    assert reading_of(name) == (None, name)


def test_a_name_with_any_text_in_it_is_read_back_as_it_was_printed() -> None:
    dice = random.Random(1)
    letters = "ab.:/\"'\\ []()=,-1\u00e9\u2260\n"
    for _ in range(3_000):
        name = "user." + "".join(dice.choices(letters, k=dice.randrange(1, 9)))
        printed = unparse(NameReference(name))
        assert parse(printed, quoted_names=True) == NameReference(name), printed
        compared = f"time({printed}) > env.time"
        again = parse(compared, quoted_names=True)
        assert not isinstance(again, NameReference)
        assert parse(unparse(again), quoted_names=True) == again  # type: ignore[arg-type]


def read(comparison: Mapping[str, object]) -> Node:
    problems: list[Any] = []
    found = parse_condition({"type": "CONDITION", **comparison}, "", problems, condition_headers=frozenset())
    assert found is not None, problems
    return found

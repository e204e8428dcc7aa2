"""Claims: where they are found, that they cannot be changed, and which shapes are valid."""

import json
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import pytest

from extauthz.decide.tokens.claims import (
    ClaimRejected,
    admin_domains,
    freeze_claims,
    token_domain,
    token_roles,
)
from extauthz.domain.claims import ABSENT, claim_at
from extauthz.domain.strict_json import MAX_DEPTH, read_object

NESTED = {
    "dom": "top",
    "realm_access": {"roles": ["a"]},
    "https://example.com/roles": ["literal"],
    "https://example.com/org": {"unit.name": "ops", "unit": {"name": "shadowed", "size": 3}},
    "a": {"b": {"c": 1}},
    "a.b": {"d": 2},
    "x.y": "literal",
    "x": {"y": "nested"},
    "nothing": None,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("dom", "top"),
        ("realm_access.roles", ["a"]),
        ("https://example.com/roles", ["literal"]),
        ("https://example.com/org.unit.name", "ops"),
        ("https://example.com/org.unit.size", 3),
        ("x.y", "literal"),
        ("a.b.d", 2),
        ("a.b.c", ABSENT),  # `a.b` is the longer name, and there is no going back
        ("nothing", ABSENT),
        ("nothing.more", ABSENT),
        ("dom.more", ABSENT),
        ("realm_access", {"roles": ["a"]}),
        ("realm_access.", ABSENT),
        (".dom", ABSENT),
        ("", ABSENT),
        ("..", ABSENT),
        ("missing", ABSENT),
    ],
)
def test_claims_are_found_by_path(path: str, found: object) -> None:
    assert claim_at(NESTED, path) == found
    frozen = claim_at(freeze_claims(NESTED), path)
    assert frozen == (freeze_claims({"it": found})["it"] if found is not ABSENT else ABSENT)


def test_frozen_claims_cannot_be_changed_at_any_depth() -> None:
    frozen = freeze_claims({"a": {"b": [{"c": [1]}]}})
    assert isinstance(frozen, MappingProxyType)
    inner = frozen["a"]
    assert isinstance(inner, MappingProxyType)
    items = inner["b"]
    assert isinstance(items, tuple)
    assert isinstance(items[0], MappingProxyType)
    assert items[0]["c"] == (1,)


def test_frozen_claims_share_nothing_with_the_original() -> None:
    original: dict[str, object] = {"a": {"b": 1}}
    frozen = freeze_claims(original)
    original["a"] = 2
    assert claim_at(frozen, "a.b") == 1


def test_the_deepest_claims_that_can_be_read_can_be_frozen() -> None:
    document: object = 1
    for _ in range(MAX_DEPTH - 1):
        document = [document]
    claims = read_object(json.dumps({"a": document}).encode())
    assert isinstance(claims, dict)
    freeze_claims(claims)


def test_numbers_in_claims_are_read_without_rounding() -> None:
    claims = read_object(b'{"third": 0.1, "big": ' + b"9" * 300 + b', "exponent": 1e2}')
    assert isinstance(claims, dict)
    assert claims["third"] == Decimal("0.1")
    assert claims["big"] == int("9" * 300)
    assert isinstance(claims["exponent"], Decimal)


def roles(value: object, excluded: frozenset[str] = frozenset()) -> tuple[str, ...] | ClaimRejected:
    return token_roles({"r": value}, "r", excluded=excluded)


def test_roles_are_sorted_unique_and_without_the_excluded() -> None:
    assert roles(["b", "a", "b", "offline_access"], frozenset({"offline_access"})) == ("a", "b")
    assert roles("solo") == ("solo",)
    assert roles("two words") == ("two words",)
    assert roles([]) == ()
    assert token_roles({}, "r", excluded=frozenset()) == ()


@pytest.mark.parametrize("claims", [{"r": None}, {"a": None}, {"a": {"r": None}}, {"a": {}}, {"a": {"b": 1}}])
@pytest.mark.parametrize("path", ["r", "a.r"])
def test_a_null_on_the_path_of_the_roles_claim_gives_no_roles(
    claims: Mapping[str, object], path: str
) -> None:
    assert token_roles(claims, path, excluded=frozenset()) == ()


@pytest.mark.parametrize(
    "value",
    [
        1,
        True,
        {"a": 1},
        {},
        "",
        [""],
        ["a", 1],
        ["a", None],
        [["a"]],
        ["a\n"],
        ["a\u200b"],
        [" a"],
        ["e\u0301"],
        ["a" * 257],
    ],
)
def test_roles_of_any_other_shape_are_a_problem_never_fewer_roles(value: object) -> None:
    assert isinstance(roles(value), ClaimRejected)


def test_even_an_excluded_role_must_stand_in_a_well_formed_list() -> None:
    assert isinstance(roles(["x", 1], frozenset({"x"})), ClaimRejected)


def test_an_absent_domain_claim_gives_no_domain() -> None:
    assert token_domain({}, "dom") is None
    assert token_domain({"dom": None}, "dom") is None
    assert token_domain({"org": None}, "org.dom") is None
    assert token_domain({"dom": "emea"}, "dom") == "emea"


@pytest.mark.parametrize(
    ("value", "kind"), [("x", "a string"), (["x"], "a list"), (1, "a number"), (True, "a boolean")]
)
def test_roles_and_domains_behind_what_is_not_an_object_are_a_problem(value: object, kind: str) -> None:
    problem = ClaimRejected(f"claim 'a.r' leads through {kind}, not an object")
    assert token_roles({"a": value}, "a.r", excluded=frozenset()) == problem
    assert token_domain({"a": value}, "a.r") == problem
    assert token_roles({"a": value}, "b.r", excluded=frozenset()) == ()


@pytest.mark.parametrize("value", ["", "*", 1, True, [], ["emea"], {}, " emea", "em\x00ea", "e\u0301"])
def test_a_domain_that_is_not_one_canonical_name_is_a_problem(value: object) -> None:
    assert isinstance(token_domain({"dom": value}, "dom"), ClaimRejected)


@pytest.mark.parametrize(
    ("claims", "domains"),
    [
        ({}, set()),
        ({"adm": "*"}, {"*"}),
        ({"adm": ["emea", "apac"]}, {"emea", "apac"}),
        ({"adm": ("emea",)}, {"emea"}),
        ({"adm": []}, set()),
        ({"adm": None}, set()),
        ({"adm": 1}, set()),
        ({"adm": {"*": 1}}, set()),
        ({"adm": ["emea", 1]}, set()),
        ({"adm": ["emea", ""]}, set()),
        ({"adm": ["emea", "emea"]}, {"emea"}),
    ],
)
def test_an_admin_claim_that_is_not_a_list_of_names_administers_nothing(
    claims: Mapping[str, object], domains: set[str]
) -> None:
    assert admin_domains(claims, "adm") == domains

"""Conditions: valid documents, their bounds, and their meaning for values of unexpected types."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from extauthz.domain.reasons import Effect
from tests.condition_documents import asked, condition, truth


@pytest.mark.parametrize(
    ("claim", "operator", "value", "expected"),
    [
        (3, "eq", 3, True),
        (3, "eq", Decimal("3.0"), True),
        (3, "eq", "3", None),
        (True, "eq", 1, None),
        (1, "eq", True, None),
        (False, "eq", 0, None),
        (2**53 + 1, "eq", 2**53, False),
        (10**300, "gt", Decimal("1e299"), True),
        (Decimal("0.1"), "eq", Decimal("0.10"), True),
        (Decimal("1E-300"), "gt", 0, True),
        ("", "eq", "", True),
        ("", "exists", True, True),
        (None, "exists", True, False),
        (None, "eq", "x", None),
        ({"a": 1}, "eq", "x", None),
        ({"a": 1}, "exists", True, True),
        ([], "exists", True, True),
        ([], "has", "x", False),
        ([], "hasAll", ["x"], False),
        ([1, "x"], "has", "x", True),
        ([1, "x"], "has", "y", None),
        ([None], "has", "x", None),
        ([True], "has", 1, None),
        ([1], "has", Decimal("1.0"), True),
        (["a", "b"], "eq", ["a", "b"], True),
        (["a", "b"], "eq", ["b", "a"], False),
        (["a"], "eq", "a", None),
        ("a", "has", "a", None),
        ("a", "in", ["a", "b"], True),
        (1, "in", ["1"], None),
        (1, "notIn", ["1"], None),
        ("abc", "contains", "", True),
        ("ABC", "startsWith", "a", False),
        ("admin\n", "matches", "admin", False),
        ("xadmin", "matches", "admin", False),
        ("admin", "matches", "admin|root", True),
        ("a\ud800", "matches", "a.*", None),
        (7, "matches", "7", None),
        ("10.0.0.1", "cidr", "10.0.0.0/8", None),
        ("2026-01-05T10:00:00Z", "gt", "2026-01-01T00:00:00Z", None),
        ("b", "gt", 1, None),
    ],
)
def test_a_value_of_another_type_never_compares_equal(
    claim: object, operator: str, value: object, expected: object
) -> None:
    facts = asked({"x": claim})
    assert truth(condition("user.x", operator, value), facts) is expected
    if operator != "exists":
        negated = {"type": "NOT", "condition": condition("user.x", operator, value)}
        assert truth(negated, facts) is (None if expected is None else not expected)


@pytest.mark.parametrize(("word", "expected"), [("in", False), ("notIn", True)])
def test_nothing_is_in_an_empty_list_but_an_object_is_of_the_wrong_type(word: str, *, expected: bool) -> None:
    document = condition("user.a", word, {"attribute": "user.none"})
    assert truth(document, asked({"a": "x", "none": []})) is expected
    assert truth(document, asked({"a": {"x": 1}, "none": []})) is None


def test_lists_compare_in_linear_work_or_not_at_all() -> None:
    # One entry that is a list, against a list that is too long to be compared pair by pair.
    long: list[object] = [[]] * 65
    assert truth(condition("user.a", "in", {"attribute": "user.b"}), asked({"a": [], "b": long})) is None
    assert truth(condition("user.a", "in", {"attribute": "user.b"}), asked({"a": [], "b": long[:64]})) is True


def test_claims_do_not_replace_the_fixed_user_attributes() -> None:
    claims = {"id": "root", "kind": "service", "roles": ["admin"], "domain": "d1", "tenant": "other"}
    facts = asked(claims)
    assert truth(condition("user.id", "eq", "alice"), facts) is True
    assert truth(condition("user.kind", "eq", "user"), facts) is True
    assert truth(condition("user.roles", "has", "admin"), facts) is False
    assert truth(condition("user.tenant", "eq", "default"), facts) is True
    assert truth(condition("user.domain", "eq", "d1"), facts) is None


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"a": {"b": 1}}, True),
        ({"a.b": 1}, True),
        ({"a.b": 1, "a": {"b": 2}}, True),
        ({"a.b": None, "a": {"b": 1}}, None),
        ({"a": [{"b": 1}]}, None),
        ({"a": "b"}, None),
        ({}, None),
    ],
)
def test_a_claim_path_means_one_place(claims: Mapping[str, Any], expected: object) -> None:
    assert truth(condition("user.a.b", "eq", 1), asked(claims)) is expected


def test_parameters_do_not_replace_what_the_resource_is() -> None:
    facts = asked(parameters={"name": "x", "service": "x", "parameters": "p", "owner": ""})
    assert truth(condition("resource.name", "eq", "invoice"), facts) is True
    assert truth(condition("resource.service", "eq", "billing"), facts) is True
    assert truth(condition("resource.parameters.name", "eq", "x"), facts) is True
    assert truth(condition("resource.parameters.parameters", "eq", "p"), facts) is True
    assert truth(condition("resource.owner", "eq", ""), facts) is True


@pytest.mark.parametrize(("effect", "expected"), [(Effect.ALLOW, None), (Effect.DENY, False)])
def test_an_absent_parameter_is_definite_in_a_deny_only(effect: Effect, expected: object) -> None:
    for name in ("resource.owner", "resource.parameters.owner"):
        assert truth(condition(name, "eq", "x"), asked(), effect) is expected
        assert truth(condition("action", "eq", {"attribute": name}), asked(), effect) is expected
        assert truth(condition(name, "exists", True), asked(), effect) is False


@pytest.mark.parametrize(
    ("address", "network", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "::ffff:10.0.0.0/104", True),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3", True),
        ("11.0.0.0", "10.0.0.0/8", False),
        ("10.255.255.255", "10.0.0.0/8", True),
        ("10.1.2.3", "::/0", False),
        ("10.1.2.3", ["192.0.2.0/24", "10.1.2.3"], True),
        ("10.1.2.3", ["10.1.2.0/25", "10.1.2.128/25", "10.0.0.0/9"], True),
        ("2001:db8::1", "2001:db8::/32", True),
        ("fe80::1%eth0", "fe80::/10", None),
        ("/run/app.sock", "0.0.0.0/0", None),
        (None, "0.0.0.0/0", None),
    ],
)
def test_addresses_are_compared_with_networks(address: str | None, network: object, expected: object) -> None:
    assert truth(condition("request.source.address", "cidr", network), asked(address=address)) is expected


def test_a_peer_without_an_ip_address_exists() -> None:
    there = condition("request.source.address", "exists", True)
    assert truth(there, asked(address="/run/app.sock")) is True
    assert truth(there, asked(address=None)) is False
    assert truth(there, asked(request=False)) is False


def test_addresses_compare_as_addresses_and_times_as_instants() -> None:
    facts = asked(address="2001:DB8:0::1")
    assert truth(condition("request.source.address", "eq", "2001:db8::1"), facts) is True
    assert truth(condition("request.source.address", "in", ["10.0.0.1", "2001:db8::0:1"]), facts) is True
    assert truth(condition("env.time", "eq", "2026-01-05T11:00:00+01:00"), facts) is True
    assert truth(condition("env.time", "lt", "2026-01-05T10:00:00.000001Z"), facts) is True
    assert truth(condition("env.weekday", "eq", 1), facts) is True
    assert truth(condition("env.hour", "in", [9, 10]), facts) is True


def test_without_a_request_its_attributes_are_unknown() -> None:
    facts = asked(request=False)
    for name in ("request.method", "request.host", "request.path", "request.source.principal"):
        assert truth(condition(name, "eq", "x"), facts) is None
        assert truth(condition(name, "exists", False), facts) is True
    assert truth(condition("request.query.q", "eq", "x"), facts) is False
    assert truth(condition("request.headers.x-risk", "neq", "x"), facts) is True

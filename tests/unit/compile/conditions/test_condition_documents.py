"""Condition documents: what is read into typed nodes, what is refused at its node, and the bounds."""

from typing import TYPE_CHECKING, Any

import pytest

from extauthz.compile.conditions.condition_trees import parse_condition
from extauthz.domain.policy import All, Always, Condition, Not
from tests.condition_documents import ALWAYS, HEADERS, asked, condition, pointers, problems_of, truth

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem


def test_a_tree_becomes_typed_nodes() -> None:
    problems: list[Problem] = []
    document = {
        "type": "AND",
        "conditions": [{"type": "NOT", "condition": ALWAYS}, condition("user.id", "in", ["a", "b"])],
    }
    assert parse_condition(document, "", problems, condition_headers=HEADERS) == All(
        (Not(Always()), Condition("user.id", "in", ("a", "b")))
    )


def test_every_problem_of_a_tree_is_reported_at_its_node() -> None:
    document = {
        "type": "OR",
        "conditions": [
            {"type": "and", "conditions": [ALWAYS]},
            {"type": "NOT", "condition": {"type": "NOT"}},
            condition("username", "equals", 1),
            {"type": "CONDITION"},
            {"type": "ALWAYS", "when": "never"},
            {"type": "AND", "conditions": []},
            {"type": "AND", "conditions": {"type": "ALWAYS"}},
            "ALWAYS",
            {},
        ],
    }
    assert sorted(pointers(document)) == [
        "/conditions/0/type",
        "/conditions/1/condition/condition",
        "/conditions/2/attribute",
        "/conditions/2/operator",
        "/conditions/3/attribute",
        "/conditions/3/operator",
        "/conditions/4/when",
        "/conditions/5/conditions",
        "/conditions/6/conditions",
        "/conditions/7",
        "/conditions/8/type",
    ]


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = ALWAYS
    for _ in range(levels - 1):
        document = {"type": "NOT", "condition": document}
    return document


def test_depth_is_bounded_without_exhausting_the_stack() -> None:
    assert truth(nested(32), asked()) is False
    assert "deeper than 32" in problems_of(nested(33))[0].message
    assert "deeper than 32" in problems_of(nested(5_000))[0].message


def test_a_tree_of_more_than_1000_nodes_is_refused() -> None:
    assert truth({"type": "AND", "conditions": [ALWAYS] * 999}, asked()) is True
    assert "more than 1000 nodes" in problems_of({"type": "AND", "conditions": [ALWAYS] * 1000})[0].message


def test_a_condition_larger_than_the_bound_is_refused() -> None:
    assert problems_of(condition("user.id", "in", ["x" * 100] * 2_500)) == []
    too_many = condition("user.id", "in", ["x" * 100] * 2_700)
    too_long = condition("user.id", "eq", "é" * 140_000)
    too_named = {"type": "ALWAYS", "x" * 300_000: 1}
    for document in (too_many, too_long, too_named):
        assert [problem.message for problem in problems_of(document)] == ["is larger than 262144 bytes"]


@pytest.mark.parametrize(
    "name",
    [
        "user.id",
        "user.a.b.c",
        "user.https://example.com/claim",
        "resource.owner",
        "resource.parameters.name",
        "resource.parameters.parameters",
        "action",
        "request.query.q",
        "request.query.a b",
        "user.größe",
        "request.headers.x-risk",
        "env.time",
    ],
)
def test_canonical_names_of_attributes_are_read(name: str) -> None:
    assert problems_of(condition(name, "exists", True)) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "user",
        "user.",
        "user..id",
        "user.id.",
        "User.id",
        "resource",
        "resource.",
        "resource.parameters",
        "resource.parameters.",
        "actions",
        "action.x",
        "request",
        "request.body",
        "request.query",
        "request.query.",
        "request.headers.",
        "request.headers.X-Risk",
        "request.headers.x-other",
        "request.headers.authorization",
        "request.headers.cookie",
        "request.source",
        "env.now",
        "user.depart\u200bment",
        "user.gro\u0308sse",
        "user.a\n",
        "resource.owner\u202e",
        "request.query.q\u3164",
        "user." + "a" * 300,
        "user." + ".".join("a" * 20),
        7,
        None,
        ["user.id"],
    ],
)
def test_unknown_attributes_are_refused(name: object) -> None:
    assert pointers({**condition("", "exists", True), "attribute": name}) == ["/attribute"]
    right = {**condition("user.id", "eq", {"attribute": name})}
    assert pointers(right) == ["/value/attribute"]


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("eq", None),
        ("eq", []),
        ("eq", [None]),
        ("eq", [["a"]]),
        ("eq", {}),
        ("eq", {"attribute": "user.id", "default": 1}),
        ("eq", 1.5),
        ("eq", "\ud800"),
        ("in", "a"),
        ("in", []),
        ("in", [1, "1"]),
        ("in", [1, True]),
        ("notIn", {"a": 1}),
        ("hasAny", "a"),
        ("hasAll", []),
        ("has", ["a"]),
        ("gt", "noon"),
        ("gt", True),
        ("gt", ["1"]),
        ("contains", 1),
        ("startsWith", ["a"]),
        ("matches", "("),
        ("matches", r"(a)\1"),
        ("matches", "(?=a)"),
        ("matches", "a" * 513),
        ("matches", "((a{1,100}){1,100}){1,100}"),
        ("matches", {"attribute": "user.pattern"}),
        ("cidr", "10.0.0.1/8"),
        ("cidr", "10.0.0.0/255.0.0.0"),
        ("cidr", "10.0.0.0/0.255.255.255"),
        ("cidr", "fe80::%eth0/64"),
        ("cidr", ["10.0.0.0/8", "x"]),
        ("cidr", 10),
        ("cidr", {"attribute": "user.net"}),
        ("exists", "true"),
        ("exists", 1),
        ("exists", {"attribute": "user.flag"}),
    ],
)
def test_literals_that_do_not_fit_their_operator_are_refused(operator: str, value: object) -> None:
    found = pointers(condition("user.x", operator, value))
    assert found
    assert all(pointer.startswith("/value") for pointer in found)


@pytest.mark.parametrize("operator", ["EQ", "==", "equals", "", None, 1, ["eq"], {"eq": 1}])
def test_an_operator_in_another_spelling_is_refused(operator: object) -> None:
    document = {**condition("user.x", "eq", 1), "operator": operator}
    assert pointers(document) == ["/operator"]

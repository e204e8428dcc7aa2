"""Warnings: writes that are stored, with a warning in the answer."""

from typing import TYPE_CHECKING

import pytest

from extauthz.compile.documents.policy_documents import Reading, parse_attribute_policy
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.documents.warnings import WarningCode, policy_warnings, resource_warnings

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

Document = dict[str, object]


def condition(attribute: str, operator: str = "eq", value: object = "x") -> Document:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def exists(attribute: str, *, present: bool = True) -> Document:
    return condition(attribute, "exists", present)


def both(*conditions: Document) -> Document:
    return {"type": "AND", "conditions": list(conditions)}


def either(*conditions: Document) -> Document:
    return {"type": "OR", "conditions": list(conditions)}


def negated(inner: Document) -> Document:
    return {"type": "NOT", "condition": inner}


def warned(rule_data: Document, **members: object) -> list[tuple[WarningCode, str]]:
    problems: list[Problem] = []
    document = {"id": "p", "name": "p", "resource": "r", "effect": "deny", "rule_data": rule_data} | members
    policy = parse_attribute_policy(document, "", problems, Reading())
    assert policy is not None, problems
    return [(warning.code, warning.pointer) for warning in policy_warnings(policy)]


@pytest.mark.parametrize(
    ("rule_data", "pointers"),
    [
        (condition("user.department"), ["/rule_data/attribute"]),
        (negated(condition("user.department")), ["/rule_data/condition/attribute"]),
        (
            condition("user.department", "eq", {"attribute": "user.team"}),
            ["/rule_data/attribute", "/rule_data/value/attribute"],
        ),
        (
            both(exists("user.department"), condition("user.team")),
            ["/rule_data/conditions/1/attribute"],
        ),
        (
            either(exists("user.department"), condition("user.department")),
            ["/rule_data/conditions/1/attribute"],
        ),
        (
            both(exists("user.department", present=False), condition("user.department")),
            ["/rule_data/conditions/1/attribute"],
        ),
        (condition("resource.service"), ["/rule_data/attribute"]),
    ],
)
def test_a_deny_that_absence_makes_unknown_is_pointed_at(rule_data: Document, pointers: list[str]) -> None:
    assert warned(rule_data) == [(WarningCode.DENY_CAN_BE_UNKNOWN, pointer) for pointer in pointers]


@pytest.mark.parametrize(
    "rule_data",
    [
        {"type": "ALWAYS"},
        both(exists("user.department"), condition("user.department")),
        both(both(exists("user.department")), negated(condition("user.department"))),
        either(exists("user.department", present=False), condition("user.department")),
        either(negated(exists("user.department")), condition("user.department")),
        both(negated(exists("user.department", present=False)), condition("user.department")),
        both(exists("user.a"), either(condition("user.a"), negated(condition("user.a")))),
        condition("resource.owner"),
        condition("user.roles", "has"),
        condition("request.query.debug"),
        condition("env.hour", "gt", 18),
    ],
)
def test_a_deny_that_handles_absence_has_no_warning(rule_data: Document) -> None:
    assert warned(rule_data) == []


def test_an_allow_above_the_role_rules_is_pointed_at() -> None:
    tree = condition("user.department")
    assert warned(tree, effect="allow", priority=1) == [(WarningCode.ALLOW_OUTBIDS_ROLE_DENIES, "/priority")]
    assert warned(tree, effect="allow") == []
    assert warned(tree, effect="allow", priority=-1) == []


def test_parameters_that_have_only_the_long_form_are_pointed_at() -> None:
    problems: list[Problem] = []
    routes = [
        {"methods": ["GET"], "path": path} for path in ("/{id}", "/a/{name}/{service}", "/b/{parameters}")
    ]
    resource = parse_resource({"name": "r", "serviceName": "s", "routes": routes}, "", problems)
    assert resource is not None, problems
    assert [warning.pointer for warning in resource_warnings(resource)] == [
        "/routes/1/path",
        "/routes/1/path",
        "/routes/2/path",
    ]

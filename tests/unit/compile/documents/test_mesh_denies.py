"""Denies that would hold for the mesh, because no request of it has action properties or a context."""

from typing import Any

import pytest

from extauthz.compile.documents.mesh_denies import asked_in_vain
from extauthz.compile.documents.policy_documents import Reading, parse_attribute_policy
from extauthz.compile.documents.warnings import WarningCode, policy_warnings


def compared(attribute: str, operator: str = "eq", value: object = "x") -> dict[str, Any]:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def both(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "AND", "conditions": list(conditions)}


def either(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "OR", "conditions": list(conditions)}


def negated(condition: dict[str, Any]) -> dict[str, Any]:
    return {"type": "NOT", "condition": condition}


RISK = compared("context.risk")
SOFT = compared("action.properties.soft", value=True)
HAS_RISK = compared("context.risk", "exists", value=True)
NO_RISK = compared("context.risk", "exists", value=False)
SALES = compared("user.department")
ALWAYS = {"type": "ALWAYS"}


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (RISK, ["context.risk"]),
        (SOFT, ["action.properties.soft"]),
        (negated(RISK), ["context.risk"]),
        (compared("context.risk", "neq"), ["context.risk"]),
        (both(SALES, RISK, SOFT), ["action.properties.soft", "context.risk"]),
        (either(SALES, RISK), ["context.risk"]),
        (both(HAS_RISK, SALES, RISK), []),
        (both(HAS_RISK, RISK), []),
        (either(NO_RISK, RISK), ["context.risk"]),
        (NO_RISK, ["context.risk"]),
        (HAS_RISK, []),
        (negated(HAS_RISK), ["context.risk"]),
        (negated(NO_RISK), []),
        (negated(either(NO_RISK, negated(RISK))), []),
        (both(SALES, NO_RISK), ["context.risk"]),
        (either(SALES, both(HAS_RISK, RISK)), []),
        (either(ALWAYS, RISK), []),
        (SALES, []),
        (ALWAYS, []),
        (compared("user.id", value={"attribute": "context.owner"}), ["context.owner"]),
        ({**compared("context.until", "gt", "2026-01-01T00:00:00Z"), "as": "time"}, ["context.until"]),
    ],
)
def test_names_what_no_request_of_the_mesh_has(condition: dict[str, Any], names: list[str]) -> None:
    policy = parse_attribute_policy(
        {"id": "p", "name": "p", "resource": "r", "effect": "deny", "rule_data": condition},
        "",
        [],
        Reading(condition_headers=frozenset()),
    )
    assert policy is not None
    assert asked_in_vain(policy.condition) == names
    found = [each for each in policy_warnings(policy) if each.code is WarningCode.DENY_HOLDS_IN_MESH]
    assert [each.pointer for each in found] == (["/rule_data"] if names else [])
    assert all(repr(name) in found[0].message for name in names)


def test_an_allow_is_not_warned_about() -> None:
    policy = parse_attribute_policy(
        {"id": "p", "name": "p", "resource": "r", "effect": "allow", "rule_data": RISK},
        "",
        [],
        Reading(condition_headers=frozenset()),
    )
    assert policy is not None
    assert policy_warnings(policy) == []

"""The decision cases and the plain implementation of the policy language agree."""

import random
from typing import Any

import pytest
from hypothesis import given

from tests.case_files import CaseFileSection, sections
from tests.property.generators import policy_sets_with_requests, random_policy_set, random_request
from tests.reference import reference_decide

CASES = [
    pytest.param(section, case, id=f"{section.file}: {case['name']}")
    for section in sections()
    for case in section.content.get("cases", [])
]


@pytest.mark.parametrize(("section", "case"), CASES)
def test_the_reference_decides_as_the_case_expects(section: CaseFileSection, case: dict[str, Any]) -> None:
    expected = case["expect"]
    decided = reference_decide(section.content, case)
    assert {name: decided[name] for name in expected} == expected
    assert {"decision", "reason", "rule"} <= expected.keys()


def test_every_section_has_a_description_and_an_expectation() -> None:
    for file, content in sections():
        assert content["description"], file
        assert bool(content.get("cases")) != bool(content.get("refused")), file
        assert content.keys() <= {
            "description",
            "settings",
            "tenants",
            "policies",
            "cases",
            "refused",
        }, file


def test_case_names_are_unique_within_a_file() -> None:
    names = [
        (section.file, case["name"]) for section in sections() for case in section.content.get("cases", [])
    ]
    assert len(names) == len(set(names))
    assert len(names) >= 110


@given(policy_sets_with_requests())
def test_the_reference_answers_every_drawn_request(
    drawn: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    policy_set, requests = drawn
    for request in requests:
        answer = reference_decide(policy_set, request)
        assert (answer["decision"] == "allow") <= (answer["reason"] == "rule_matched")
        assert (answer["rule"] is None) == (answer["reason"] not in {"rule_matched", "condition_unknown"})


def test_a_seed_always_draws_the_same() -> None:
    def drawn() -> tuple[dict[str, Any], dict[str, Any]]:
        rng = random.Random(7)
        policy_set = random_policy_set(rng)
        return policy_set, random_request(rng, policy_set)

    assert drawn() == drawn()

"""The published schemas accept the files of this project, and refuse what a schema can tell.

tests/property/test_schemas.py compares them with the readers.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from extauthz.cases import case_members
from extauthz.compile.documents.policy_documents import SERVER_MEMBERS, Reading, parse_policy_set
from extauthz.compile.documents.policy_files import read_documents
from tests.docs.samples import ROOT, Sample, samples
from tools.generate_schemas import schemas

POLICIES, CASES = (
    Draft202012Validator(json.loads(schemas()[name])) for name in ("policies.json", "cases.json")
)
READING = Reading(condition_headers=frozenset({"x-team"}), claim_headers=frozenset({"x-mail"}))
HEADER = "# yaml-language-server: $schema="


def documents(path: Path) -> list[Any]:
    found = read_documents(path.read_bytes(), is_json=False, aliases=True)
    assert isinstance(found, list)
    return found


def of(folder: str) -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted((ROOT / folder).glob("*.yaml"))]


@pytest.mark.parametrize("validator", [POLICIES, CASES])
def test_a_schema_is_one(validator: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("path", of("policies/demo"))
def test_the_policies_of_the_repository_are_accepted_and_name_their_schema(path: Path) -> None:
    (document,) = documents(path)
    assert [error.message for error in POLICIES.iter_errors(document)] == []
    assert named_schema(path) == ROOT / "docs/schema/policies.json"


@pytest.mark.parametrize("path", of("tests/cases"))
def test_the_cases_of_the_repository_are_accepted_and_name_their_schema(path: Path) -> None:
    for section in documents(path):
        assert [error.message for error in CASES.iter_errors(section)] == []
    assert named_schema(path) == ROOT / "docs/schema/cases.json"


def named_schema(path: Path) -> Path:
    """Return what the YAML language server reads of the first line."""
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith(HEADER)
    return (path.parent / first.removeprefix(HEADER)).resolve()


TITLED = [each for each in samples() if each.language == "yaml" and each.title]


@pytest.mark.parametrize("sample", [pytest.param(each, id=str(each)) for each in TITLED])
def test_the_files_of_the_documentation_are_accepted_and_name_their_schema(sample: Sample) -> None:
    named = {f"{HEADER}.schema/policies.json": POLICIES, f"{HEADER}.schema/cases.json": CASES}
    found = read_documents(sample.text.encode(), is_json=False, aliases=True)
    assert isinstance(found, list)
    for document in found:
        assert [error.message for error in named[sample.text.splitlines()[0]].iter_errors(document)] == []


RULE = {"id": "a", "sub": "a", "dom": "*", "obj": "r", "act": "x", "effect": "allow"}
ALWAYS = {"type": "ALWAYS"}
POLICY = {"id": "p", "name": "p", "resource": "r", "effect": "allow", "rule_data": ALWAYS}
ROUTE = {"methods": ["GET"], "path": "/r"}
CONDITION = {"type": "CONDITION", "attribute": "user.id", "operator": "eq", "value": "a"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"rules": []},
        {"role_rules": {}},
        {"role_rules": [RULE | {"effect": "permit"}]},
        {"role_rules": [RULE | {"sub": ""}]},
        {"role_rules": [RULE | {"sub": "a" * 257}]},
        {"role_rules": [{"id": "a"}]},
        {"role_rules": [RULE | {"extra": 1}]},
        {"role_bindings": [{"id": "b", "user": "u", "user_kind": "group", "role": "a", "dom": "*"}]},
        {"attribute_policies": [POLICY | {"priority": 1001}]},
        {"attribute_policies": [POLICY | {"deleted_at": "2026-01-01T00:00:00Z"}]},
        {"attribute_policies": [POLICY | {"format": "casbin"}]},
        {"attribute_policies": [POLICY | {"rule_data": {"type": "AND", "conditions": []}}]},
        {"attribute_policies": [POLICY | {"rule_data": {"type": "XOR"}}]},
        {"attribute_policies": [POLICY | {"rule_data": CONDITION | {"operator": "is"}}]},
        {"attribute_policies": [POLICY | {"rule_data": {"type": "NOT", "condition": ALWAYS, "x": 1}}]},
        {"resources": [{"name": "r", "serviceName": "s", "routes": [ROUTE | {"methods": ["HEAD"]}]}]},
        {"resources": [{"name": "r", "serviceName": "s", "routes": [ROUTE | {"methods": ["*", "GET"]}]}]},
        {"resources": [{"name": "r", "serviceName": "s", "routes": [ROUTE | {"path": "r"}]}]},
        {"resources": [{"name": "r", "serviceName": "s", "public": "yes"}]},
    ],
)
def test_a_schema_refuses_what_the_reader_refuses(document: object) -> None:
    assert not POLICIES.is_valid(document)
    assert isinstance(parse_policy_set(document, READING), list)


@pytest.mark.parametrize(
    ("definition", "document", "server"),
    [
        ("policies", {"?": 1}, ()),
        ("resource", {"resources": [{"?": 1}]}, SERVER_MEMBERS["resources"]),
        ("route", {"resources": [{"routes": [{"?": 1}]}]}, ()),
        ("role_rule", {"role_rules": [{"?": 1}]}, SERVER_MEMBERS["role_rules"]),
        ("role_binding", {"role_bindings": [{"?": 1}]}, SERVER_MEMBERS["role_bindings"]),
        (
            "attribute_policy",
            {"attribute_policies": [{"?": 1, "rule_data": {}}]},
            SERVER_MEMBERS["attribute_policies"],
        ),
    ],
)
def test_a_schema_has_the_members_that_the_reader_knows(
    definition: str, document: object, server: Iterable[str]
) -> None:
    problems = parse_policy_set(document, READING)
    assert isinstance(problems, list)
    (said,) = [each.message for each in problems if each.pointer.endswith("/?")]
    known = said.partition("known are ")[2].split(", ")
    assert sorted({*known, *server}) == sorted(POLICIES.schema["$defs"][definition]["properties"])


def test_the_schema_of_cases_has_the_members_that_cases_can_have() -> None:
    definitions = CASES.schema["$defs"]
    case, section = definitions["case"]["properties"], definitions["section"]["properties"]
    assert set(case) == {*case_members.CASE_MEMBERS, *case_members.SHOWN_ONLY}
    assert set(case["request"]["properties"]) == set(case_members.REQUEST_MEMBERS)
    assert set(case["expect"]["properties"]) == set(case_members.EXPECT_MEMBERS)
    assert set(section) == set(case_members.SECTION_MEMBERS)
    assert set(section["settings"]["properties"]) == set(case_members.SETTINGS_MEMBERS)

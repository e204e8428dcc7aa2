"""The files of `sdk/conformance/`: their schema, their names, and a runner that does see differences."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.conformance.cases import FOLDER, Variables, cases, files, load, octets
from tests.conformance.comparison import (
    Failure,
    Request,
    differences,
    failure_differences,
    request_differences,
)

SCHEMA = json.loads((FOLDER / "case.schema.json").read_text("utf-8"))


def test_every_file_has_the_form_that_the_schema_describes() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    validator = Draft202012Validator(SCHEMA)
    readme = load((FOLDER / "README.md").read_text("utf-8").partition("```yaml\n")[2].partition("```")[0])
    found = files() | {"README": readme}
    problems = [
        f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message:.200}"
        for name, content in found.items()
        for error in validator.iter_errors(_plain(content))
    ]
    assert problems == []


@pytest.mark.parametrize(
    "case",
    [
        {"name": "a"},
        {"name": "a", "call": "construct"},
        {"name": "a", "call": "unknown", "result": None},
        {"name": "a", "call": "construct", "result": None, "error": {"kind": "api"}},
        {"name": "a", "call": "construct", "result": None, "steps": [{"call": "construct", "result": None}]},
        {"name": "a", "call": "construct", "result": None, "wait": []},
        {"name": "a", "call": "construct", "error": {"kind": "other"}},
        {"name": "a", "call": "construct", "result": None, "real": {"as": "key"}},
    ],
)
def test_the_schema_refuses_what_a_runner_would_not_understand(case: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid({"description": "x", "cases": [case]})


def test_each_case_has_its_own_name() -> None:
    assert [name for name, times in Counter(case.id for case in cases()).items() if times > 1] == []


def test_each_operation_is_called_and_each_kind_of_error_is_expected() -> None:
    steps = [step for case in cases() for step in case.steps]
    properties = SCHEMA["$defs"]
    assert {step["call"] for step in steps} == set(properties["step"]["properties"]["call"]["enum"])
    kinds = {step["error"]["kind"] for step in steps if "error" in step}
    assert kinds == set(properties["error"]["properties"]["kind"]["enum"])
    answers = [exchange["answer"] for step in steps for exchange in step.get("exchanges", [])]
    connections = {answer["connection"] for answer in answers if "connection" in answer}
    assert connections == set(properties["answer"]["properties"]["connection"]["enum"])


def test_each_real_case_runs_alone_in_names_of_its_own() -> None:
    """The real API is shared, so that a case must not see or change what others wrote."""
    for case in cases():
        writes = [
            step for step in case.steps if not step["call"].startswith(("construct", "delete", "restore"))
        ]
        if "real" in case.document and any(any(step.get("with", {}).values()) for step in writes):
            assert "$RUN" in json.dumps(_plain(case.document)), case.id


def _plain(document: Any) -> Any:
    """Return a document with numbers that a JSON Schema knows."""
    return json.loads(json.dumps(document, default=float))


def test_files_are_read_as_yaml_1_2() -> None:
    assert load("[no, on, 0x10, 1_000, 010, 2026-01-05, ~, '', 1e400, 0.1]") == [
        "no", "on", "0x10", "1_000", 10, "2026-01-05", None, "", load("1e400"), load("0.1"),
    ]  # fmt: skip
    assert f"{load('0.10')} {load('1e400')}" == "0.10 1E+400"
    with pytest.raises(ValueError, match="twice"):
        load("{a: 1, a: 2}")
    with pytest.raises(yaml.YAMLError):
        load("{a: !!python/name:os.system }")


def test_variables_are_replaced_and_bound() -> None:
    variables = Variables({"id": 7, "word": "w"}, {"FILE": lambda name: f"/{name}"})
    assert variables.fill({"a": "$id", "b": ["x-$word-$id", "$$id", "$other", "$FILE(k)"]}) == {
        "a": 7, "b": ["x-w-7", "$id", "$other", "/k"],
    }  # fmt: skip
    variables.bind([{"id": "$other", "x": "$id"}], [{"id": "new", "x": 9}])
    assert variables.values == {"id": 7, "word": "w", "other": "new"}
    assert octets(r"a\xff") == b"a\xff"


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, True), (True, 1), (1, 2), ("1", 1), ([1], [1, 2]), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}), (0.1, 0.10000000000000002), (False, None), ([], None), ({}, None),
    ],
)  # fmt: skip
def test_a_result_that_differs_is_seen(expected: object, found: object) -> None:
    assert list(differences(expected, found)) != []


def test_a_result_is_compared_by_value() -> None:
    assert list(differences({"a": None, "b": load("0.10")}, {"b": 0.1, "c": None})) == []
    assert list(differences(load("9007199254740993"), 9007199254740993)) == []


@pytest.mark.parametrize(
    "found",
    [
        Request("GET", "/a/b%2Fc?x=1&y=2", [("content-type", "application/json")], b'{"n": 1.5}'),
        Request("POST", "/a/b/c?x=1&y=2", [("content-type", "application/json")], b'{"n": 1.5}'),
        Request("POST", "/a/b%2Fc?x=1", [("content-type", "application/json")], b'{"n": 1.5}'),
        Request("POST", "/a/b%2Fc?x=1&y=2&y=2", [("content-type", "application/json")], b'{"n": 1.5}'),
        Request("POST", "/a/b%2Fc?x=1&y=2", [("content-type", "text/json")], b'{"n": 1.5}'),
        Request("POST", "/a/b%2Fc?x=1&y=2", [("content-type", "application/json")], b'{"n": 1.50}'),
        Request("POST", "/a/b%2Fc?x=1&y=2", [("content-type", "application/json")], b""),
        Request(
            "POST", "/a/b%2Fc?x=1&y=2", [("content-type", "application/json"), ("x-a", "b")], b'{"n": 1.5}'
        ),
    ],
)
def test_a_request_that_differs_is_seen(found: Request) -> None:
    exchange = {
        "request": "POST /a/b%2Fc?y=2&x=1", "headers": {"x-a": None}, "json": {"n": 1.5}, "digits": ["1.5}"],
    }  # fmt: skip
    right = Request("POST", "/a/b%2fc?x=1&y=2", [("content-type", "application/json")], b'{"n": 1.5}')
    assert list(request_differences(exchange, right)) == []
    assert list(request_differences(exchange, found)) != []


@pytest.mark.parametrize(
    "form", [b"a=1&b=2", b"a=1&b=2&b=2&b=3", b"a=1", b"a=1&b=3&b=2&c=", b"a=%31&b=2&b=%203"]
)
def test_a_form_that_differs_is_seen(form: bytes) -> None:
    exchange = {"request": "POST /", "form": {"a": "1", "b": ["2", "3"]}}
    headers = [("content-type", "application/x-www-form-urlencoded")]
    assert list(request_differences(exchange, Request("POST", "/", headers, b"b=3&a=1&b=2"))) == []
    assert list(request_differences(exchange, Request("POST", "/", headers, form))) != []


@pytest.mark.parametrize(
    "expected",
    [
        {"kind": "client"}, {"kind": "api", "status": 400}, {"kind": "api", "title": "U"},
        {"kind": "api", "reason": None}, {"kind": "api", "retry_after": 1}, {"kind": "api", "errors": []},
        {"kind": "api", "text": ["b"]}, {"kind": "api", "not_text": ["a"]},
    ],
)  # fmt: skip
def test_an_error_that_differs_is_seen(expected: dict[str, Any]) -> None:
    found = Failure("api", "a", 401, "T", "D", "r", ({"pointer": "/x", "message": "m", "code": 7},), None)
    right = {"kind": "api", "retry_after": None, "errors": [{"pointer": "/x", "message": "m"}], "text": ["a"]}
    assert list(failure_differences(right, found)) == []
    assert list(failure_differences(expected, found)) != []


def test_the_readme_names_every_operation() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+)\([a-z_, ]*\)`", readme.replace("\n", " ")))
    assert set(SCHEMA["$defs"]["step"]["properties"]["call"]["enum"]) == named

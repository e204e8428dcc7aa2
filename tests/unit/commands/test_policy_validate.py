"""`extauthz policy validate`: every problem and warning with its place, for people and as JSON."""

import json
from pathlib import Path

import pytest

from extauthz.commands import policy_test, policy_validate
from extauthz.commands.policy_test import TestArguments
from tests.command_line import run_extauthz
from tests.unit.folders.test_reading import CASES, DENY, RESOURCE


def lines(root: Path, capsys: pytest.CaptureFixture[str], status: int) -> list[str]:
    assert policy_validate.run({}, root, as_json=False) == status
    return capsys.readouterr().out.splitlines()


def test_a_folder_in_order_has_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE + DENY)
    (tmp_path / "cases.yaml").write_text(CASES)
    ended = run_extauthz("policy", "validate", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "2 files, 2 objects, 1 case: no problems\n"


def test_problems_and_warnings_are_one_json_object(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE + "role_rules:\n- {id: a}\n" + DENY.replace("role_rules", "x"))
    (tmp_path / "b.yaml").write_text(DENY.replace("obj: r", "obj: other"))
    ended = run_extauthz("policy", "validate", tmp_path, "--json")
    result = json.loads(ended.stdout)
    assert (ended.returncode, result["valid"], result["files"], result["objects"]) == (1, False, 2, 3)
    assert result["problems"][-1] == {
        "severity": "problem",
        "code": None,
        "file": "a.yaml",
        "line": 4,
        "column": 1,
        "pointer": "/x",
        "message": "is not a member here; known are attribute_policies, resources, role_bindings, role_rules",
    }
    assert [each["code"] for each in result["warnings"]] == ["unknown_resource"]


@pytest.mark.parametrize("name", ["missing", "a.yaml"])
def test_what_is_not_a_folder_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE)
    ended = run_extauthz("policy", "validate", tmp_path / name)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"extauthz: '{tmp_path}/{name}' is not a directory that can be read\n"


def test_an_empty_folder_is_not_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(tmp_path, capsys, 1) == [
        "the folder has no .yaml, .yml or .json file",
        "no files, no objects, no cases: 1 problem",
    ]


def test_settings_of_documents_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        RESOURCE + "attribute_policies:\n- {id: p, name: p, resource: r, effect: allow, rule_data: "
        "{type: CONDITION, attribute: request.headers.x-team, operator: eq, value: a}}\n"
    )
    assert policy_validate.run({}, tmp_path, as_json=False) == 1
    assert policy_validate.run({"CONDITION_HEADERS": "x-team"}, tmp_path, as_json=False) == 0
    assert policy_validate.run({"POLICY_MAX_BYTES": "small"}, tmp_path, as_json=False) == 2


def found_in(root: Path, capsys: pytest.CaptureFixture[str], severity: str) -> list[tuple[str, str, str]]:
    policy_validate.run({}, root, as_json=True)
    result = json.loads(capsys.readouterr().out)
    return [
        (f"{each['file']}:{each['line']}:{each['column']}", each["code"] or "", each["pointer"])
        for each in result[severity]
    ]


def test_what_shows_only_between_documents_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = "- {{id: r{}, sub: a, dom: '*', obj: {}, act: x, effect: allow}}\n"
    names = ["r", "r", "none", "none", "/path", "'*'"]
    rules = "".join(rule.format(*each) for each in enumerate(names))
    (tmp_path / "a.yaml").write_text(RESOURCE + "role_rules:\n" + rules)
    binding = "- {{id: b{}, user: u, user_kind: user, role: a, dom: '*'}}\n"
    (tmp_path / "b.yaml").write_text("role_bindings:\n" + binding.format(1) + binding.format(2))
    (tmp_path / "c.yaml").write_text(
        "attribute_policies:\n- {id: p, name: p, resource: r, effect: deny, format: casbin,\n"
        '   rule_data: user.team == "a" && user.id != "b"}\n'
    )
    assert found_in(tmp_path, capsys, "warnings") == [
        ("a.yaml:4:3", "repeated_value", "/role_rules/1"),
        ("a.yaml:5:30", "unknown_resource", "/role_rules/2/obj"),
        ("a.yaml:6:3", "repeated_value", "/role_rules/3"),
        ("b.yaml:3:3", "repeated_value", "/role_bindings/1"),
        *[("c.yaml:3:4", "deny_can_be_unknown", "/attribute_policies/0/rule_data")] * 2,
    ]
    said = lines(tmp_path, capsys, 0)
    assert "has the value of a.yaml:3 (/role_rules/0); the REST API keeps one of them" in said[0]
    assert "no file of the folder has a resource 'none' (1 more rule names it)" in said[1]


def test_a_cycle_of_roles_is_named_at_one_of_its_bindings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE)
    (tmp_path / "b.yaml").write_text("""role_bindings:
- {id: 1, user: u, user_kind: user, role: a, dom: '*'}
- {id: "2", user: x, user_kind: role, role: y, dom: '*'}
- {id: "3", user: y, user_kind: role, role: x, dom: '*'}
""")
    assert lines(tmp_path, capsys, 1) == [
        "b.yaml:2:4: /role_bindings/0/id: found 1, a string is needed",
        "b.yaml:3:3: /role_bindings/1: in domain '*' the roles inherit in a cycle: x -> y -> x",
        "2 files, 4 objects, no cases: 2 problems",
    ]


CASE_FILE = """settings: {unmaped: deny}
cases:
- {name: a, principal: {id: u}, request: {path: /r}, expect: {decision: yes}}
---
cases:
- {name: a, principal: {id: u}, request: {path: /r}, expect: {reason: x}, tag: 1}
- {name: b, principal: {name: u}, request: {path: 7, hots: x}, expect: {decision: deny, result: x}}
- just text
- {name: b, id: x, created_at: t, principal: {id: u, mail: m}, request: {path: /}, expect: {decision: deny}}
---
policies: {role_rules: [{id: a}]}
cases: {}
refused: yes
---
refused: [{pointer: /role_rules/0}]
policies: {role_rules: [{id: a}]}
"""


@pytest.mark.parametrize("value", ["[]", "{}", "null", "7", "[a]", "{a: []}"])
@pytest.mark.parametrize("member", ["name", "principal", "request", "expect", "now", "token", "id"])
def test_no_value_of_a_member_of_a_case_is_an_error_of_the_command(
    tmp_path: Path, member: str, value: str
) -> None:
    members = {"principal": "{id: u}", "request": "{path: /r}", "expect": "{decision: deny}"}
    inner = {"principal": "id", "request": "path", "expect": "decision"}
    for given in (value, f"{{{inner.get(member, 'x')}: {value}}}"):
        case = ", ".join(f"{name}: {text}" for name, text in (members | {member: given}).items())
        (tmp_path / "cases.yaml").write_text(f"cases: [{{{case}}}]\n")
        assert policy_validate.run({}, tmp_path, as_json=True) in {0, 1}
        assert policy_test.run({}, TestArguments([tmp_path], as_json=True)) in {0, 1, 2}


def test_cases_are_checked_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(RESOURCE)
    (tmp_path / "cases.yaml").write_text(CASE_FILE)
    assert [(place, pointer) for place, _, pointer in found_in(tmp_path, capsys, "problems")] == [
        ("cases.yaml:1:12", "/0/settings/unmaped"),
        ("cases.yaml:3:63", "/0/cases/0/expect/decision"),
        ("cases.yaml:6:54", "/1/cases/0/expect/decision"),
        ("cases.yaml:6:75", "/1/cases/0/tag"),
        ("cases.yaml:7:13", "/1/cases/1/principal"),
        ("cases.yaml:7:89", "/1/cases/1/expect/result"),
        ("cases.yaml:8:3", "/1/cases/2"),
        ("cases.yaml:12:1", "/2/cases"),
        ("cases.yaml:12:1", "/2/cases"),
        ("cases.yaml:13:1", "/2/refused"),
    ]
    assert found_in(tmp_path, capsys, "warnings") == [
        ("cases.yaml:6:4", "repeated_name", "/1/cases/0/name"),
        ("cases.yaml:7:25", "unread_member", "/1/cases/1/principal/name"),
        ("cases.yaml:7:54", "unread_member", "/1/cases/1/request/hots"),
        ("cases.yaml:9:4", "repeated_name", "/1/cases/3/name"),
        ("cases.yaml:9:54", "unread_member", "/1/cases/3/principal/mail"),
    ]

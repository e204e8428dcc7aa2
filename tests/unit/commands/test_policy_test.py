"""`extauthz policy test`: cases of files and folders, with reports for people, programs and CI systems."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from extauthz.commands import policy_test
from extauthz.commands.junit_report import xml_text
from extauthz.commands.policy_test import TestArguments
from extauthz.commands.watching import Watched
from tests.command_line import run_extauthz
from tests.light_processes import LIGHT
from tests.unit.folders.test_reading import DENY, RESOURCE

ALLOW = "role_rules: [{id: all, sub: '*', dom: '*', obj: r, act: '*', effect: allow}]\n"
CASE = """cases:
  - name: alice may
    principal: {id: alice}
    request: {path: /r}
    expect: {decision: allow}
"""
OWN = (
    "policies: {}\ncases: [{name: own, principal: {id: a}, request: {path: /r}, expect: {decision: deny}}]\n"
)


def folder(root: Path, rules: str = ALLOW) -> Path:
    (root / "sub").mkdir()
    (root / "resources.yaml").write_text(RESOURCE)
    (root / "rules.yaml").write_text(rules)
    (root / "sub" / "cases.yaml").write_text(CASE + "---\n" + OWN)
    return root


def run(*paths: Path, junit: Path | None = None, as_json: bool = False) -> int:
    return policy_test.run({}, TestArguments(paths, junit=junit, as_json=as_json))


def test_cases_of_a_folder_run_on_its_policies_and_those_with_policies_on_their_own(tmp_path: Path) -> None:
    root = folder(tmp_path)
    ended = run_extauthz("policy", "test", root)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        f"ok   {root}/sub/cases.yaml: alice may: ok",
        f"ok   {root}/sub/cases.yaml: own: ok",
        "2 of 2 cases as expected",
    ]


def test_results_are_one_json_object(tmp_path: Path) -> None:
    ended = run_extauthz("policy", "test", folder(tmp_path, DENY), "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout) == {
        "ok": False,
        "passed": False,
        "complete": True,
        "total": 2,
        "failed": 1,
        "cases": [
            {
                "file": f"{tmp_path}/sub/cases.yaml",
                "line": 2,
                "name": "alice may",
                "passed": False,
                "differences": ["decision: expected 'allow', got 'deny'"],
            },
            {
                "file": f"{tmp_path}/sub/cases.yaml",
                "line": 8,
                "name": "own",
                "passed": True,
                "differences": [],
            },
        ],
    }


def test_a_folder_with_problems_is_unusable_and_says_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path, "role_rules: [{id: a}]\n")
    report = tmp_path / "junit.xml"
    assert run(root, junit=report) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"extauthz: {root}/rules.yaml:1:14: /role_rules/0/sub: is missing" in said.err
    assert said.err.endswith("has 5 problems; no case was run\n")
    (error,) = ElementTree.parse(report).iter("error")  # written by the test
    assert "5 problems" in (error.text or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CASE.replace("allow", "allow, rezon: x"), "'rezon' is not part of an answer"),
        (CASE.replace("{decision: allow}", "{reason: rule_matched}"), "expect, decision: is missing"),
        (CASE + "    today: x\n", "today: is not a member here"),
        ("settings: {unmaped: path}\n" + CASE, "settings, unmaped: is not a member here"),
        ("title: x\n" + CASE, "title: is not a member here"),
    ],
)
def test_unknown_members_and_a_missing_decision_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    assert run(tmp_path / "cases.yaml") == 2
    assert said in capsys.readouterr().err


def test_a_saas_section_of_a_folder_needs_policies_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path)
    (root / "saas.yaml").write_text("settings: {mode: saas}\n" + CASE)
    assert run(root) == 2
    assert "saas.yaml:1:12: /settings/mode: 'saas' needs policies of its own" in capsys.readouterr().err


def test_a_file_without_cases_and_a_folder_without_cases_are_unusable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path)
    (root / "sub" / "cases.yaml").unlink()
    assert run(root) == 2
    assert capsys.readouterr().err == f"extauthz: '{root}' holds no cases\n"


def test_a_problem_of_the_folder_as_a_whole_is_named_with_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 2
    assert f"extauthz: {tmp_path}: the folder has no .yaml" in capsys.readouterr().err


def test_junit_xml_holds_names_that_xml_cannot(tmp_path: Path) -> None:
    root = folder(tmp_path, DENY)
    odd = CASE.replace("alice may", r'"a<b> & \"c\" \u0007 \uFFFE"')
    (root / "sub" / "cases.yaml").write_text(odd + "---\n" + OWN)
    report = root / "junit.xml"
    assert run(root, junit=report) == 1
    document = ElementTree.parse(report).getroot()  # written by the test
    assert document.attrib | {"time": ""} == {
        "name": "extauthz policy test",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "time": "",
    }
    (suite,) = document
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        f"{root}/sub/cases.yaml",
        "2",
        "1",
    )
    failed, passed = suite
    assert failed.get("name") == 'a<b> & "c" \\u0007 \\ufffe'
    assert [each.get("message") for each in failed] == ["decision: expected 'allow', got 'deny'"]
    assert (passed.get("name"), list(passed)) == ("own", [])
    assert [each.name for each in root.iterdir() if each.name.startswith(".")] == []


def test_every_character_becomes_valid_xml() -> None:
    everything = "".join(map(chr, [*range(0x300), 0xD800, 0xDFFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10FFFF]))
    element = ElementTree.Element("a", name=xml_text(everything))
    ElementTree.fromstring(ElementTree.tostring(element, "utf-8"))  # made here


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder(tmp_path), junit=tmp_path / "missing" / "junit.xml") == 2
    assert "junit.xml' cannot be written: No such file or directory" in capsys.readouterr().err


def test_a_change_is_seen_once_it_has_settled(tmp_path: Path) -> None:
    root = folder(tmp_path)
    watched = Watched([root, tmp_path / "missing"])
    (root / "rules.yaml").write_text(DENY)
    watched.wait()
    (root / "sub" / "new.json").write_text("{}")
    watched.wait()
    (root / "rules.yaml").unlink()
    watched.wait()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_output_that_the_encoding_cannot_hold_is_escaped(tmp_path: Path, encoding: str) -> None:
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    root = folder(tmp_path / os.fsdecode(b"\xff"))
    (root / "sub" / "cases.yaml").write_text(CASE.replace("alice may", "\u00e9l\u00e8ve"))
    command = [sys.executable, "-m", "extauthz", "policy", "test", str(root)]
    environ = os.environ | LIGHT | {"PYTHONIOENCODING": encoding}
    ended = subprocess.run(command, capture_output=True, env=environ, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (b"\\xe9l" if encoding == "ascii" else "\u00e9l".encode()) in ended.stdout


def test_watching_runs_again_after_a_change_and_ends_on_an_interrupt(tmp_path: Path) -> None:
    root = folder(tmp_path)
    command = [sys.executable, "-m", "extauthz", "policy", "test", str(root), "--watch"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | LIGHT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert [process.stdout.readline() for _ in range(3)][-1] == "2 of 2 cases as expected\n"
            assert process.stderr.readline() == "waiting for a change; Ctrl-C ends\n"
            (root / "rules.yaml").write_text(DENY)
            assert [process.stdout.readline() for _ in range(3)][-1] == "1 of 2 cases as expected\n"
            assert process.stderr.readline() == "waiting for a change; Ctrl-C ends\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 1
            assert process.stderr.read() == ""
        finally:
            process.kill()

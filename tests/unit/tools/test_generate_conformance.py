"""The table of conformance: its rows, and what the test reports make of them."""

import sys
from typing import TYPE_CHECKING

import pytest

from tests.conformance.cases import Case, cases
from tools import generate_conformance
from tools.generate_conformance import TABLE, results, table

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = """<testsuites><testsuite>
  <testcase classname="t" name="test_case[a: one-tasks]"/>
  <testcase classname="t" name="test_case[a: one-threads]"/>
  <testcase classname="t" name="test_case[a: two-threads]"/>
  <testcase classname="t" name="test_case[a: two-tasks]"><failure message="x"/></testcase>
  <testcase classname="t" name="test_real_case[embedded-a: one-tasks]"><skipped/></testcase>
  <testcase classname="t" name="test_other[a: one]"/>
</testsuite></testsuites>"""
JAVA = """<testsuite>
  <testcase classname="c" name="scripted(Case) a: one"/>
  <testcase classname="c" name="scripted(Case) a: two"><error/></testcase>
  <testcase classname="c" name="real(Case) a: one"/>
</testsuite>"""


@pytest.fixture
def reports(tmp_path: "Path") -> "list[Path]":
    (tmp_path / "python.xml").write_text(PYTHON)
    (tmp_path / "TEST-io.extauthz.client.ConformanceTest.xml").write_text(JAVA)
    return sorted(tmp_path.iterdir())


def test_the_committed_table_lists_each_case_and_each_passed() -> None:
    rows = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    listed = [row.strip("| ").split(" | ")[0] for row in rows if not row.startswith(("| case", "| ---"))]
    assert listed == [case.document["name"] for case in cases()]
    everything = {(column, case.id): True for column in generate_conformance.COLUMNS for case in cases()}
    assert TABLE.read_text("utf-8") == "\n".join(table(cases(), everything)) + "\n"


def test_a_case_that_failed_or_did_not_run_is_seen(reports: "list[Path]") -> None:
    listed = [
        Case("a", {"name": "one", "real": {"as": "admin"}}),
        Case("a", {"name": "two"}),
        Case("b", {"name": "one"}),
    ]
    rows = list(table(listed, results(reports)))
    assert "| one | yes | yes | yes | did not run | yes |" in rows
    assert "| two | no | yes | no |  |  |" in rows
    assert "| one | did not run | did not run | did not run |  |  |" in rows


def test_the_command_names_what_is_missing(
    reports: "list[Path]", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = reports[0].parent
    monkeypatch.setattr(generate_conformance, "ROOT", folder)
    monkeypatch.setattr(generate_conformance, "PYTHON", folder / "python.xml")
    monkeypatch.setattr(generate_conformance, "JAVA", folder / "none")
    monkeypatch.setattr(generate_conformance, "TABLE", folder / "TABLE.md")
    monkeypatch.setattr(sys, "argv", ["generate_conformance.py"])
    assert generate_conformance.main() == 1
    assert "there are no test reports none" in capsys.readouterr().err
    assert not (folder / "TABLE.md").exists()

    monkeypatch.setattr(generate_conformance, "JAVA", folder)
    assert generate_conformance.main() == 1
    assert "did not run" in capsys.readouterr().err
    assert (folder / "TABLE.md").read_text().startswith("# Conformance of the SDKs")

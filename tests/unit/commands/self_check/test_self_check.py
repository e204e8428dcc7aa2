"""The self-check at the start passes here, and ends every deciding command when a reader is broken."""

import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from extauthz.commands.self_check.casbin_rows import casbin_rows
from extauthz.commands.self_check.rows import WrongRow, domain_rows, path_rows, wrong_rows
from extauthz.commands.self_check.token_rows import rows, token_rows
from extauthz.shipped import shipped
from tests.case_files import CASES

MODEL = str(shipped("policies/model.conf"))
CASE_FILE = str(min(CASES.glob("*.yaml")))
FILES_ONLY = {"OIDC_ENABLED": "false", "POLICY_SOURCE": f"files:{shipped('policies/demo')}"}

BLIND_TO_DOTS = """
import re
from extauthz.domain import path
path._PLAIN_DOT_SEGMENT = re.compile("(?!)")
"""
# The shortcut as it was; CPython before 3.11.5 matches it wrongly.
POSSESSIVE_GROUP = r"""
import re
from extauthz.domain import path
path._PLAIN = re.compile(rf"(?:/(?!\.{{1,2}}(?:/|\Z))[{path._PCHAR}]++)++/?|/")
path._PLAIN_DOT_SEGMENT = re.compile("(?!)")
"""
EVERY_SIGNATURE_GOOD = """
from extauthz.decide.tokens.jwks import VerificationKey
VerificationKey.verifies = lambda *_: True
"""
RAISING_ON_A_LABELS = """
from extauthz.domain import host
def _is_a_label(label):
    raise OverflowError(label)
host._is_a_label = _is_a_label
"""
LOOSE_QUERY = """
import re
from extauthz.compile.conditions import query
query._CONTROL = re.compile("(?!)")
"""
CASBIN_ALLOWS = """
from extauthz.casbin_enforce.engine import CasbinEngine
CasbinEngine.answer = lambda *_: "true"
"""


def run_broken(
    breakage: str, *command: str, environ: dict[str, str] | None = None, line: bytes = b"/a/..\n"
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a process whose reader is broken first."""
    program = f"{breakage}\nfrom extauthz.cli import main\nmain({list(command)!r})"
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={"PATH": os.environ["PATH"], **FILES_ONLY, **(environ or {})},
        input=line,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_every_row_comes_out_right_on_this_interpreter() -> None:
    assert [str(row) for row in rows()] == []
    assert [str(row) for row in casbin_rows(datetime(2027, 1, 1))] == []  # noqa: DTZ001
    # The parts that commands judge by themselves are parts of the whole.
    assert not [*path_rows(), *domain_rows(), *token_rows()]


def test_a_row_is_wrong_when_it_comes_out_otherwise_or_raises() -> None:
    def judge(given: str) -> str:
        return given if given != "raise" else str(1 // 0)

    found = list(wrong_rows("text", judge, (("a", "a"), ("b", "c"), ("raise", "d"))))
    assert found == [WrongRow("text", "b", "c", "b"), WrongRow("text", "raise", "d", "ZeroDivisionError")]
    assert str(found[0]) == "the text 'b' is read as 'b', expected 'c'"


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["sidecar"],
        ["control-plane"],
        ["demo"],
        ["demo", "--check"],
        ["worker", "0", "98", "99"],
        ["path", "canonical"],
        ["policy", "test", CASE_FILE],
    ],
    ids=" ".join,
)
def test_every_command_that_decides_ends_when_a_path_is_read_wrongly(command: list[str]) -> None:
    finished = run_broken(BLIND_TO_DOTS, *command)
    assert finished.returncode == 1
    assert finished.stdout == b""
    [line] = finished.stderr.decode().splitlines()
    version = ".".join(map(str, sys.version_info[:3]))
    assert line == (
        f"extauthz: the self-check failed on {sys.implementation.name} {version}: "
        "the path '/a/..' is read as '/a/..', expected 'dot_segment'"
    )


@pytest.mark.parametrize(
    ("breakage", "command", "row"),
    [
        (EVERY_SIGNATURE_GOOD, ["sidecar"], "the token 'of RS256 with another subject' is read as 'ok'"),
        (
            EVERY_SIGNATURE_GOOD,
            ["token", "verify", "--jwks", os.devnull],
            "the token 'of RS256 with another subject' is read as 'ok'",
        ),
        (RAISING_ON_A_LABELS, ["serve"], "the host 'xn--bcher-kva.example' is read as 'OverflowError'"),
        (LOOSE_QUERY, ["sidecar"], "the query 'role=admin%00' is read as"),
        (
            CASBIN_ALLOWS,
            ["casbin", "enforce", "--model", MODEL, "--policy", os.devnull],
            "is read as 'true', expected 'false'",
        ),
    ],
    ids=["sidecar", "token", "host", "query", "casbin"],
)
def test_other_broken_readers_are_named(breakage: str, command: list[str], row: str) -> None:
    finished = run_broken(breakage, *command)
    assert finished.returncode == 1
    assert finished.stdout == b""
    assert row in finished.stderr.decode()


def test_the_group_that_old_interpreters_match_wrongly_is_noticed_there() -> None:
    is_wrong_here = re.fullmatch("(?:ab?c)*+", "a") is not None
    finished = run_broken(POSSESSIVE_GROUP, "path", "canonical")
    assert finished.returncode == int(is_wrong_here)
    assert (b"self-check failed" in finished.stderr) is is_wrong_here


def test_doctor_reports_every_wrong_row(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("{}\n")
    finished = run_broken(BLIND_TO_DOTS, "doctor", str(tmp_path / "empty.yaml"))
    assert finished.returncode == 1
    assert b"the path '/a/..' is read as '/a/..'" in finished.stdout
    assert b"the path '/a/./b' is read as '/a/./b'" in finished.stdout


def test_commands_without_decisions_still_run() -> None:
    assert run_broken(BLIND_TO_DOTS, "envoy-config").returncode == 0

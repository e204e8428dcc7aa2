"""The command `extauthz casbin enforce`, line by line."""

import subprocess
from pathlib import Path

import pytest

from tests.casbin_models import NOW, engine, model
from tests.command_line import run_extauthz


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"\xff\xfe",
        b"{}",
        b"null",
        b'"alice"',
        b"[",
        b"[]",
        b'["alice", "data1"]',
        b'["alice", "data1", "read", "more"]',
        b'["alice", "data1", NaN]',
        b'["alice", "data1", "\\ud800"]',
        b'[{"a": 1, "a": 2}, "data1", "read"]',
        b"[" * 100_000,
        b'["alice\\nok", "\\u2028", "\\u202e"]',
    ],
)
def test_every_line_has_one_answer_of_one_line(line: bytes) -> None:
    verdict = engine(model("r.sub == p.sub"), "p, alice, data1, read").answer(line, NOW)
    assert verdict == "false" or verdict.startswith("error: ")
    assert verdict.isprintable()


def run(
    folder: Path, definition: str | bytes, policy: str | bytes, lines: bytes
) -> subprocess.CompletedProcess[str]:
    for name, content in (("model.conf", definition), ("policy.csv", policy)):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return enforce(folder / "model.conf", folder / "policy.csv", lines)


def enforce(model: Path, policy: Path, lines: bytes) -> subprocess.CompletedProcess[str]:
    return run_extauthz("casbin", "enforce", "--model", model, "--policy", policy, stdin=lines)


def test_the_command_answers_every_line(tmp_path: Path) -> None:
    finished = run(
        tmp_path,
        model(),
        "p, alice, data1, read\np, bob\n",
        b'["alice","data1","read"]\n\n\xff\n["bob","data1","read"]\n["alice","data1","read"]',
    )
    answers = finished.stdout.split("\n")
    assert finished.returncode == 0
    assert [answers[0], *answers[3:]] == ["true", "false", "true", ""]
    assert all(answer.startswith("error: ") for answer in answers[1:3])
    assert finished.stderr == "extauthz: policy line 2 has 1 fields, the model has 3; it is refused\n"


@pytest.mark.parametrize(
    ("definition", "policy"), [("nothing", ""), (b"\xff", ""), (model(), b"p, \xff, x, y"), (model("("), "")]
)
def test_the_command_reports_an_unusable_setting_in_one_line(
    tmp_path: Path, definition: str | bytes, policy: str | bytes
) -> None:
    finished = run(tmp_path, definition, policy, b"[]\n")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.count("\n") == 1
    assert enforce(tmp_path / "none", tmp_path / "none", b"").returncode == 2

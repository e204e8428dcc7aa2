"""The check of commit subjects: imperative, one line, at most 72 characters."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.check_subject import problem
from tools.release import ROOT


@pytest.mark.parametrize(
    "message",
    [
        "Add a check of subjects",
        "Add a check\n\nThe body says why, in lines that may be longer than the subject, up to any length.",
        "# a comment of git\nAdd a check\n# another",
        "A" * 72,
        "Need a key for each issuer",
    ],
)
def test_an_imperative_subject_is_accepted(message: str) -> None:
    assert problem(message) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "is empty"),
        ("\n\nbody", "is empty"),
        ("A" * 73, "has 73 characters"),
        ("Add a check\nof subjects", "second line is not empty"),
        ("add a check", "upper-case"),
        ("wip", "upper-case"),
        ("WIP", "imperative verb"),
        ("fixup! Add a check", "imperative verb"),
        ("Added a check", "not an imperative"),
        ("Adding a check", "not an imperative"),
    ],
)
def test_other_subjects_are_refused(message: str, expected: str) -> None:
    assert expected in (problem(message) or "")


def test_the_hook_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "message").write_text("Added a check\n")
    done = subprocess.run(
        [sys.executable, "tools/check_subject.py", str(tmp_path / "message")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "'Added' is not an imperative, such as 'Add'\n"

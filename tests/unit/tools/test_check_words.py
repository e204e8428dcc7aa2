"""The check of wording: refused and accepted phrases, and the files that it examines."""

import subprocess
import sys

import pytest

from tools.check_words import ROOT, findings, is_examined


@pytest.mark.parametrize(
    "text",
    [
        "Nobody may read it.",
        '"nobody in particular"',
        "'for nobody'",
        "is nobody's until then",
        "somebody else's keys",
        "a deny for everybody",
        "Whoever reads it",
        "text that a stranger chose",
        "def test_strangers_are_refused() -> None:",
        "Return who asks without a credential.",
        "who_asks = 1",
        "class Who(Enum):",
        "closes connections of who sends nothing",
        "it is no cursor of this list",
        "claims are no times",
        '"is no URL"',
        "is no `If-Match`",
        "a value that is\n    # no host",
        "def test_a_null_is_no_domain() -> None:",
        "a line that is none is a problem",
        "of no use",
        "the dearest step",
        "one too many",
        "says NOT_SERVING for good",
        "at most so many items",
        "is hung up on",
        "def test_provider_hangs_up() -> None:",
        "gibberish",
        "Beside the token there is a key.",
        "runs beside\n-- the application",
        "the host is nobody's until then",
    ],
)
def test_refused_wording_is_found(text: str) -> None:
    assert len(list(findings("docs/page.md", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        'user = "nobody"',
        "as the user `nobody`",
        "people who write policies",
        "an operator, who sees the log,",
        "there is no default",
        "There are no patterns.",
        "it is no longer decided",
        "the decision is no older than the write",
        "the reading takes no more than a second and is no more than a guess",
        "if key is None",
        "if key is NO_KEY",
        "None when there is none",
        "the finding `checks-from-anybody`",
        "proved by `tests/unit/test_a.py::test_nobody_passes`",
        "the caller is none of the expected proxies",
        "for good in values",
        "so many policies that reading them exhausts a worker",
        "besides",
        "whole, whose, wholesome",
        "the answer is not a host",
    ],
)
def test_plain_wording_is_accepted(text: str) -> None:
    assert list(findings("docs/page.md", text)) == []


def test_a_finding_names_the_line_the_text_and_what_to_write() -> None:
    (finding,) = findings("docs/page.md", "first\nsecond, which nobody\nthird")
    assert str(finding) == ("docs/page.md:2: 'nobody'; write: 'no caller', 'no client', 'no principal'")


def test_the_name_of_a_file_is_examined_too() -> None:
    assert [each.line for each in findings("tests/test_is_no_host.py", "")] == [0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("README.md", True),
        (".ci/run", True),
        ("tests/cases/roles.yaml", True),
        ("uv.lock", False),
        ("tests/fuzz/corpus/paths.txt", False),
        ("docs/picture.png", False),
    ],
)
def test_texts_of_the_project_are_examined(name: str, expected: bool) -> None:
    assert is_examined(name) is expected


def test_the_command_fails_on_a_file_with_refused_wording() -> None:
    command = [sys.executable, "tools/check_words.py", "tests/unit/tools/test_check_words.py"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "'everybody'; write: name the caller" in answer.stderr


def test_files_that_others_wrote_are_left_out_of_a_change() -> None:
    command = [sys.executable, "tools/check_words.py", "--changed", "tests/unit/tools/test_check_words.py"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")

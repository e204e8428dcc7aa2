"""The check that supported interpreters read every regular expression of the project alike."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.convertors import CONVERTOR_TYPES

from tools.check_patterns import ROOT, pattern_problems, sources


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:ab)++",
        "(?:ab?c)*+",
        "(ab)?+",
        "(?:ab){1,2}+",
        "(?:a|bc)++",
        "x(?:y(?:/[a-z]++)++)?",
        "(?=(?:ab)++)",
        "(?<!(?:ab){2}+)",
        "(a)(?(1)(?:bc)++|d)",
        "(?i:(?:ab)++)",
        "(?>ab)",
        "(?:a|(?>b))",
        r"\w",
        r"[a\d]",
        r"[^\W]",
        r"\bx",
        r"(?:x|\B)",
        b"(?:ab)++",
    ],
)
def test_patterns_that_interpreters_read_differently_are_refused(pattern: str | bytes) -> None:
    assert len(pattern_problems(pattern)) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "a++",
        "[ab]*+",
        "[^ab]?+",
        "a{1,2}+",
        "(?:a)++",
        ".*+",
        r"\s++",
        "(?:ab)+",
        "(ab)*?",
        rb"\w\d\b",
        "[+]+",
    ],
)
def test_patterns_that_every_interpreter_reads_alike_are_accepted(pattern: str | bytes) -> None:
    assert pattern_problems(pattern) == []


def test_the_flag_ascii_makes_categories_independent_of_tables() -> None:
    assert pattern_problems(r"\w\d\b", re.ASCII) == []
    assert pattern_problems(re.compile(r"(?a)\w\d\b")) == []


def test_the_patterns_that_starlette_brings_are_read_alike() -> None:
    assert [pattern_problems(each.regex, re.ASCII) for each in CONVERTOR_TYPES.values()] == [[]] * len(
        CONVERTOR_TYPES
    )


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_patterns.py"), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_whole_source_passes() -> None:
    finished = checked()
    assert (finished.returncode, finished.stderr) == (0, "")
    assert len(list(sources())) > 30


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('import re\nSEGMENT = "/[a-z]++"\n_PLAIN = re.compile(rf"(?:{SEGMENT})++")\n', 3),
        ('import re\n_LONG = re.compile(\n    r"a"\n    r"(?:b"\n    r"c)"\n    r"++"\n)\n', 2),
        ("import re as r\ndef f(text):\n    return r.sub('(?:ab)*+', '', text)\n", 3),
        ("from re import compile as c\n_X = {'a': c(pattern='(?:ab)?+')}\n", 2),
        ("import re\n_A = re.compile('(?:ab)')\n_B = re.compile(_A.pattern + '++')\n", 3),
        ("import re\n_V = re.compile('''(?:a # first\n b)++''', re.VERBOSE)\n", 2),
        ("import re\ndef f(pattern, text):\n    return re.fullmatch(pattern, text)\n", 3),
        ("import re\n_D = re.split(r'\\d', 'a')\n", 2),
    ],
)
def test_a_pattern_is_found_in_every_notation(tmp_path: Path, source: str, line: int) -> None:
    file = tmp_path / "written.py"
    file.write_text(source, "utf-8")
    finished = checked(file)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"{file}:{line}: ")

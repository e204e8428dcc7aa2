"""Policy files mean the same whether libyaml or PyYAML's own parser reads them.

The two parsers refuse what is not YAML in words of their own, and PyYAML's own parser also refuses tabs
between tokens, which libyaml takes. INVARIANT: where both read a text they read the same, and what this
project refuses (repeated members, tags, aliases, depth, characters) is refused with the same words at the
same place.
"""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from extauthz.compile.documents.policy_files import read_documents
from extauthz.compile.documents.yaml_text import MAX_DEPTH, Parser
from extauthz.domain.problem import Problem

pytestmark = pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML was built without libyaml")

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted([*(ROOT / "policies").rglob("*.yaml"), *(ROOT / "tests" / "cases").glob("*.yaml")])
VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
TEXTS = 20_000 if VERIFY else 3_000

REFUSED: Final = {
    "a: 1\nb: 2\na: 3": "line 3, column 1: the member 'a' occurs twice",
    "a: 1\n'a': 3": "line 2, column 1: the member 'a' occurs twice",
    "x: {b: 1, c: 2, b: 3}": "line 1, column 17: the member 'b' occurs twice",
    "x:\n  - b: 1\n    c: 2\n    b: 3": "line 4, column 5: the member 'b' occurs twice",
    "x: [{b: 1}, {\n  c: 1, c: 2}]": "line 2, column 9: the member 'c' occurs twice",
    "a: 1\n2: 3": "line 2, column 1: a member name is a string",
    "a: 1\nnull: 3": "line 2, column 1: a member name is a string",
    "a: 1\n? [b]\n: c": "line 2, column 3: a member name is a string",
    "a: 1\n? {b: c}\n: d": "line 2, column 3: a member name is a string",
    "a:\n  - !!str b": "line 2: tags are not part of policies, found 'tag:yaml.org,2002:str'",
    "a:\n  !own {b: c}": "line 2: tags are not part of policies, found '!own'",
    "a: &x 1\nb: *x": "line 2: aliases are not part of policies",
    "a: &x 1\nb: &x 2": "line 2, column 4: the anchor 'x' occurs twice",
    "a: 1\nb: \x07": "line 2, column 4: not YAML: found the character U+0007",
    "a: 1\nb: '\ufeff'": "line 2, column 5: not YAML: found the character U+FEFF",
    "a: 1\n--- \nb: \0": "line 3, column 4: not YAML: found the character U+0000",
    "\n" + "[" * (MAX_DEPTH + 1): f"line 2: is nested deeper than {MAX_DEPTH} levels",
    "{a: " * (MAX_DEPTH + 1): f"line 1: is nested deeper than {MAX_DEPTH} levels",
}

NOT_YAML: Final = {
    "a: 1\nb: @": "line 2, column 4",
    "a: 1\nb: 'c": "line 2",
    "a: 1\n b: 2": "line 2, column 3",
    "a: 1\n\tb: 2": "line 2, column 1",
    "a: 1\nb: {c: 1]": "line 2, column 9",
    "a: 1\nb: %c": "line 2, column 4",
    "%YAML 1.1\n%YAML 1.1\n---\na: 1": "line 2, column 1",
}

FRAGMENTS: Final = (
    *(
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        ":",
        "'",
        '"',
        " #c",
        "#",
        "&x ",
        "*x",
    ),
    *(
        "!!str ",
        "? ",
        "|",
        "|\n",
        ">-\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "\t",
        " ",
        "1",
        "true",
        "~",
        "0.5",
        "-7e2",
    ),
    *(
        "\\n",
        "\\x41",
        "\ufeff",
        "\u00e9",
        "\u2028",
        "\x85",
        "@",
        "`",
        "%",
        "<<: ",
        "-\n",
        "\r\n",
        "\x07",
        "\U0001f600",
    ),
)


def read(text: bytes, parser: Parser, *, aliases: bool = False) -> list[object] | Problem:
    return read_documents(text, is_json=False, aliases=aliases, parser=parser)


def both(text: str, *, aliases: bool = False) -> tuple[list[object] | Problem, list[object] | Problem]:
    content = text.encode()
    return read(content, yaml.CSafeLoader, aliases=aliases), read(content, yaml.SafeLoader, aliases=aliases)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_both_parsers_read_the_files_of_the_project_alike(path: Path) -> None:
    fast, plain = both(path.read_text("utf-8"), aliases=True)
    assert isinstance(fast, list)
    assert repr(fast) == repr(plain)


@pytest.mark.parametrize(("text", "said"), REFUSED.items())
def test_both_parsers_refuse_with_the_same_words_at_the_same_place(text: str, said: str) -> None:
    assert both(text) == (Problem("", said), Problem("", said))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: *x", "line 1, column 4: the alias 'x' names no anchor before it"),
        ("a: &x [*x]", "line 1, column 8: the alias 'x' is inside of what it names"),
        ("a: &x 1\n---\nb: *x", "line 3, column 4: the alias 'x' names no anchor before it"),
        ("a: &x {b: 1}\n*x : 2", "line 2, column 1: a member name is a string"),
    ],
)
def test_both_parsers_refuse_the_same_aliases_where_aliases_are_read(text: str, said: str) -> None:
    assert both(text, aliases=True) == (Problem("", said), Problem("", said))


def test_an_alias_has_the_value_of_its_anchor() -> None:
    fast, plain = both("a: &x {b: [1, 2]}\nc: *x\nd: &y word\n*y : 1", aliases=True)
    assert fast == plain == [{"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": "word", "word": 1}]


@pytest.mark.parametrize(("text", "place"), NOT_YAML.items())
def test_both_parsers_report_the_place_of_a_syntax_error(text: str, place: str) -> None:
    for found in both(text):
        assert isinstance(found, Problem)
        assert found.message.startswith(place)


def test_a_text_that_both_parsers_read_has_one_meaning() -> None:
    rng = random.Random(11)
    read_by_both = 0
    for _ in range(TEXTS):
        text = "".join(rng.choices(FRAGMENTS, k=rng.randint(1, 12)))
        fast, plain = both(text, aliases=True)
        if isinstance(fast, list) and isinstance(plain, list):
            assert repr(fast) == repr(plain), repr(text)
            read_by_both += 1
    assert read_by_both > TEXTS // 10


def test_the_commands_run_where_pyyaml_was_built_without_libyaml() -> None:
    program = (
        "import yaml; del yaml.CSafeLoader; from extauthz.cli import main;"
        "main(['policy', 'test', 'tests/cases/shadow.yaml'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "6 of 6 cases as expected" in done.stdout

"""The check of names: what counts as a definition, what may repeat, and that the package has no homonym."""

import subprocess
import sys

import pytest

from tools.check_names import ROOT, defined_types, problems

CLASS = "class Change:\n    pass\n"


@pytest.mark.parametrize(
    "other",
    [
        CLASS,
        "class Change(Enum):\n    A = 1\n",
        "Change = int | None\n",
        "Change: TypeAlias = 'dict[str, int]'\n",
    ],
)
def test_one_name_of_two_things_is_refused_with_both_places(other: str) -> None:
    (found,) = problems([("a.py", CLASS), ("b.py", other)], {})
    assert found == "a.py, b.py: Change is defined 2 times; name each for what it is"


@pytest.mark.parametrize(
    "text",
    [
        "_Change = 1\nclass _Reader:\n    pass\n",
        "Value = TypeVar('Value')\n",
        "MAX: Final = 1\n",
        "def Change() -> None: ...\n",
        "class _Outer:\n    class Change:\n        pass\n",
        "from a import Change\n",
    ],
)
def test_what_is_private_or_no_definition_may_repeat(text: str) -> None:
    assert problems([("a.py", text), ("b.py", text), ("c.py", CLASS)], {}) == []


def test_a_name_that_one_module_defines_twice_is_one_name() -> None:
    assert list(defined_types(CLASS)) == ["Change"]
    assert problems([("a.py", CLASS + CLASS)], {}) == []


def test_a_name_with_one_meaning_may_repeat_and_its_entry_is_needed() -> None:
    same = {"Change": "a write in progress"}
    assert problems([("a.py", CLASS), ("b.py", CLASS)], same) == []
    (found,) = problems([("a.py", CLASS)], same)
    assert found == "tools/check_names.py: Change is not repeated; remove it"


def test_the_package_has_no_name_of_several_things() -> None:
    done = subprocess.run(
        [sys.executable, "tools/check_names.py"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

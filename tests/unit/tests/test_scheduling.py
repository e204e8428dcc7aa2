"""Workers of pytest-xdist get a module at a time, the modules of long folders first."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.scheduling import scope

ROOT = Path(__file__).parents[3]
HOOKS = "from tests.conftest import pytest_collection_modifyitems, pytest_xdist_make_scheduler\n"
MODULE = """
import pytest

@pytest.mark.parametrize("number", range(12))
def test_it(number):
    pass
"""


def test_one_worker_runs_all_tests_of_a_module(tmp_path: Path) -> None:
    folder = tmp_path / "cases" / "e2e"
    folder.mkdir(parents=True)
    (tmp_path / "cases" / "conftest.py").write_text(HOOKS)
    for name in ("one", "two", "three", "four"):
        (folder / f"test_{name}.py").write_text(MODULE)
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-n", "2", "-v", "-p", "no:cacheprovider", "cases"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    workers = defaultdict(set)
    for line in done.stdout.splitlines():
        if "PASSED" in line:
            workers[line.split()[-1].partition("::")[0]].add(line.partition("]")[0])
    assert sorted(workers) == [f"cases/e2e/test_{name}.py" for name in ("four", "one", "three", "two")]
    assert all(len(each) == 1 for each in workers.values()), workers


def test_long_tests_without_fixtures_of_their_module_are_given_singly() -> None:
    assert scope("tests/e2e/test_a.py::test_b[c::d]") == "tests/e2e/test_a.py"
    assert scope("tests/property/test_a.py::test_b[c]") == "tests/property/test_a.py::test_b[c]"

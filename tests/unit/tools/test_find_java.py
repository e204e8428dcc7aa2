"""What `make test-java` says where a JDK or Maven is missing, and what it finds."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tools.release import ROOT
from tools.test_java import Missing, found_tools


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_compiler_tells_the_version_and_java_home_goes_first(tmp_path: Path) -> None:
    script(tmp_path / "bin/javac", "echo javac 21.0.2")
    script(tmp_path / "bin/mvn", "exit 1")
    environ = {"PATH": str(tmp_path / "bin")}
    assert found_tools(environ) == ("javac 21.0.2", str(tmp_path / "bin/mvn"))

    script(tmp_path / "home/bin/javac", "echo javac 17 >&2")
    assert found_tools(environ | {"JAVA_HOME": str(tmp_path / "home")})[0] == "javac 17"
    with pytest.raises(Missing, match="no javac at JAVA_HOME="):
        found_tools(environ | {"JAVA_HOME": str(tmp_path / "away")})


@pytest.mark.parametrize("said", ["javac 1.8.0_402", "javac 11.0.22", "nothing known", ""])
def test_an_older_jdk_is_refused(tmp_path: Path, said: str) -> None:
    script(tmp_path / "javac", f"echo '{said}'")
    script(tmp_path / "mvn", "exit 1")
    with pytest.raises(Missing, match="needs a JDK of 17 or newer"):
        found_tools({"PATH": str(tmp_path)})


def test_without_maven_one_line_says_so(tmp_path: Path) -> None:
    script(tmp_path / "javac", "echo javac 17.0.1")
    with pytest.raises(Missing, match="no mvn on PATH"):
        found_tools({"PATH": str(tmp_path)})


@pytest.mark.parametrize("arguments", [[], ["--found"]])
def test_without_a_jdk_the_command_ends_with_one_line(tmp_path: Path, arguments: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"} | {
        "PATH": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/test_java.py"), *arguments],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "needs a JDK of 17 or newer: no javac at PATH" in done.stderr

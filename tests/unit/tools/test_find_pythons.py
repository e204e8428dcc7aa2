"""Which interpreters `make test-pythons` finds."""

import stat
import sys
from pathlib import Path

import pytest

from tools import test_pythons

VERSION = sys.version_info[:3]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def saying(name: str = "cpython", version: str = "[3, 12, 9]", **changes: str) -> str:
    members = {"pre": "false", "free_threaded": "false", "executable": '"/there/python3.12"'} | changes
    rest = ", ".join(f'"{key}": {value}' for key, value in members.items())
    return f"""echo '{{"name": "{name}", "version": {version}, {rest}}}'"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any interpreter: nothing on PATH, no usual folders, no version managers."""
    monkeypatch.setattr(test_pythons, "_FOLDERS", ())
    monkeypatch.setattr(test_pythons, "uv", lambda: str(tmp_path / "no-uv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PYENV_ROOT", "ASDF_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found() -> list[tuple[str, str]]:
    return [(each.name, each.executable) for each in test_pythons.interpreters()]


def test_this_interpreter_is_found_and_an_environment_counts_as_its_base(machine: Path) -> None:
    (machine / "bin").mkdir()
    (machine / "bin" / "python3").symlink_to(sys.executable)
    [(name, executable)] = found()
    assert name == ".".join(map(str, VERSION))
    assert Path(executable).exists()


def test_a_version_that_pyenv_has_switched_off_is_found_and_its_launcher_is_not(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(machine / "bin" / "python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    assert found() == []
    script(machine / "pyenv" / "versions" / "3.12.9" / "bin" / "python3.12", saying())
    assert found() == []
    monkeypatch.setenv("PYENV_ROOT", str(machine / "pyenv"))
    assert found() == [("3.12.9", "/there/python3.12")]
    monkeypatch.delenv("PYENV_ROOT")
    script(machine / "bin" / "pyenv", f"echo {machine / 'pyenv'}")
    assert found() == [("3.12.9", "/there/python3.12")]


def test_one_interpreter_is_found_for_each_full_version_in_order(machine: Path) -> None:
    script(machine / "bin" / "python3.13", saying(version="[3, 13, 1]", executable='"/a"'))
    script(machine / "bin" / "python3", saying(version="[3, 12, 10]", executable='"/b"'))
    script(machine / "bin" / "python3.12", saying(version="[3, 12, 9]", executable='"/c"'))
    script(machine / "home/.pyenv/versions/x/bin/python3.12", saying(version="[3, 12, 9]", executable='"/d"'))
    assert found() == [("3.12.9", "/c"), ("3.12.10", "/b"), ("3.13.1", "/a")]


@pytest.mark.parametrize(
    "said",
    [
        saying(name="pypy"),
        saying(version="[3, 10, 14]"),
        saying(version="[3, 15, 0]"),
        saying(pre="true"),
        saying(free_threaded="true"),
        "echo Python 3.12.9",
        "exit 0",
        "exit 1",
    ],
)
def test_unsupported_interpreters_are_left_out(machine: Path, said: str) -> None:
    script(machine / "bin" / "python3.12", said)
    assert found() == []

"""Run the tests that need no other process on every supported interpreter of this machine.

python tools/test_pythons.py                           every interpreter found
python tools/test_pythons.py --tested .venv/bin/python all but this one, which other tests ran on already

Looked for are CPython 3.11 to 3.13 on PATH, in the usual folders, and among the versions of pyenv, asdf and
uv (a launcher on PATH for a version that is switched off leads nowhere, the version itself is found); 3.14 is
used when every dependency has a wheel for it. One interpreter for each full version gets an environment of
its own, `.venv-pythons/VERSION`, with the locked dependencies, and runs `tests/unit`, `tests/client`,
`tests/property`, `tests/wire` and `tests/fuzz`, without `tests/unit/tools` and `tests/unit/tests`: they test
what only developers run. The exit code is 1 when any test fails.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ENVIRONMENTS: Final = ROOT / ".venv-pythons"
TESTS: Final = ("tests/unit", "tests/client", "tests/property", "tests/wire", "tests/fuzz")
LEFT_OUT: Final = ("tests/unit/tools", "tests/unit/tests")
"""Tests of the tools and of the tests' own reference code, which one interpreter runs: that of developers."""
SUPPORTED: Final = ((3, 11), (3, 12), (3, 13))
WITH_WHEELS: Final = ((3, 14),)
"""Versions that are tested only when nothing has to be built for them."""

_FOLDERS: Final = ("/usr/bin", "/usr/local/bin")
_VERSIONS: Final = "versions/*/bin"
_PROBE: Final = """
import json, sys, sysconfig
json.dump({
    "name": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "pre": sys.version_info[3] != "final",
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "executable": getattr(sys, "_base_executable", sys.executable),
}, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that runs."""

    version: tuple[int, int, int]
    executable: str

    @property
    def name(self) -> str:
        """The full version, such as 3.11.2."""
        return ".".join(map(str, self.version))


def probed(executable: str | Path) -> Interpreter | None:
    """Return the interpreter behind a path, or behind its environment; None when no CPython runs there."""
    try:
        finished = subprocess.run(
            [executable, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=30, check=True
        )
        said = json.loads(finished.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if said["name"] != "cpython" or said["pre"] or said["free_threaded"]:
        return None
    major, minor, micro = said["version"]
    return Interpreter((major, minor, micro), said["executable"])


def interpreters() -> list[Interpreter]:
    """Return one interpreter for each full version, the oldest first."""
    found: dict[tuple[int, int, int], Interpreter] = {}
    for candidate in dict.fromkeys(candidates()):
        interpreter = probed(candidate)
        if interpreter is not None and interpreter.version[:2] in SUPPORTED + WITH_WHEELS:
            found.setdefault(interpreter.version, interpreter)
    return [found[version] for version in sorted(found)]


def candidates() -> Iterator[str]:
    """Yield paths at which an interpreter may be."""
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED + WITH_WHEELS]
    folders = [*_FOLDERS, *os.environ.get("PATH", "").split(os.pathsep), *_version_managers()]
    for folder in folders:
        for name in (*names, "python3"):
            yield from sorted(glob.glob(str(Path(folder) / name)))  # noqa: PTH207 - folders are patterns


def _version_managers() -> Iterator[str]:
    """Yield the folders of every version that pyenv, asdf and uv installed, switched on or not."""
    home = Path.home()
    yield str(Path(os.environ.get("PYENV_ROOT") or _said(["pyenv", "root"]) or home / ".pyenv") / _VERSIONS)
    yield str(Path(os.environ.get("ASDF_DATA_DIR") or home / ".asdf") / "installs/python/*/bin")
    managed = _said([uv(), "python", "dir"])
    if managed:
        yield str(Path(managed) / "*/bin")


def _said(command: Sequence[str]) -> str:
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return finished.stdout.strip()


def uv() -> str:
    """Return the project's uv, which makes environments also where `ensurepip` is missing."""
    ours = Path(sys.prefix) / "bin" / "uv"
    return str(ours) if ours.exists() else shutil.which("uv") or "uv"


def prepare(interpreter: Interpreter) -> Path | None:
    """Make the environment of an interpreter, or bring it up to date; None when that is not possible."""
    place = ENVIRONMENTS / interpreter.name
    # Without compiled modules each process of a run would compile all of them again.
    environ = os.environ | {"UV_PROJECT_ENVIRONMENT": str(place), "UV_COMPILE_BYTECODE": "1"}
    sync = [
        uv(),
        "sync",
        "--quiet",
        "--locked",
        "--all-packages",
        "--all-extras",
        "--python",
        interpreter.executable,
    ]
    if interpreter.version[:2] in WITH_WHEELS:
        sync += ["--no-build", "--no-install-workspace"]
    if subprocess.run(sync, cwd=ROOT, env=environ, check=False).returncode == 0:
        python = place / "bin" / "python"
        if interpreter.version[:2] not in WITH_WHEELS:
            return python
        install = [uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(python)]
        install += ["--editable", ".", "--editable", "./sdk/python"]
        return python if subprocess.run(install, cwd=ROOT, check=False).returncode == 0 else None
    if interpreter.version[:2] in WITH_WHEELS:
        return None
    print(f"{interpreter.name}: uv could not install; pip is tried", flush=True)
    return _prepared_by_pip(interpreter, place)


def _prepared_by_pip(interpreter: Interpreter, place: Path) -> Path | None:
    """Install with the pip of the project's environment: an index may be configured for pip alone."""
    python = place / "bin" / "python"
    environ = os.environ | {
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_BUILD_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for command in (
        [uv(), "venv", "--quiet", "--clear", "--no-project", "--python", interpreter.executable, str(place)],
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--editable",
            ".[demo,dev,native]",
            "--editable",
            "./sdk/python",
        ],
    ):
        if subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode != 0:
            return None
    return python


def run_tests(interpreter: Interpreter, python: Path, arguments: Sequence[str]) -> bool:
    """Run the tests, with a cache of their own."""
    # Without CI the fuzz targets run for a second each: they have run for longer on the first interpreter.
    environ = {
        name: value for name, value in os.environ.items() if name not in {"CI", "PYTHONDONTWRITEBYTECODE"}
    }
    cache = ENVIRONMENTS / interpreter.name / ".pytest_cache"
    command = [str(python), "-m", "pytest", "-q", "-n", "auto", "-o", f"cache_dir={cache}", *arguments]
    command += [f"--ignore={folder}" for folder in LEFT_OUT]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode == 0


def tested_on(interpreter: Interpreter, prepared: "Future[Path | None]", arguments: Sequence[str]) -> str:
    """Run the tests in the environment of an interpreter once it is there; return what came of it."""
    print(f"\n-- CPython {interpreter.name}, {interpreter.executable}", flush=True)
    began = time.monotonic()
    python = prepared.result()
    if python is None:
        without = interpreter.version[:2] in WITH_WHEELS
        return "left out: not every dependency has a wheel for it" if without else "FAILED: not installed"
    outcome = "passed" if run_tests(interpreter, python, arguments) else "FAILED"
    return f"{outcome} in {time.monotonic() - began:.0f} s"


def main() -> int:
    """Run the tests on each interpreter, then list them all."""
    parser = argparse.ArgumentParser(description="Run the tests on every supported interpreter found.")
    parser.add_argument("--tested", help="an interpreter that ran them already")
    parser.add_argument("--list", action="store_true", help="only say which interpreters there are")
    parser.add_argument("tests", nargs="*", default=TESTS)
    parsed = parser.parse_args()
    tested = probed(parsed.tested) if parsed.tested else None
    outcomes: list[tuple[Interpreter, str]] = []
    found = interpreters()
    others = [each for each in found if tested is None or each.version != tested.version]
    # The next one is installed, which is mostly waiting, while tests run on the one before.
    with ThreadPoolExecutor(max_workers=1) as preparing:
        prepared = {} if parsed.list else {each: preparing.submit(prepare, each) for each in others}
        for interpreter in found:
            if parsed.list:
                outcomes.append((interpreter, "found"))
            elif interpreter not in prepared:
                outcomes.append((interpreter, "passed before, as the version of `make test`"))
            else:
                outcomes.append((interpreter, tested_on(interpreter, prepared[interpreter], parsed.tests)))
    print()
    for interpreter, outcome in outcomes:
        print(f"CPython {interpreter.name:8} {outcome:12}  {interpreter.executable}")
    if not outcomes:
        print("no CPython from 3.11 to 3.13 was found", file=sys.stderr)
    return 1 if not outcomes or any(outcome.startswith("FAILED") for _, outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Properties of the Dockerfile, read from the file and from the lock."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.packaging.dockerfile import ROOT, stages, unknown_instructions

BUILD, FINAL = stages((ROOT / "Dockerfile").read_text())
FINAL_INSTRUCTIONS = frozenset({"ARG", "COPY", "ENV", "USER", "WORKDIR", "HEALTHCHECK", "ENTRYPOINT", "CMD"})


def test_the_final_stage_runs_nothing_and_starts_as_a_number() -> None:
    assert unknown_instructions(FINAL, FINAL_INSTRUCTIONS) == []
    assert FINAL.only("USER") == "65532:65532"
    assert FINAL.only("COPY").startswith(f"--from={BUILD.name} ")


def test_both_stages_start_from_one_exact_tag() -> None:
    assert BUILD.base == FINAL.base
    name, _, tag = BUILD.base.partition(":")
    assert name == "python"
    assert tag.count(".") == 2, "a patch release, which no later push moves to another minor version"


def test_nothing_is_installed_but_by_hash_and_as_wheels() -> None:
    installs = " ".join(each.rest for each in BUILD.instructions if each.word == "RUN").split("&&")
    for install in (step for step in installs if " install " in step):
        from_lock = "--require-hashes" in install and "--only-binary :all:" in install
        assert from_lock or "--no-index" in install, install


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_the_lock_has_a_wheel_of_everything_for_the_base(name: str, machine: str) -> None:
    usable = base_tags(machine)
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    wheels = {
        (package["name"], package["version"]): [
            parse_wheel_filename(wheel["url"].rpartition("/")[2])[3] for wheel in package.get("wheels", [])
        ]
        for package in lock["package"]
        if "version" in package  # the project's own is in extauthz/__init__.py
    }
    lines = (ROOT / "deploy/image" / name).read_text().splitlines()
    pins = [line.split(" ")[0].partition("==") for line in lines if "==" in line and "win32" not in line]

    assert pins
    assert [pin for pin, _, version in pins if not any(tags & usable for tags in wheels[pin, version])] == []


def base_tags(machine: str) -> set[Tag]:
    """Return what pip on the base image takes: its Python, and the glibc 2.36 of Debian 12."""
    assert BUILD.base.endswith("-slim-bookworm")
    major, minor, *_ = BUILD.base.partition(":")[2].split(".")
    version = (int(major), int(minor))
    platforms = [f"manylinux_2_{glibc}_{machine}" for glibc in range(36, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    interpreter = f"cp{major}{minor}"
    return {*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)}


def test_hadolint_reports_no_finding() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")

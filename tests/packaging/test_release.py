"""A release: one source of the version, what may be tagged, and the workflows that build and publish it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from extauthz import __version__
from tools.release import ROOT, problems, sections, version

_ECOSYSTEMS: Final = {
    "Dockerfile": "docker", "go.mod": "gomod", "package.json": "npm", "pom.xml": "maven", "uv.lock": "uv",
}  # fmt: skip
"""Of dependabot, by the manifest that it reads."""
WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yml"))
_PINNED: Final = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)


def test_the_version_has_one_source() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "extauthz/__init__.py"
    assert version() == __version__


def test_the_command_prints_the_version() -> None:
    command = [sys.executable, "-m", "extauthz", "--version"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    assert printed == f"extauthz {__version__}\n"


def test_changelog_and_manifests_name_the_version() -> None:
    assert problems() == []


def test_the_documentation_names_the_version() -> None:
    shown = re.findall(r"extauthz:([0-9]+\.[0-9]+\.[0-9]+)", (ROOT / "docs/deploy.md").read_text("utf-8"))
    assert shown
    assert set(shown) == {__version__}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with what `tools/release.py` reads, ready to be released as 1.2.3."""
    (tmp_path / "extauthz").mkdir()
    (tmp_path / "extauthz/__init__.py").write_text('__version__ = "1.2.3"\n')
    client = tmp_path / "sdk/python/extauthz_client/__init__.py"
    client.parent.mkdir(parents=True)
    client.write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2030-01-01\n\n- It works.\n"
    )
    overlay = tmp_path / "deploy/kubernetes/overlays/one"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text("images:\n  - name: extauthz\n    newTag: 1.2.3\n")
    return tmp_path


def test_a_checkout_in_order_may_be_released(checkout: Path) -> None:
    assert problems(checkout, "v1.2.3") == []


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3-rc1", "v1.2"])
def test_a_tag_that_is_not_the_version_is_refused(checkout: Path, tag: str) -> None:
    assert problems(checkout, tag) == [f"the tag {tag!r} is not v1.2.3, the version in extauthz/__init__.py"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("## [1.2.2] - 2030-01-01\n\n- Old.\n", "CHANGELOG.md has no text under [1.2.3]"),
        ("## [1.2.3] - 2030-01-01\n\n## [1.2.2]\n\n- Old.\n", "CHANGELOG.md has no text under [1.2.3]"),
        ("## [1.2.3]\n\n- It works.\n", "CHANGELOG.md: [1.2.3] has no date"),
        (
            "## [1.2.3] - 2030-01-01\n\n### Added\n\n- One.\n\n### Added\n\n- Two.\n",
            "CHANGELOG.md: [1.2.3] has '### Added' twice",
        ),
        (
            "## [Unreleased]\n\n- More.\n\n## [1.2.3] - 2030-01-01\n\n- It works.\n",
            "CHANGELOG.md: [Unreleased] has text; move it to [1.2.3]",
        ),
    ],
)
def test_a_changelog_that_is_not_ready_is_refused(checkout: Path, text: str, problem: str) -> None:
    (checkout / "CHANGELOG.md").write_text(text)
    assert problems(checkout, "v1.2.3") == [problem]


def test_a_manifest_with_another_image_is_refused(checkout: Path) -> None:
    file = checkout / "deploy/kubernetes/overlays/one/kustomization.yaml"
    ours = "  - name: extauthz\n    newName: r/extauthz\n    newTag: 1.2.2\n"
    file.write_text(f"images:\n{ours}  - name: orders\n    newTag: 1.0.0\n")
    assert problems(checkout) == [
        "deploy/kubernetes/overlays/one/kustomization.yaml: newTag is 1.2.2, not 1.2.3"
    ]


def test_a_client_of_another_version_is_refused(checkout: Path) -> None:
    (checkout / "sdk/python/extauthz_client/__init__.py").write_text('__version__ = "1.2.2"\n')
    assert problems(checkout) == ["sdk/python/extauthz_client/__init__.py: __version__ is 1.2.2, not 1.2.3"]


def test_a_module_of_another_version_is_refused(checkout: Path) -> None:
    pom = checkout / "sdk/java/extauthz-client/pom.xml"
    pom.parent.mkdir(parents=True)
    own = "<groupId>io.extauthz</groupId>\n<artifactId>extauthz-parent</artifactId>\n<version>{}</version>"
    library = "<groupId>org.example</groupId>\n<artifactId>a</artifactId>\n<version>9</version>"
    pom.write_text(f"{own.format('1.2.3')} {library} {own.format('${project.version}')}")
    assert problems(checkout) == []

    pom.write_text(f"{own.format('1.2.3-SNAPSHOT')} {library}")
    assert problems(checkout) == [
        "sdk/java/extauthz-client/pom.xml: the version is 1.2.3-SNAPSHOT, not 1.2.3"
    ]


def test_the_sections_of_the_changelog_have_dates_and_descend() -> None:
    written = sections((ROOT / "CHANGELOG.md").read_text("utf-8"))
    released = [tuple(map(int, each.split("."))) for each in written if each != "Unreleased"]
    assert released == sorted(released, reverse=True)
    assert all(date for name, (date, _) in written.items() if name != "Unreleased")


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


@pytest.mark.parametrize("workflow", [pytest.param(each, id=each.name) for each in WORKFLOWS])
def test_workflows_pin_actions_by_commit_and_begin_without_permissions(workflow: Path) -> None:
    text = workflow.read_text("utf-8")
    used = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert used
    assert [each for each in used if not _PINNED.fullmatch(each)] == []
    assert yaml.safe_load(text)["permissions"] == {}
    for job in yaml.safe_load(text)["jobs"].values():
        assert "permissions" in job
        assert "timeout-minutes" in job


def test_the_jobs_of_ci_do_everything_that_the_script_does() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    wanted = {
        each.split(" TESTED=")[0] for each in re.findall(r"^step ((?:make|\.venv).*)$", script, re.MULTILINE)
    }
    commands = {step.get("run", "") for step in steps(ROOT / ".github/workflows/ci.yml")}
    assert wanted - commands == set()
    assert {"make coverage", "make docs"} <= commands


def test_a_soak_can_be_started_with_a_number_of_seconds() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/soak.yml").read_text("utf-8"))
    (inputs,) = workflow[True].values()  # YAML 1.1 reads the member `on` as a boolean
    assert inputs["inputs"]["seconds"]["default"] == 300
    (step,) = [each for each in steps(ROOT / ".github/workflows/soak.yml") if each.get("run") == "make soak"]
    assert step["env"]["SOAK_S"] == "${{ inputs.seconds }}"


def test_updates_are_proposed_for_every_manifest_of_dependencies() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    covered = {(each["package-ecosystem"], each["directory"]) for each in updates}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    manifests = {
        (_ECOSYSTEMS[path.name], "/" + str(path.parent).removeprefix("."))
        for path in map(Path, listed.splitlines())
        # A module of Maven is read with its parent.
        if path.name in _ECOSYSTEMS and not (ROOT / path.parent.parent / path.name).exists()
    }
    assert manifests - covered == set()


def test_only_the_jobs_of_a_release_that_sign_or_publish_may_write() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    writing = {
        name: {right for right, value in job["permissions"].items() if value == "write"}
        for name, job in jobs.items()
    }
    assert writing == {
        "test": set(),
        "build": {"id-token", "attestations"},
        "image": {"packages"},
        "image-index": {"packages", "id-token", "attestations"},
        "publish": {"id-token"},
        "announce": {"contents"},
    }
    assert jobs["publish"]["environment"] == "pypi"


@pytest.mark.parametrize(
    "command", [["zizmor", "--offline", "--quiet", ".github"], ["actionlint"]], ids=["zizmor", "actionlint"]
)
def test_linters_report_no_finding_in_the_workflows(command: list[str]) -> None:
    found = shutil.which(command[0])
    if found is None:
        pytest.skip(f"{command[0]} is not on PATH; the workflows run it")
    done = subprocess.run(
        [found, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_of_commits_have_the_versions_of_the_lock() -> None:
    locked = {
        each["name"]: each.get("version")
        for each in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    }
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    pinned = {
        each["hooks"][0]["id"].partition("-")[0]: each["rev"] for each in hooks if each["repo"] != "local"
    }
    assert pinned == {name: f"v{locked[name]}" for name in ("ruff", "codespell", "zizmor")}

"""Checkov over the image and the manifests: nothing but what deploy/checkov.yaml sets aside, with reasons."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.packaging.kustomization import build

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "deploy" / "checkov.yaml"
OVERLAYS = ("sidecar", "shared", "control-plane")


@pytest.fixture(scope="module")
def checkov(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkov in an environment of its own: its hundred dependencies would hold ours back."""
    folder = tmp_path_factory.mktemp("checkov")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pins = Path(__file__).with_name("checkov.txt")
    subprocess.run([*pip, "--no-deps", "--requirement", str(pins)], check=True)
    return folder / "bin" / "checkov"


def failed(checkov: Path, file: Path, folder: Path) -> tuple[int, list[str]]:
    """Return how many checks passed, and what failed."""
    done = subprocess.run(
        [checkov, "--config-file", SETTINGS, "--file", file, "--output", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    reports = found if isinstance(found, list) else [found]
    checks = [each for report in reports for each in report["results"]["failed_checks"]]
    passed = sum(report["summary"]["passed"] for report in reports)
    return passed, [f"{each['check_id']} {each['check_name']}: {each['resource']}" for each in checks]


@pytest.mark.installs
@pytest.mark.timeout(600)
def test_checkov_reports_no_other_finding(checkov: Path, tmp_path: Path) -> None:
    files = [ROOT / "Dockerfile"]
    for name in OVERLAYS:
        files.append(tmp_path / f"{name}.yaml")
        objects = build(ROOT / "deploy" / "kubernetes" / "overlays" / name)
        files[-1].write_text(yaml.safe_dump_all(objects), encoding="utf-8")

    for file in files:
        passed, problems = failed(checkov, file, tmp_path)
        assert problems == [], file.name
        assert passed > 50, file.name


def test_every_skipped_checkov_rule_has_a_reason() -> None:
    lines = SETTINGS.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r" +- CKV", line):
            assert lines[number - 1].strip().startswith("# "), line

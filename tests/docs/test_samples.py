"""Every sample in README and docs works as its page states."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.compile.documents.casbin_lines import read_csv
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import PolicySet
from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.provider_documents import ProviderDefaults, read_providers
from tests.docs.samples import LANGUAGES, ROOT, Sample, agrees, commands, links, pages, samples

SAMPLES = list(samples())
NODE_TYPES = {"AND", "OR", "NOT", "ALWAYS", "CONDITION"}


def of_language(*languages: str) -> list[Any]:
    return [pytest.param(sample, id=str(sample)) for sample in SAMPLES if sample.language in languages]


def is_of_providers(parameter: Any) -> bool:
    """Tell whether a sample is a file of IDENTITY_PROVIDERS."""
    (sample,) = parameter.values
    return str(sample.text).startswith("providers:")


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()])
def test_links_lead_to_files(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]

    assert missing == []


def test_every_block_has_a_language_that_the_tests_know() -> None:
    assert [str(sample) for sample in SAMPLES if sample.language not in LANGUAGES] == []


@pytest.mark.parametrize("sample", of_language("csv"))
def test_casbin_samples_are_lines_of_its_csv(sample: Sample) -> None:
    lines, problems = read_csv(sample.text)
    assert lines
    assert problems == []


@pytest.mark.parametrize(
    "sample", [each for each in of_language("yaml", "json") if not is_of_providers(each)]
)
def test_policy_samples_compile(sample: Sample) -> None:
    document = json.loads(sample.text) if sample.language == "json" else yaml.safe_load(sample.text)
    for policies in policy_documents(document):
        parsed = parse_policy_set(policies, Reading())
        assert isinstance(parsed, PolicySet), parsed
        compiled = build("default", 1, parsed, RoleModel())
        assert isinstance(compiled, Snapshot), compiled


@pytest.mark.parametrize("sample", [each for each in of_language("yaml") if is_of_providers(each)])
def test_provider_samples_are_read(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the sidecar's own")
    for provider in yaml.safe_load(sample.text)["providers"]:
        secret = provider.get("introspection", {}).get("client_secret_file")
        if secret is not None:
            (tmp_path / secret).write_text("secret")
    defaults = ProviderDefaults(TenancyMode.SELFHOST, "roles", "dom", "adm", frozenset(), frozenset())
    found = read_providers(sample.text.encode(), defaults, tmp_path)
    assert isinstance(found, tuple), found


@pytest.mark.parametrize("sample", of_language("python"))
def test_python_samples_are_programs_that_a_test_runs(sample: Sample) -> None:
    compile(sample.text, str(sample), "exec")
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(f'sample.title == "{sample.title}"' in path.read_text("utf-8") for path in tests), sample


def policy_documents(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a block shows as whole documents: a policy file, a condition tree, or decision cases."""
    if document.get("type") in NODE_TYPES:
        policy = {"id": "it", "name": "It", "resource": "*", "effect": "allow", "rule_data": document}
        return [{"attribute_policies": [policy]}]
    if "cases" in document:
        return [document["policies"]]
    return [document]


def console_pages() -> list[Any]:
    shown = {sample.page for sample in SAMPLES if sample.language == "console"}
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in sorted(shown)]


@pytest.mark.parametrize("page", console_pages())
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    own = [sample for sample in SAMPLES if sample.page == page]
    for sample in own:
        if sample.title is not None:
            (tmp_path / sample.title).write_text(sample.text, encoding="utf-8")
    for sample in own:
        for command in commands(sample) if sample.language == "console" else []:
            if command.words[0] == "make":
                # The target exists; running it is what these tests are part of.
                run(["make", "--dry-run", *command.words[1:]], ROOT)
            else:
                assert agrees(command.shown, run(command.words, tmp_path)), f"{sample}: {command.words}"


def run(words: list[str], folder: Path) -> list[str]:
    """Run a command as a reader would after `make install`; it must succeed."""
    environ = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        words,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout.splitlines()

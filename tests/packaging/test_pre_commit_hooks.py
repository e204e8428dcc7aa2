"""The hooks for pre-commit run commands of this version, and fail and pass as a commit needs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import run_extauthz
from tests.docs.samples import ROOT

HOOKS: dict[str, Any] = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
}
CASES = """\
cases:
  - name: finance reads
    principal: {id: alice, roles: [finance]}
    request: {resource: "invoice:read", action: read}
    expect: {decision: allow}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose policies are in order."""
    (tmp_path / "policies").mkdir()
    rule = "{id: a, sub: finance, dom: '*', obj: 'invoice:read', act: read, effect: allow}"
    (tmp_path / "policies" / "rules.yaml").write_text(
        f"resources:\n- {{name: 'invoice:read', serviceName: billing}}\nrole_rules:\n- {rule}\n"
    )
    (tmp_path / "policies" / "cases.yaml").write_text(CASES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str) -> int:
    """Run what pre-commit runs: the entry and the arguments; the names of files are not passed."""
    hook = HOOKS[name]
    assert hook["pass_filenames"] is False
    assert hook["language"] == "python"
    words: list[str] = hook["entry"].split() + hook["args"]
    assert words[0] == "extauthz"
    return run_extauthz(*words[1:]).returncode


def test_there_is_a_hook_for_each_check() -> None:
    assert set(HOOKS) == {"extauthz-fmt", "extauthz-validate", "extauthz-test"}


def test_hooks_pass_for_policies_in_order_and_format_once(repository: Path) -> None:
    before = (repository / "policies" / "rules.yaml").read_text()
    assert [run(name) for name in HOOKS] == [0, 0, 0]
    after = (repository / "policies" / "rules.yaml").read_text()
    # pre-commit fails a hook that changed a file.
    assert after != before
    assert run("extauthz-fmt") == 0
    assert (repository / "policies" / "rules.yaml").read_text() == after


def test_hooks_fail_for_policies_that_are_not(repository: Path) -> None:
    (repository / "policies" / "cases.yaml").write_text(CASES.replace("allow", "deny"))
    assert run("extauthz-test") == 1
    (repository / "policies" / "rules.yaml").write_text("role_rules: [{id: a}]\n")
    assert run("extauthz-validate") == 1
    (repository / "policies" / "rules.yaml").write_text("role_rules: [\n")
    assert run("extauthz-fmt") == 2

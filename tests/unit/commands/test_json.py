"""`--json` of every command, in the form of docs/commands.md."""

import json
import os
import re
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.shipped import shipped
from tests.command_line import run_extauthz
from tests.docs.samples import ROOT
from tests.unit.commands.test_help import COMMANDS

PAGE = (ROOT / "docs/commands.md").read_text("utf-8")
KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
MODEL = str(shipped("policies/model.conf"))
CASES = str(ROOT / "tests/cases/routes.yaml")
POLICIES = str(shipped("policies"))
PROVIDERS = {
    "AUTH_SERVER_URL": "http://127.0.0.1:9",
    "OIDC_AUDIENCE": "any",
    "JWKS_ALLOW_HOSTS": "127.0.0.1:9",
}


@dataclass(frozen=True)
class Run:
    """A run of a command, and what it answers: its status, and the members of its object."""

    arguments: str
    status: int
    members: str
    environ: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    lines: int = 0
    """Where each line is an object: how many there are."""


RUNS = {
    "health": Run("--url http://127.0.0.1:9/", 1, "ok problem"),
    "token verify": Run(f"--jwks {os.devnull}", 0, "valid reason claims", stdin=b"a\nb\n", lines=2),
    "token explain": Run("", 1, "ok steps accepted reason principal", PROVIDERS, b"x"),
    "path canonical": Run("", 0, "path", stdin=b"/a\n/b\n", lines=2),
    "casbin enforce": Run(
        f"--model {MODEL} --policy {os.devnull}", 0, "allowed error", stdin=b"[]\n[1]\n", lines=2
    ),
    "policy validate": Run(POLICIES, 0, "ok valid files objects cases problems warnings"),
    "policy fmt": Run(f"{POLICIES} --check", 0, "ok files changed problems"),
    "policy import": Run(
        f"--from casbin --model {ROOT / 'tests/unit/importing/basic_model.conf'} --policy {os.devnull}",
        0,
        "ok from imported objects not_taken notes settings policies",
    ),
    "policy test": Run(CASES, 0, "ok passed complete total failed cases"),
    "snapshot public-key": Run("", 0, "ok public_key", {"POLICY_SIGNING_KEY": KEY}),
    "doctor": Run(str(shipped("envoy/bootstrap.yaml")), 0, "ok examined counts findings"),
    "logs verify": Run(os.devnull, 0, "ok lines decisions"),
}
ELSEWHERE = {
    "migrate": "tests/integration/test_database_processes.py",
    "snapshot publish": "tests/integration/test_published_keys_of_tenants.py",
    "policy review": "tests/unit/commands/test_policy_review.py",
    "policy replay": "tests/unit/commands/test_policy_replay.py",
    "policy export": "tests/integration/test_policy_apply.py",
    "policy apply": "tests/integration/test_policy_apply.py",
    "mcp import": "tests/e2e/test_mcp.py",
}
"""The tests of commands that need more than arguments: a file that runs them with `--json`."""


def table(after: str) -> dict[str, str]:
    """Return the table that follows a line of the page: each command that a row names, and the row."""
    rows = PAGE.partition(after)[2].strip().partition("\n\n")[0].splitlines()[2:]
    cells = [row.strip("| ").split(" | ", 1) for row in rows]
    return {name: value for names, value in cells for name in re.findall(r"`([^`]+)`", names)}


def takes_json(command: str) -> bool:
    return "--json" in COMMANDS[command].format_usage()


def test_every_command_has_json_or_the_page_says_why_not() -> None:
    without = table("These have no `--json`:\n")
    assert set(without) == {command for command in COMMANDS if not takes_json(command)}
    assert all(without.values())


def test_the_page_lists_the_members_of_every_command_with_json() -> None:
    listed = {re.sub(" --.*", "", name) for name in table("The members of all:\n")}
    assert listed == {command for command in COMMANDS if takes_json(command)}


def test_every_command_with_json_is_run_by_a_test() -> None:
    assert RUNS.keys() | ELSEWHERE.keys() == {command for command in COMMANDS if takes_json(command)}
    for file in ELSEWHERE.values():
        assert '"--json"' in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("command", RUNS)
def test_the_answer_is_one_object_or_one_for_each_line(command: str) -> None:
    run = RUNS[command]
    said = run_extauthz(
        *command.split(), *run.arguments.split(), "--json", environ=run.environ, stdin=run.stdin
    )
    assert said.returncode == run.status
    assert said.stdout.endswith("\n")
    documents = (
        [json.loads(line) for line in said.stdout.splitlines()] if run.lines else [json.loads(said.stdout)]
    )
    assert len(documents) == max(run.lines, 1)
    for document in documents:
        assert " ".join(document).startswith(run.members)
        if not run.lines:
            assert next(iter(document)) == "ok"
            assert document["ok"] is (said.returncode == 0)


@pytest.mark.parametrize("command", [command for command in COMMANDS if takes_json(command)])
def test_wrong_arguments_leave_the_output_empty(command: str) -> None:
    said = run_extauthz(*command.split(), "--json", "--none-of-these")
    assert (said.returncode, said.stdout) == (2, "")

"""The help of every command: its variables, exit statuses and page agree with the code and the pages."""

import argparse
import re
import traceback
from collections.abc import Iterator, Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.commands import policy_folder, policy_replay
from extauthz.commands.arguments import GROUPS, command_parser
from extauthz.commands.arguments.environment import CLIENT, CLIENTS, EVERY_SETTING
from extauthz.commands.arguments.parser import CommandParser
from extauthz.settings import Settings, variables
from tests.command_line import run_extauthz
from tests.docs.samples import ROOT

SETTINGS = {each.name for each in variables().values()}


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, CommandParser]]:
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for action in below:
        for inner in action.choices.values():
            yield from leaves(inner)
    if not below:
        assert isinstance(parser, CommandParser)
        yield parser.prog.removeprefix("extauthz "), parser


COMMANDS = dict(leaves(command_parser()))
EVERY_COMMAND = pytest.mark.parametrize("command", COMMANDS)


@EVERY_COMMAND
def test_help_names_the_page_the_statuses_and_every_variable(command: str) -> None:
    parser = COMMANDS[command]
    said = run_extauthz(*command.split(), "--help", environ={"COLUMNS": "80"})
    assert (said.returncode, said.stderr) == (0, "")
    assert parser.page is not None
    assert (ROOT / parser.page).is_file()
    assert f"\ndocumentation: {parser.page}, docs/commands.md\n" in said.stdout
    assert re.findall(r"^  ([012]) {10}", said.stdout, re.MULTILINE) == ["0", "1", "2"]
    assert parser.failed
    environment = said.stdout.partition("\nenvironment:")[2].partition("\nexit status:")[0]
    names = sorted(SETTINGS) if parser.variables == EVERY_SETTING else sorted(parser.variables)
    assert sorted(re.findall(r"^  ([A-Z][A-Z0-9_]+)(?: |$)", environment, re.MULTILINE)) == names
    assert all(len(line) <= 80 for line in environment.splitlines())


@EVERY_COMMAND
def test_variables_of_the_help_exist_and_are_documented(command: str) -> None:
    configuration = (ROOT / "docs/configuration.md").read_text("utf-8")
    client = (ROOT / "docs/client.md").read_text("utf-8")
    for name in COMMANDS[command].variables:
        if name in CLIENTS:
            page = client if name in CLIENT else (ROOT / "docs/mcp.md").read_text("utf-8")
            assert f"`{name}`" in page
        elif name != EVERY_SETTING[0]:
            assert f"\n| `{name}` |" in configuration


@pytest.mark.parametrize("group", ["", *sorted({each.split()[0] for each in COMMANDS if " " in each})])
def test_help_of_a_group_says_what_is_below_it_and_where_all_is_explained(group: str) -> None:
    said = run_extauthz(*group.split(), "--help").stdout
    assert said.endswith("\ndocumentation: docs/commands.md\n")
    for command in COMMANDS:
        first, _, second = command.partition(" ")
        if not group or group == first:
            assert re.search(rf"^    {second if group else first}(?: |$)", said, re.MULTILINE)


def test_help_lists_the_commands_in_the_order_of_the_groups() -> None:
    said = run_extauthz("--help").stdout
    assert re.findall(r"^    ([a-z-]+)", said, re.MULTILINE) == list(GROUPS)


SIGNING_KEY = (
    Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
READING = [
    ["envoy-config"],
    ["envoy-config", "--transport", "http"],
    ["envoy-config", "--for", "istio"],
    ["migrate"],
    ["migrate", "--status"],
    ["snapshot", "public-key"],
    ["token", "explain"],
]


def test_variables_of_commands_on_folders_are_those_that_they_take_from_the_environment() -> None:
    assert set(COMMANDS["policy replay"].variables) == set(policy_replay._SETTINGS)
    assert set(COMMANDS["policy test"].variables) == set(policy_folder.SETTINGS)


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_reads_no_setting_that_its_help_does_not_name(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All settings are validated together; this is about those that a command then uses."""
    fields = {name: variable.name for name, variable in variables().items()}
    used: set[str] = set()

    def read(self: Settings, name: str) -> object:
        # Validation compares all settings with each other.
        if not any(frame.name == "load_settings" for frame in traceback.extract_stack(limit=8)):
            used.add(fields.get(name, ""))
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Settings, "__getattribute__", read)
    environ = {
        "AUTH_SERVER_URL": "http://127.0.0.1:9",
        "OIDC_AUDIENCE": "any",
        "JWKS_ALLOW_HOSTS": "127.0.0.1:9",
        "POSTGRES_PORT": "9",
        "HTTP_AUTHZ_PORT": "9292",
        "POLICY_SIGNING_KEY": SIGNING_KEY,
    }
    run_extauthz(*arguments, environ=environ, stdin=b"x")
    monkeypatch.undo()
    command = next(name for name in COMMANDS if " ".join(arguments).startswith(name))
    used.discard("")
    assert used
    assert used <= set(COMMANDS[command].variables)

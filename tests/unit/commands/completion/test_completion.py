"""`extauthz completion`: the scripts in the shells themselves."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from extauthz.commands.arguments import command_parser
from extauthz.commands.completion.words import CommandWords, ValueKind, words_of
from tests.command_line import run_extauthz
from tests.completing_shells import bash_offers, fish_offers, zsh_offers

Offers = Callable[[str, Sequence[str], Path], list[set[str]]]
COMMANDS = words_of(command_parser())
SHELLS = pytest.mark.parametrize(
    ("shell", "offers"), [("bash", bash_offers), ("zsh", zsh_offers), ("fish", fish_offers)]
)


def script(shell: str) -> str:
    printed = run_extauthz("completion", shell)
    assert (printed.returncode, printed.stderr) == (0, "")
    return printed.stdout


def line(command: CommandWords, *words: str) -> str:
    return " ".join(["extauthz", *command.path, *words])


@SHELLS
def test_every_command_option_and_choice_is_offered(shell: str, offers: Offers, tmp_path: Path) -> None:
    expected: dict[str, set[str]] = {}
    for command in COMMANDS:
        if command.commands:
            expected[line(command, "")] = {name for name, _ in command.commands}
        options = {name for option in command.options for name in option.names if name.startswith("--")}
        # zsh offers no second --help after another option, and the like: only the first word is compared.
        expected[line(command, "--")] = options
        for argument in (*command.options, *command.arguments[:1]):
            if argument.choices:
                expected[line(command, *argument.names[-1:], "")] = set(argument.choices)
    assert len(expected) > 30
    found = dict(zip(expected, offers(script(shell), list(expected), tmp_path), strict=True))
    assert {given: words - {"-h"} for given, words in found.items()} == expected


@SHELLS
def test_files_and_folders_are_offered_where_they_are_values(
    shell: str, offers: Offers, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    (work / "made folder").mkdir(parents=True)
    (work / "made.yaml").touch()
    expected: dict[str, set[str]] = {}
    for command in COMMANDS:
        for argument in (*command.options, *command.arguments[:1]):
            given = line(command, *argument.names[-1:], "made")
            if argument.value is ValueKind.FILE:
                expected[given] = {"made folder", "made.yaml"}
            elif argument.value is ValueKind.FOLDER:
                expected[given] = {"made folder"}
            elif argument.value is ValueKind.TEXT and argument.names:
                expected[given] = set()
    assert {frozenset(each) for each in expected.values()} == {
        frozenset(), frozenset({"made folder"}), frozenset({"made folder", "made.yaml"})
    }  # fmt: skip
    (tmp_path / "shell").mkdir()
    found = dict(zip(expected, offers(script(shell), list(expected), work), strict=True))
    shown = {given: {each.replace("\\", "").rstrip("/") for each in words} for given, words in found.items()}
    assert shown == expected


@SHELLS
def test_values_after_an_equals_sign_and_wrong_words(shell: str, offers: Offers, tmp_path: Path) -> None:
    lines = ["extauthz envoy-config --for=is", "extauthz nothing ", "extauthz policy nothing ", "extauthz po"]
    found = offers(script(shell), lines, tmp_path)
    assert [{each.rpartition("=")[2] for each in words} for words in found] == [
        {"istio"}, set(), set(), {"policy"}
    ]  # fmt: skip

"""What can follow each command on the command line, read from the parsers."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class ValueKind(Enum):
    """What a value is, if it is not one of a list."""

    NONE = "none"
    """An option without a value."""
    TEXT = "text"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or an argument without a name (`names` is empty then)."""

    names: tuple[str, ...]
    meaning: str
    value: ValueKind
    choices: tuple[str, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class CommandWords:
    """A command: the words that call it, the commands below it, its options, its other arguments."""

    path: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    options: tuple[Argument, ...]
    arguments: tuple[Argument, ...]


def words_of(parser: argparse.ArgumentParser) -> list[CommandWords]:
    """Return every command, the parents first; the first one is `extauthz` itself, whose path is empty."""
    return list(_below(parser, ()))


def _below(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[CommandWords]:
    # argparse has no public list of a parser's arguments.
    actions = parser._actions
    groups = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    arguments = [_argument(action) for action in actions if action not in groups]
    yield CommandWords(
        path,
        tuple((each.dest, each.help or "") for group in groups for each in group._get_subactions()),
        tuple(each for each in arguments if each.names),
        tuple(each for each in arguments if not each.names),
    )
    for group in groups:
        for name, inner in group.choices.items():
            yield from _below(inner, (*path, name))


def _argument(action: argparse.Action) -> Argument:
    shown = action.metavar if isinstance(action.metavar, str) else ""
    value = ValueKind.TEXT
    if action.nargs == 0:
        value = ValueKind.NONE
    elif action.type is Path:
        value = ValueKind.FOLDER if shown.startswith("DIR") else ValueKind.FILE
    return Argument(
        tuple(action.option_strings),
        action.help or "",
        value,
        tuple(map(str, action.choices or ())),
        repeated=action.nargs in {"*", "+"} or isinstance(action, argparse._AppendAction),
    )

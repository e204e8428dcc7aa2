"""The arguments of `extauthz completion`."""

import argparse
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import command

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    completion = command(
        commands, "completion", "print a script that completes commands in a shell", page="docs/commands.md"
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_completion)


def _completion(parsed: argparse.Namespace) -> int:
    from extauthz.commands.arguments import command_parser
    from extauthz.commands.completion import command as completion

    return completion.run(parsed.shell, command_parser())

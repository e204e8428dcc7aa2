"""The parser of a command, and the place of the commands below it."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from extauthz.commands.status import BAD_USAGE
from extauthz.domain.one_line import one_line

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
    """Where commands are added."""


class Parser(argparse.ArgumentParser):
    """A parser whose error is one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        self.exit(BAD_USAGE, f"{self.prog}: {one_line(message)}; see '{self.prog} --help'\n")


def subcommands(parser: Parser) -> "Commands":
    """Return where a parser's commands are added. Without a command it prints its help: BAD_USAGE."""

    def without_command(_: argparse.Namespace) -> int:
        parser.print_help()
        print(f"{parser.prog}: a command is missing; see '{parser.prog} --help'", file=sys.stderr)
        return BAD_USAGE

    parser.set_defaults(run=without_command)
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)

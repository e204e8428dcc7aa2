"""The parser of a command, its help, and the place of the commands below it."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from extauthz.commands.status import BAD_USAGE
from extauthz.domain.one_line import one_line

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
    """Where commands are added."""

ALREADY_JSON: Final = "changes nothing: every line is JSON"


class CommandParser(argparse.ArgumentParser):
    """A parser whose error is one line, and whose help names variables, exit statuses and a page."""

    page: str | None = None
    """The page of the documentation; None: a group of commands."""
    variables: Sequence[str] = ()
    """The environment variables that the command reads."""
    failed: str = ""
    """What exit status 1 says."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """As ArgumentParser. What is parsed has the parser of its command as `parser`."""
        super().__init__(*given, **named)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit."""
        self.exit(BAD_USAGE, f"{self.prog}: {one_line(message)}; see '{self.prog} --help'\n")

    def format_help(self) -> str:
        """Return the help, with the variables, the exit statuses and the page of a command."""
        from extauthz.commands.arguments.help_sections import sections

        return super().format_help() + sections(self.page, self.variables, self.failed)


def command(
    commands: "Commands",
    name: str,
    meaning: str,
    *,
    page: str,
    variables: Sequence[str] = (),
    failed: str = "the command failed; stderr says why",
) -> CommandParser:
    """Add a command; `meaning` is a line of the help, the rest is what `CommandParser` has."""
    parser = commands.add_parser(name, help=meaning, description=_sentence(meaning))
    parser.page, parser.variables, parser.failed = page, variables, failed
    return parser


def add_json(parser: argparse.ArgumentParser, meaning: str = "print one JSON object") -> None:
    """Add `--json`; docs/commands.md has its form."""
    parser.add_argument("--json", action="store_true", help=meaning)


def group(commands: "Commands", name: str, meaning: str) -> "Commands":
    """Add a group of commands; return where they are added."""
    return subcommands(commands.add_parser(name, help=meaning, description=_sentence(meaning)))


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def subcommands(parser: CommandParser) -> "Commands":
    """Return where a parser's commands are added. Without a command it prints its help: BAD_USAGE."""

    def without_command(_: argparse.Namespace) -> int:
        parser.print_help()
        print(f"{parser.prog}: a command is missing; see '{parser.prog} --help'", file=sys.stderr)
        return BAD_USAGE

    parser.set_defaults(run=without_command)
    return parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=CommandParser)

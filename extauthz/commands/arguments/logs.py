"""The arguments of `extauthz logs`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import subcommands

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    logs = subcommands(commands.add_parser("logs", help="read decision logs"))
    verify = logs.add_parser("verify", help="count lines, gaps and schema errors")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.set_defaults(run=_verify)


def _verify(parsed: argparse.Namespace) -> int:
    from extauthz.commands import logs_verify

    return logs_verify.run(parsed.file)

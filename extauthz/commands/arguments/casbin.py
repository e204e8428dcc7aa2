"""The arguments of `extauthz casbin`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import subcommands

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    casbin = subcommands(commands.add_parser("casbin", help="try Casbin policies"))
    enforce = casbin.add_parser("enforce", help="one request, a JSON array, per line in; true or false out")
    enforce.add_argument("--model", type=Path, required=True, metavar="F", help="any Casbin model")
    enforce.add_argument("--policy", type=Path, required=True, metavar="F", help="its policy, CSV")
    enforce.set_defaults(run=_enforce, self_check="casbin")


def _enforce(parsed: argparse.Namespace) -> int:
    from extauthz.commands import casbin_enforce

    return casbin_enforce.run(parsed.model, parsed.policy)

"""The arguments of `extauthz casbin`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import add_json, command, group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    casbin = group(commands, "casbin", "try Casbin policies")
    enforce = command(
        casbin,
        "enforce",
        "one request, a JSON array, per line in; true or false out",
        page="docs/reference/contract.md",
    )
    enforce.add_argument("--model", type=Path, required=True, metavar="F", help="any Casbin model")
    enforce.add_argument("--policy", type=Path, required=True, metavar="F", help="its policy, CSV")
    add_json(enforce, "print one JSON object for each line")
    enforce.set_defaults(run=_enforce, self_check="casbin")


def _enforce(parsed: argparse.Namespace) -> int:
    from extauthz.commands import casbin_enforce

    return casbin_enforce.run(parsed.model, parsed.policy, as_json=parsed.json)

"""The arguments of `extauthz path`."""

import argparse
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import subcommands

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    path = subcommands(commands.add_parser("path", help="judge paths"))
    canonical = path.add_parser("canonical", help="one raw path per line in, one JSON verdict per line out")
    canonical.set_defaults(run=_canonical, self_check="paths")


def _canonical(_: argparse.Namespace) -> int:
    from extauthz.commands import path_canonical

    return path_canonical.run()

"""The arguments of `extauthz path`."""

import argparse
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import ALREADY_JSON, add_json, command, group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    path = group(commands, "path", "judge paths")
    canonical = command(
        path, "canonical", "one raw path per line in, one JSON verdict per line out", page="docs/security.md"
    )
    add_json(canonical, ALREADY_JSON)
    canonical.set_defaults(run=_canonical, self_check="paths")


def _canonical(_: argparse.Namespace) -> int:
    from extauthz.commands import path_canonical

    return path_canonical.run()

"""The arguments of `extauthz policy export`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import REST
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    export = command(
        policy,
        "export",
        "write the live policies as a folder",
        page="docs/folders.md",
        variables=REST,
        failed="the server refuses, or does not answer",
    )
    export.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder that is empty, new, or that an export wrote"
    )
    add_json(export)
    export.set_defaults(run=_export, self_check="everything")


def _export(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_export

    return policy_export.run(os.environ, parsed.folder, as_json=parsed.json)

"""The arguments of `extauthz policy validate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import FOLDER
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    validate = command(
        policy,
        "validate",
        "every problem of a folder of policies and cases",
        page="docs/folders.md",
        variables=FOLDER,
        failed="the folder has a problem",
    )
    validate.add_argument("folder", type=Path, metavar="DIR")
    add_json(validate)
    validate.set_defaults(run=_validate, self_check="everything")


def _validate(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_validate

    return policy_validate.run(os.environ, parsed.folder, as_json=parsed.json)

"""The arguments of `extauthz policy validate`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    validate = policy.add_parser("validate", help="every problem of a folder of policies and cases")
    validate.add_argument("folder", type=Path, metavar="DIR")
    validate.add_argument("--json", action="store_true", help="print JSON")
    validate.set_defaults(run=_validate, self_check="everything")


def _validate(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_validate

    return policy_validate.run(os.environ, parsed.folder, as_json=parsed.json)

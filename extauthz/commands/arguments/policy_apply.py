"""The arguments of `extauthz policy apply`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import FOLDER, REST
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    apply = command(
        policy,
        "apply",
        "make the live policies those of a folder, in one revision",
        page="docs/folders.md",
        variables=(*REST, *FOLDER),
        failed="nothing was applied, and stderr says why; with --dry-run: there are differences",
    )
    apply.add_argument("folder", type=Path, metavar="DIR", help="a folder of policies")
    apply.add_argument("--prune", action="store_true", help="delete live rows that the folder does not have")
    instead = apply.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="only show the plan: 0 no difference, 1 differences, 2 an error",
    )
    instead.add_argument("--draft", action="store_true", help="leave an open draft instead of publishing")
    add_json(apply)
    apply.set_defaults(run=_apply, self_check="everything")


def _apply(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_apply

    given = policy_apply.ApplyArguments(
        folder=parsed.folder,
        dry_run=parsed.dry_run,
        prune=parsed.prune,
        draft=parsed.draft,
        as_json=parsed.json,
    )
    return policy_apply.run(os.environ, given)

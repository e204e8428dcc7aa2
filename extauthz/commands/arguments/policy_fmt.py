"""The arguments of `extauthz policy fmt`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    fmt = command(
        policy,
        "fmt",
        "bring the text of policies and cases into one form",
        page="docs/folders.md",
        failed="a file is left as it is; with --check or --diff: a file would change",
    )
    fmt.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR")
    only = fmt.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="write nothing; fail where a file would change")
    only.add_argument("--diff", action="store_true", help="the same, and print what would change")
    add_json(fmt)
    fmt.set_defaults(run=_fmt)


def _fmt(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_fmt

    given = policy_fmt.FormatArguments(
        paths=tuple(parsed.paths), check=parsed.check, diff=parsed.diff, as_json=parsed.json
    )
    return policy_fmt.run(given)

"""The arguments of `extauthz policy test`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    test = policy.add_parser("test", help="run decision cases")
    test.add_argument("files", nargs="+", type=Path, metavar="FILE")
    test.set_defaults(run=_test, self_check="everything")


def _test(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_test

    return policy_test.run(parsed.files)

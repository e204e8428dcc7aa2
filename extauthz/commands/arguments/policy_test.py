"""The arguments of `extauthz policy test`."""

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
    test = command(
        policy,
        "test",
        "run decision cases, of files or of folders of policies and cases",
        page="docs/policy-tests.md",
        variables=FOLDER,
        failed="a case is decided in another way than it expects",
    )
    test.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR")
    test.add_argument("--watch", action="store_true", help="run again after each change, until Ctrl-C")
    test.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML, too")
    add_json(test)
    test.set_defaults(run=_test, self_check="everything")


def _test(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_test

    given = policy_test.TestArguments(
        paths=tuple(parsed.paths), watch=parsed.watch, junit=parsed.junit, as_json=parsed.json
    )
    return policy_test.run(os.environ, given)

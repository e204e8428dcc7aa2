"""The arguments of `extauthz policy replay`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import JUDGING
from extauthz.commands.arguments.parser import add_json, command
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    replay = command(
        policy,
        "replay",
        "what a draft changes for the requests of a decision log",
        page="docs/replay.md",
        variables=JUDGING,
        failed="more requests would be newly allowed than --max-newly-allowed",
    )
    replay.add_argument("--log", type=Path, required=True, metavar="FILE", help="a decision log")
    replay.add_argument(
        "--policies", type=Path, required=True, metavar="DIR", help="the policies that were in force"
    )
    replay.add_argument("--draft", type=Path, required=True, metavar="DIR", help="the policies to try")
    replay.add_argument(
        "--max-newly-allowed", type=int, metavar="N", help="fail above N newly allowed requests"
    )
    replay.add_argument("--tenant", metavar="T", default="default", help="whose lines are judged (default)")
    replay.add_argument(
        "--masked", action="append", default=[], metavar="FIELD", help="a field whose values are masked"
    )
    add_json(replay)
    replay.set_defaults(run=_replay, self_check="everything")


def _replay(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_replay

    given = policy_replay.ReplayArguments(
        log=parsed.log,
        policies=parsed.policies,
        draft=parsed.draft,
        max_newly_allowed=parsed.max_newly_allowed,
        tenant=parsed.tenant,
        masked=frozenset(parsed.masked),
        as_json=parsed.json,
    )
    return policy_replay.run(os.environ, given)

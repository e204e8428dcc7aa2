"""The arguments of `extauthz policy review`."""

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
    review = command(
        policy,
        "review",
        "what a pull request changes, as Markdown: problems, cases, differences, replay",
        page="docs/pull-requests.md",
        variables=(*JUDGING, "POLICY_MAX_BYTES"),
        failed="the folder has a problem, a case fails, or more requests would be newly allowed than may be",
    )
    review.add_argument(
        "--base", type=Path, required=True, metavar="DIR", help="the folder without the change; absent: empty"
    )
    review.add_argument("--head", type=Path, required=True, metavar="DIR", help="the folder with the change")
    review.add_argument("--name", metavar="TEXT", help="what the folder is called (default: that of --head)")
    review.add_argument("--log", type=Path, metavar="FILE", help="a decision log that is replayed")
    review.add_argument(
        "--max-newly-allowed", type=int, metavar="N", help="fail above N newly allowed requests of the log"
    )
    review.add_argument("--tenant", metavar="T", default="default", help="whose lines are judged (default)")
    review.add_argument(
        "--masked", action="append", default=[], metavar="FIELD", help="a field whose values are masked"
    )
    review.add_argument(
        "--examples",
        action="store_true",
        help="show requests of the log; without it nothing that names a subject or a path is shown",
    )
    add_json(review, "print one JSON object in place of Markdown")
    review.set_defaults(run=_review, self_check="everything")


def _review(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import policy_review

    given = policy_review.ReviewArguments(
        base=parsed.base,
        head=parsed.head,
        name=parsed.name,
        log=parsed.log,
        max_newly_allowed=parsed.max_newly_allowed,
        tenant=parsed.tenant,
        masked=frozenset(parsed.masked),
        examples=parsed.examples,
        as_json=parsed.json,
    )
    return policy_review.run(os.environ, given)

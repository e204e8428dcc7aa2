"""The arguments of the command that the supervisor starts; the help of `extauthz` does not list it."""

import argparse
import os

from extauthz.commands.arguments.parser import CommandParser
from extauthz.commands.imports import uninterrupted


def parser() -> CommandParser:
    """Return the parser of what follows `worker`."""
    worker = CommandParser(prog="extauthz worker")
    worker.add_argument("index", type=int)
    worker.add_argument("report_fd", type=int)
    worker.add_argument("lock_fd", type=int)
    worker.add_argument("--again", action="store_true")
    worker.set_defaults(run=_worker, self_check="everything")
    return worker


def _worker(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands.serving import worker

    return worker(
        os.environ, parsed.index, report_fd=parsed.report_fd, lock_fd=parsed.lock_fd, again=parsed.again
    )

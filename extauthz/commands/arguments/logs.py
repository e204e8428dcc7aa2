"""The arguments of `extauthz logs`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import add_json, command, group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    logs = group(commands, "logs", "read decision logs")
    verify = command(
        logs,
        "verify",
        "count lines, gaps and schema errors",
        page="docs/deploy.md",
        failed="the log has a gap that no loss explains, or a schema error",
    )
    add_json(verify, "changes nothing: the counts are JSON")
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.set_defaults(run=_verify)


def _verify(parsed: argparse.Namespace) -> int:
    from extauthz.commands import logs_verify

    return logs_verify.run(parsed.file)

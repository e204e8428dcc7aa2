"""The arguments of `extauthz logs`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.commands.arguments.parser import add_json, command, group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands

_PAGE: Final = "docs/decision-log.md"


def add(commands: "Commands") -> None:
    """Add the commands."""
    logs = group(commands, "logs", "read decision logs")
    verify = command(
        logs,
        "verify",
        "count lines, gaps and schema errors, and verify hash chains",
        page=_PAGE,
        variables=("DECISION_LOG_CHAIN_KEY",),
        failed="the log has a gap that no loss explains, a schema error, or a broken chain",
    )
    add_json(verify, "changes nothing: the counts are JSON")
    verify.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="in the order of writing; - is standard input"
    )
    verify.add_argument("--chained", action="store_true", help="every line must be in a hash chain")
    verify.add_argument(
        "--key-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a further key of hash chains, in addition to DECISION_LOG_CHAIN_KEY",
    )
    verify.add_argument(
        "--after", type=Path, metavar="FILE", help="the report of this command on what precedes the log"
    )
    verify.add_argument(
        "--heads",
        type=Path,
        metavar="FILE",
        help="a report of this command, or an application log: what it says of decision logs must be there",
    )
    verify.add_argument(
        "--collected", action="store_true", help="a collector may have stored lines twice: only count those"
    )
    verify.set_defaults(run=_verify)
    convert = command(
        logs,
        "convert",
        "print lines as events of a schema that log pipelines read",
        page=_PAGE,
        failed="lines are malformed; stderr names them",
    )
    convert.add_argument("--to", required=True, choices=("ecs", "ocsf"), help="the schema of the events")
    convert.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="a decision log; - and none: standard input"
    )
    convert.set_defaults(run=_convert)
    schema = command(logs, "schema", "print the JSON Schema of a line", page=_PAGE)
    schema.set_defaults(run=_schema)


def _verify(parsed: argparse.Namespace) -> int:
    from extauthz.commands import logs_verify

    return logs_verify.run(
        os.environ,
        logs_verify.VerifyArguments(
            parsed.files, parsed.chained, parsed.key_file, parsed.after, parsed.heads, parsed.collected
        ),
    )


def _schema(_: argparse.Namespace) -> int:
    from extauthz.commands import logs_schema

    return logs_schema.run()


def _convert(parsed: argparse.Namespace) -> int:
    from extauthz.commands import logs_convert

    return logs_convert.run(parsed.to, parsed.files)

"""The arguments of `extauthz snapshot`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import subcommands

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    snapshot = subcommands(commands.add_parser("snapshot", help="sign policies for followers over HTTP"))
    publish = snapshot.add_parser("publish", help="write signed policies as files for a static server")
    publish.add_argument("folder", type=Path, metavar="DIR")
    publish.add_argument(
        "--every", type=_seconds, metavar="N", help="go on, and look for changes every N seconds"
    )
    publish.set_defaults(run=_publish)
    public_key = snapshot.add_parser("public-key", help="print the public key of POLICY_SIGNING_KEY")
    public_key.set_defaults(run=_public_key)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return value


def _publish(parsed: argparse.Namespace) -> int:
    from extauthz.commands import snapshot

    return snapshot.publish(os.environ, parsed.folder, every=parsed.every)


def _public_key(_: argparse.Namespace) -> int:
    from extauthz.commands import snapshot

    return snapshot.public_key(os.environ)

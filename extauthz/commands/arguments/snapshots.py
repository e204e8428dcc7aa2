"""The arguments of `extauthz snapshot`."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import EVERY_SETTING
from extauthz.commands.arguments.parser import add_json, command, group

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    snapshot = group(commands, "snapshot", "sign policies for followers over HTTP")
    publish = command(
        snapshot,
        "publish",
        "write signed policies as files for a static server",
        page="docs/fleet.md",
        variables=EVERY_SETTING,
        failed="the database cannot be read, or the folder cannot be written",
    )
    publish.add_argument("folder", type=Path, metavar="DIR")
    publish.add_argument(
        "--every", type=_seconds, metavar="N", help="go on, and look for changes every N seconds"
    )
    add_json(publish, "print one JSON object for each tenant that was written")
    publish.set_defaults(run=_publish)
    public_key = command(
        snapshot,
        "public-key",
        "print the public key of POLICY_SIGNING_KEY",
        page="docs/fleet.md",
        variables=("POLICY_SIGNING_KEY",),
    )
    add_json(public_key)
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

    return snapshot.publish(os.environ, parsed.folder, every=parsed.every, as_json=parsed.json)


def _public_key(parsed: argparse.Namespace) -> int:
    from extauthz.commands import snapshot

    return snapshot.public_key(os.environ, as_json=parsed.json)

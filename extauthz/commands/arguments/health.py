"""The arguments of `extauthz health`."""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    health = commands.add_parser("health", help="ask a running process whether it lives")
    health.add_argument(
        "--url", type=_http_url, metavar="URL", help="ask this instead of SIDECAR_PORT and PORT here"
    )
    health.add_argument("--ready", action="store_true", help="ask whether it is ready")
    health.set_defaults(run=_health)


def _http_url(text: str) -> str:
    from extauthz.commands.health import is_http_url

    if not is_http_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def _health(parsed: argparse.Namespace) -> int:
    from extauthz.commands import health

    return health.run(os.environ, url=parsed.url, ready=parsed.ready)

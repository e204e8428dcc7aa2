"""The arguments of `extauthz health`."""

import argparse
import os
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import add_json, command

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the command."""
    health = command(
        commands,
        "health",
        "ask a running process whether it lives",
        page="docs/deploy.md",
        variables=("HOST", "SIDECAR_PORT", "PORT", "REST_TLS_CERT"),
        failed="it does not live, is not ready or does not answer",
    )
    health.add_argument(
        "--url", type=_http_url, metavar="URL", help="ask this instead of SIDECAR_PORT and PORT here"
    )
    health.add_argument("--ready", action="store_true", help="ask whether it is ready")
    add_json(health)
    health.set_defaults(run=_health)


def _http_url(text: str) -> str:
    from extauthz.commands.health import is_http_url

    if not is_http_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def _health(parsed: argparse.Namespace) -> int:
    from extauthz.commands import health

    return health.run(os.environ, url=parsed.url, ready=parsed.ready, as_json=parsed.json)

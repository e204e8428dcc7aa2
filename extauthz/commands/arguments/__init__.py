"""The arguments of the commands: each module adds one group of commands to the parser.

`extauthz health` runs every few seconds: only the group of the command that is called is imported, and each
command imports what it runs when it runs.
"""

from importlib import import_module
from typing import Final

from extauthz import __version__
from extauthz.commands.arguments.parser import CommandParser, subcommands

GROUPS: Final = {
    "demo": "serving",
    "sidecar": "serving",
    "serve": "serving",
    "control-plane": "serving",
    "migrate": "serving",
    "health": "health",
    "token": "tokens",  # nosec B105 - the name of a module
    "path": "paths",
    "casbin": "casbin",
    "policy": "policy",
    "snapshot": "snapshots",
    "envoy-config": "proxies",
    "doctor": "proxies",
    "logs": "logs",
    "mcp": "mcp",
    "completion": "completion",
}
"""The first word of a command -> the module of this package that adds it. Help lists them in this order."""


def command_parser(first: str | None = None) -> CommandParser:
    """Return the parser of the command that begins with the word `first`; of all without such a command."""
    whole = CommandParser(prog="extauthz", description="Envoy external authorization.")
    whole.add_argument("--version", action="version", version=f"extauthz {__version__}")
    commands = subcommands(whole)
    modules = [GROUPS[first]] if first in GROUPS else dict.fromkeys(GROUPS.values())
    for module in modules:
        import_module(f"extauthz.commands.arguments.{module}").add(commands)
    return whole

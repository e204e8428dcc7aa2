"""The arguments of `extauthz mcp`."""

import argparse
import os
from typing import TYPE_CHECKING

from extauthz.commands.arguments.environment import MCP
from extauthz.commands.arguments.parser import add_json, command, group
from extauthz.commands.imports import uninterrupted

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(commands: "Commands") -> None:
    """Add the commands."""
    mcp = group(commands, "mcp", "describe MCP servers")
    importing = command(
        mcp,
        "import",
        "print the tools, resources and prompts of an MCP server as resources with routes, none allowed",
        page="docs/mcp.md",
        variables=tuple(MCP),
        failed="something could not be taken, or the server gave no lists",
    )
    importing.add_argument(
        "source",
        metavar="URL|FILE",
        help="the server, or a file with its answer to tools/list, resources/list, "
        "resources/templates/list or prompts/list, or a list of such answers; - is stdin",
    )
    importing.add_argument(
        "--service", metavar="NAME", help="the service of the resources (the host of the URL)"
    )
    importing.add_argument("--path", metavar="PATH", help="the path of the routes (that of the URL, or /mcp)")
    importing.add_argument("--host", metavar="HOST", help="the host of the routes (every host)")
    add_json(importing, "print the policies and what could not be taken as one JSON object")
    importing.set_defaults(run=_import)


def _import(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import mcp_import

    given = mcp_import.McpImportArguments(
        parsed.source, service=parsed.service, path=parsed.path, host=parsed.host, as_json=parsed.json
    )
    return mcp_import.run(os.environ, given)

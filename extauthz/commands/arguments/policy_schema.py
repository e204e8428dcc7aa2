"""The arguments of `extauthz policy schema`."""

import argparse
from typing import TYPE_CHECKING

from extauthz.commands.arguments.parser import command

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands


def add(policy: "Commands") -> None:
    """Add the command."""
    schema = command(
        policy,
        "schema",
        "print the JSON Schema of files of policies or of cases, for editors",
        page="docs/folders.md",
    )
    schema.add_argument("kind", choices=("policies", "cases"), help="of which files")
    schema.set_defaults(run=_schema)


def _schema(parsed: argparse.Namespace) -> int:
    from extauthz.commands import policy_schema

    return policy_schema.run(parsed.kind)

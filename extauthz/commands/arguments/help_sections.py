"""The last sections of a command's help: its environment variables, its exit statuses, its page."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from extauthz.commands.arguments.environment import CLIENTS, EVERY_SETTING
from extauthz.settings import Variable, variables

_INDENT: Final = 28
_REFERENCE: Final = "docs/commands.md"


def sections(page: str | None, names: Sequence[str], failed: str) -> str:
    """Return the sections of a command; for a group of commands nothing but the page of all commands.

    `names` are variables; `failed` is what exit status 1 says.
    """
    if page is None:
        return f"\ndocumentation: {_REFERENCE}\n"
    rows = [
        *(("\nenvironment:", *_variables(names)) if names else ()),
        "\nexit status:",
        *_row("0", "success"),
        *_row("1", failed),
        *_row("2", "the arguments, the settings or a file cannot be used; stderr says why"),
        f"\ndocumentation: {page}, {_REFERENCE}",
    ]
    return "\n".join(rows) + "\n"


def _variables(names: Sequence[str]) -> Iterator[str]:
    """Yield the rows of the variables."""
    settings = {each.name: each for each in variables().values()}
    for name in settings if names == EVERY_SETTING else names:
        yield from _row(name, _meaning(settings[name]) if name in settings else CLIENTS[name])


def _meaning(variable: Variable) -> str:
    default = f" (default: {variable.default})" if variable.default else ""
    file = f"; or {variable.name}_FILE, a file with it" if variable.secret else ""
    return f"{variable.meaning}{file}{default}"


def _row(name: str, meaning: str) -> Iterator[str]:
    width = max(shutil.get_terminal_size().columns - 2, _INDENT + 20)
    first = f"  {name}".ljust(_INDENT - 1) + " "
    if len(first) > _INDENT:
        yield first.rstrip()
        first = " " * _INDENT
    yield textwrap.fill(
        meaning, width, initial_indent=first, subsequent_indent=" " * _INDENT, break_on_hyphens=False
    )

"""The parts of the self-check, and which part a command runs before it answers."""

import sys
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from extauthz.commands.self_check.rows import WrongRow, path_rows


class Subject(StrEnum):
    """What a command's answers depend on; the commands that print verdicts load no more than they need."""

    PATHS = "paths"
    TOKENS = "tokens"
    CASBIN = "casbin"
    EVERYTHING = "everything"


def wrong_rows(subject: Subject) -> Iterator[WrongRow]:
    """Yield the rows of a subject that come out wrong on this interpreter."""
    match subject:
        case Subject.PATHS:
            yield from path_rows()
        case Subject.TOKENS:
            from extauthz.commands.self_check.token_rows import token_rows

            yield from token_rows()
        case Subject.CASBIN:
            from extauthz.commands.self_check.casbin_rows import casbin_rows

            yield from casbin_rows(datetime.now())  # noqa: DTZ005 - Casbin's times are local, without a zone
        case Subject.EVERYTHING:
            from extauthz.commands.self_check.token_rows import rows

            yield from rows()


def interpreter() -> str:
    """Return the interpreter and its version, such as `cpython 3.11.2`."""
    return f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}"

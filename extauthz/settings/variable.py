"""One environment variable: its name, its reader, its default, its meaning."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable.

    `read` converts its text or raises InvalidValueError. `default` is the text that an unset variable stands
    for; None: an unset variable has the value None.
    """

    name: str
    read: Callable[[str], object]
    default: str | None
    meaning: str
    secret: bool = False


def variable(
    name: str, read: Callable[[str], _T], default: str | None, meaning: str, *, secret: bool = False
) -> Any:
    """Return the dataclass field of a variable; `load_settings` sets its value, of the declared type."""
    return field(metadata={"variable": Variable(name, read, default, meaning, secret)})

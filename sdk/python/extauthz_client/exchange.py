"""What the client does as generators without I/O, and the steps that they ask for.

A generator yields a step and is sent its result: the answer of an `HttpRequest`, None after a `Pause`, what
the steps inside `Exclusive` return. `drivers.py` performs steps, asynchronously or blocking. So each rule
(retries, tokens, reading of answers) is written once, for both.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; redirects are not followed. An answer is read until it has more than `limit` octets."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer; the names of headers are in lower case."""

    status: int
    phrase: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class ConnectionFailed(Exception):  # noqa: N818  # reads as what happened
    """No answer to a request. `never_made`: there was no connection, so certainly nothing was done."""

    def __init__(self, reason: str, *, never_made: bool = False) -> None:
        """Take the text of what happened."""
        super().__init__(reason)
        self.never_made = never_made


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next attempt."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Exclusive(Generic[_Result]):
    """Steps that no other task or thread of the same driver takes at the same time."""

    steps: "Steps[_Result]"


Step = HttpRequest | Pause | Exclusive[Any]
Steps = Generator[Step, Any, _Result]

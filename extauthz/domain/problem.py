"""A problem of an untrusted document, and its place."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 6901 JSON pointer to the place, what was found there and what is right."""

    pointer: str
    message: str

    def under(self, prefix: str) -> "Problem":
        """Return the same problem seen from the document that contains this one at `prefix`."""
        return Problem(prefix + self.pointer, self.message)

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.message}"


def pointer_token(name: str) -> str:
    """Escape a member name for use in a JSON pointer (RFC 6901 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def readable(problems: Iterable[Problem]) -> str:
    """Join problems into one line for a log or an error message."""
    return "; ".join(str(problem) for problem in problems)

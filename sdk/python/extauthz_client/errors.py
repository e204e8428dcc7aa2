"""The exceptions that calls raise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_MOST_SHOWN: Final = 10


class ClientError(Exception):
    """Anything that went wrong between the caller and the API."""


class Unreachable(ClientError):  # noqa: N818  # reads as what happened, like aiohttp's and the server's own
    """No answer, after every retry; the text says of which address and why.

    What was asked may or may not have been done.
    """


class UnexpectedAnswer(ClientError):  # noqa: N818  # like Unreachable
    """An answer that the API never gives: something else is at this address, or another version of it."""


class AssertionRejected(ClientError):  # noqa: N818  # like Unreachable
    """A request without a valid `x-auth-assertion`; the text says why, and never quotes the assertion."""


class ApiError(ClientError):
    """The API refused: an RFC 9457 problem.

    `errors` has every problem with the request, each with a `message` and a JSON `pointer`, a `parameter` or
    a `line`. `reason` is the problem's stable word for its cause, where it has one. `retry_after_s` is what
    `Retry-After` said, in seconds. The text of the exception has all of it, of many problems the first ten;
    `summary` is that text without the problems.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[Mapping[str, object]] = (),
        *,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Take the members of the problem document."""
        self.summary = (
            f"{status} {title}" + (f" ({reason})" if reason else "") + (f": {detail}" if detail else "")
        )
        super().__init__("; ".join([self.summary, *_shown(errors, detail)]))
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.reason = reason
        self.retry_after_s = retry_after_s


def _shown(errors: Sequence[Mapping[str, object]], detail: str) -> Iterator[str]:
    """Yield each problem with its place, as a text of one line; what `detail` says already is left out."""
    for error in errors[:_MOST_SHOWN]:
        message = str(error.get("message", ""))
        if message and message != detail:
            place = next((f"{each} " for each in _places(error)), "")
            yield " ".join(f"{place}{message}".split())
    if len(errors) > _MOST_SHOWN:
        yield f"and {len(errors) - _MOST_SHOWN} more"


def _places(error: Mapping[str, object]) -> Iterator[str]:
    for name in ("pointer", "parameter"):
        if error.get(name):
            yield str(error[name])
    if error.get("line"):
        yield f"line {error['line']}"

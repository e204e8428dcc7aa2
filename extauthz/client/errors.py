"""What a call can fail with."""

from collections.abc import Mapping, Sequence


class ClientError(Exception):
    """Anything that went wrong between the caller and the API."""


class Unreachable(ClientError):  # noqa: N818  # reads as what happened, like aiohttp's and the server's own
    """No answer, after every retry; the text says of which address and why.

    What was asked may or may not have been done.
    """


class UnexpectedAnswer(ClientError):  # noqa: N818  # like Unreachable
    """An answer that the API never gives: something else is at this address, or another version of it."""


class ApiError(ClientError):
    """The API refused: an RFC 9457 problem.

    `errors` has every problem with the request, each with a `message` and a JSON `pointer` or a `parameter`.
    `retry_after_s` is what `Retry-After` said, in seconds.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: Sequence[Mapping[str, object]] = (),
        *,
        retry_after_s: float | None = None,
    ) -> None:
        """Take the members of the problem document."""
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s

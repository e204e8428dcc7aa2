"""What a call can fail with."""

from collections.abc import Mapping, Sequence


class ClientError(Exception):
    """Anything that went wrong between the caller and the API."""


class Unreachable(ClientError):  # noqa: N818  # reads as what happened, like aiohttp's and the server's own
    """No usable answer, after every retry; the text says of which address and why."""


class ApiError(ClientError):
    """The API refused: an RFC 9457 problem.

    `errors` has every problem with the request, each with a JSON `pointer` and a `message`.
    """

    def __init__(
        self, status: int, title: str, detail: str, errors: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """Take the members of the problem document."""
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)

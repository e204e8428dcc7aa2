"""The titles of HTTP statuses in problem details."""

from http import HTTPStatus
from typing import Final

# RFC 9110 15.5. Before CPython 3.13 `HTTPStatus` has the phrases of RFC 7231 and 4918 here.
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title_of(status: HTTPStatus) -> str:
    """Return the name that RFC 9110 gives to a status, the same on every interpreter."""
    return _RENAMED.get(status.value, status.phrase)

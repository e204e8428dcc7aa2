"""Reads the live rows of a tenant over REST: all pages of all lists, of one revision.

Input: a `RestClient`. Output: `LiveRows`. Errors: `RestError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from extauthz.folders.rest_client import Answer, NotTheApiError, RestClient, RestError
from extauthz.folders.rows import ATTRIBUTE_POLICY, RESOURCE, ROLE_BINDING, ROLE_RULE, PolicyRow, live_row

PATHS: Final[Mapping[str, str]] = {
    RESOURCE: "/api/v1/resources",
    ROLE_RULE: "/api/v1/resources/policies",
    ROLE_BINDING: "/api/v1/role-bindings",
    ATTRIBUTE_POLICY: "/api/v1/abac/policies",
}
_PAGE: Final = 1_000
_READINGS: Final = 10


class RestRefusedError(RestError):
    """The API refused a request; `answer` is its answer."""

    def __init__(self, text: str, answer: Answer) -> None:
        super().__init__(text)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class LiveRows:
    """The rows that the caller may see at one live revision. `hidden` are kinds that it may not list."""

    revision: int
    rows: tuple[PolicyRow, ...]
    hidden: frozenset[str] = frozenset()


class _ChangedError(Exception):
    """The live policies were written between two pages."""


def live_rows(client: RestClient) -> LiveRows:
    """Return every live row. Where the policies are written meanwhile, the reading begins again.

    Raises:
        RestError: the API refused, gave no answer, or the policies changed at each of ten readings.
    """
    for _ in range(_READINGS):
        try:
            return _reading(client)
        except _ChangedError:
            continue
    raise RestError(f"the live policies were written during each of {_READINGS} readings; try again later")


def _reading(client: RestClient) -> LiveRows:
    rows: list[PolicyRow] = []
    hidden: set[str] = set()
    revisions: set[int] = set()
    for kind, path in PATHS.items():
        found = _all(client, kind, path, revisions)
        if found is None:
            hidden.add(kind)
        else:
            rows += found
    (revision,) = revisions
    return LiveRows(revision, tuple(rows), frozenset(hidden))


def _all(client: RestClient, kind: str, path: str, revisions: set[int]) -> list[PolicyRow] | None:
    """Return all rows of a list; None where the caller may not read resources, which others may without."""
    query = {"limit": str(_PAGE)}
    rows: list[PolicyRow] = []
    while True:
        answer = client.call("GET", path, query=query)
        if answer.status == 403 and kind == RESOURCE:
            return None
        items, cursor = _page(client, path, answer)
        assert answer.revision is not None, "the page has it"
        revisions.add(answer.revision)
        if len(revisions) > 1:
            raise _ChangedError
        rows += [live_row(kind, item) for item in items]
        if cursor is None:
            return rows
        query["cursor"] = cursor


def _page(client: RestClient, path: str, answer: Answer) -> tuple[list[Mapping[str, Any]], str | None]:
    if answer.status == 404:
        raise NotTheApiError(f"{client.url} has no {path} (404); is EXTAUTHZ_URL the admin REST API?")
    if not answer.is_success:
        raise RestRefusedError(refusal(f"the server refuses to list {path}", answer), answer)
    document = answer.document
    items = document.get("items") if isinstance(document, dict) else None
    cursor = document.get("next_cursor") if isinstance(document, dict) else None
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise NotTheApiError(f"{client.url} answers {path} with another document than a list")
    if answer.revision is None:
        raise NotTheApiError(f"{client.url} does not say the revision of its lists; it is an older version")
    return items, cursor if isinstance(cursor, str) else None


def refusal(what: str, answer: Answer) -> str:
    """Return the text of a refusal; of a bad credential also what to do."""
    text = f"{what}: {answer.detail}"
    if answer.status == 401:
        text += "; look at the credential (docs/folders.md#the-server)"
    return text

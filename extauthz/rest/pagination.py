"""Pages of a list: the query parameters `limit` and `cursor`, and `{items, next_cursor}` in the answer."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from extauthz.rest.documents import QueryModel, refused
from extauthz.rest.problems import ParameterProblem, invalid

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_CHECK_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is ordered by: the octets of a place in a cursor, and how they are written and read."""

    octets: re.Pattern[bytes]
    write: Callable[[str], bytes]
    read: Callable[[bytes], Any]


BY_ID: Final = Order(
    re.compile(rb"(?s:.{16})"), lambda text: UUID(text).bytes, lambda octets: UUID(bytes=octets)
)
BY_NAME: Final = Order(re.compile(rb"[a-z0-9-]{1,63}"), str.encode, bytes.decode)
BY_NUMBER: Final = Order(
    re.compile(rb"(?s:[\x00-\x7f].{7})"),
    lambda text: int(text).to_bytes(8, "big"),
    lambda octets: int.from_bytes(octets, "big"),
)


def _limit(text: object) -> int:
    if isinstance(text, int):
        return text
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        limit = int(text)
        if 1 <= limit <= MAX_LIMIT:
            return limit
    raise refused(f"must be an integer from 1 to {MAX_LIMIT}")


def _issued(text: str) -> str:
    if _octets(text) is None:
        raise refused("the cursor is not one that a list has issued")
    return text


class PageQuery(QueryModel):
    """The parameters that every list has."""

    limit: Annotated[
        int,
        BeforeValidator(_limit),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
        Field(description="the largest number of items in a page"),
    ] = DEFAULT_LIMIT
    cursor: Annotated[
        Annotated[str, AfterValidator(_issued)] | None, Field(description="`next_cursor` of the page before")
    ] = None

    def filters(self) -> dict[str, Any]:
        """Return the parameters that were given and choose rows."""
        return self.model_dump(exclude={"limit", "cursor"}, exclude_unset=True)

    def position(self, scope: str, *, order: Order = BY_ID) -> "Position":
        """Return where the page begins. A cursor is bound to the list (`scope`) and its filters.

        Errors: `ProblemError` 422 for a cursor of another list.
        """
        filters = self.model_dump(exclude={"limit", "cursor"}, exclude_unset=True, mode="json")
        scope = repr((scope, sorted(filters.items())))
        after = None if self.cursor is None else _decoded(self.cursor, scope, order)
        if self.cursor is not None and after is None:
            raise invalid([ParameterProblem("cursor", "the cursor does not belong to this list and filters")])
        return Position(scope, order, None if after is None else order.read(after), self.limit)


Paging = Annotated[PageQuery, Query()]
"""The query of a list without filters."""


@dataclass(frozen=True, slots=True)
class Position:
    """The place in a list `after` which a page begins (None: its start), and the most items of the page."""

    scope: str
    order: Order
    after: Any
    limit: int

    @property
    def bounds(self) -> dict[str, Any]:
        """The arguments of a function of `storage` that returns a page."""
        return {"after": self.after, "limit": self.limit}

    def cursor(self, following: str | None) -> str | None:
        """Return the cursor after a row; None at the end of the list."""
        return None if following is None else _encoded(self.order.write(following), self.scope)


def _encoded(after: bytes, scope: str) -> str:
    return base64.urlsafe_b64encode(after + _check(after, scope)).decode("ascii")


def _octets(text: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(text.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        return None


def _decoded(text: str, scope: str, order: Order) -> bytes | None:
    after = (_octets(text) or b"")[:-_CHECK_BYTES]
    if order.octets.fullmatch(after) is None:
        return None
    # base64 has several spellings of the same bytes; only the one that was issued is accepted.
    return after if hmac.compare_digest(text, _encoded(after, scope)) else None


def _check(after: bytes, scope: str) -> bytes:
    # Not secret: a cursor shows nothing that the caller may not list; the digest finds altered cursors.
    text = scope.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(after + text, digest_size=_CHECK_BYTES).digest()

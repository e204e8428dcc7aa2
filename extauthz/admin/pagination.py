"""Pages of a list: the query parameters `limit` and `cursor`, and `{items, next_cursor}` in the answer."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from extauthz.admin.documents import Query
from extauthz.admin.problems import ParameterProblem, invalid

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_CHECK_BYTES: Final = 8
_NUMBER_BYTES: Final = 8


class Order(Enum):
    """What a list is ordered by, and how a place in it is written into a cursor."""

    ID = re.compile(rb"(?s:.{16})")
    SLUG = re.compile(rb"[a-z0-9-]{1,63}")
    NUMBER = re.compile(rb"(?s:[\x00-\x7f].{7})")


def _limit(text: object) -> int:
    if isinstance(text, int):
        return text
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        limit = int(text)
        if 1 <= limit <= MAX_LIMIT:
            return limit
    raise PydanticCustomError("problem", "must be an integer from 1 to {most}", {"most": MAX_LIMIT})


def _issued(text: str) -> str:
    if _octets(text) is None:
        raise PydanticCustomError("problem", "the cursor is not one that a list has issued")
    return text


class PageQuery(Query):
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

    def filters(self) -> dict[str, object]:
        """Return the parameters that were given and choose rows."""
        return self.model_dump(exclude={"limit", "cursor"}, exclude_unset=True)

    def position(self, scope: str, *, order: Order = Order.ID) -> "Position":
        """Return where the page begins. A cursor is bound to the list (`scope`) and its filters.

        Errors: `ProblemError` 422 for a cursor of another list.
        """
        filters = self.model_dump(exclude={"limit", "cursor"}, exclude_unset=True, mode="json")
        scope = repr((scope, sorted(filters.items())))
        after = None
        if self.cursor is not None:
            after = _decoded(self.cursor, scope, order)
            if after is None:
                message = "the cursor does not belong to this list and filters"
                raise invalid([ParameterProblem("cursor", message)])
        return Position(scope, after, self.limit)


@dataclass(frozen=True, slots=True)
class Position:
    """The place in a list after which a page begins, and the most items of it."""

    scope: str
    octets: bytes | None
    limit: int

    @property
    def after(self) -> UUID | None:
        """The id after which the page begins."""
        return None if self.octets is None else UUID(bytes=self.octets)

    @property
    def after_name(self) -> str | None:
        """The name after which the page begins, in a list ordered by name."""
        return None if self.octets is None else self.octets.decode("utf-8")

    @property
    def after_number(self) -> int:
        """The number after which the page begins, in a list ordered by numbers from 1; 0 at the start."""
        return 0 if self.octets is None else int.from_bytes(self.octets, "big")

    def cursor(self, following: str | int | None, *, by_name: bool = False) -> str | None:
        """Return the cursor after a row with this id, name or number; None at the end of the list."""
        if following is None:
            return None
        if isinstance(following, int):
            return _encoded(following.to_bytes(_NUMBER_BYTES, "big"), self.scope)
        return _encoded(following.encode("utf-8") if by_name else UUID(following).bytes, self.scope)


def _encoded(after: bytes, scope: str) -> str:
    return base64.urlsafe_b64encode(after + _check(after, scope)).decode("ascii")


def _octets(text: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(text.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        return None


def _decoded(text: str, scope: str, order: Order) -> bytes | None:
    after = (_octets(text) or b"")[:-_CHECK_BYTES]
    if order.value.fullmatch(after) is None:
        return None
    # base64 has several spellings of the same bytes; only the one that was issued is accepted.
    return after if hmac.compare_digest(text, _encoded(after, scope)) else None


def _check(after: bytes, scope: str) -> bytes:
    # Not secret: a cursor shows nothing that the caller may not list; the digest finds altered cursors.
    text = scope.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(after + text, digest_size=_CHECK_BYTES).digest()

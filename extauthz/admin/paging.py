"""Lists in parts: `limit`, an opaque `cursor`, and `{items, next_cursor}`."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from extauthz.admin.problems import ParameterProblem, ProblemDetails, invalid

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_CHECK_BYTES: Final = 8
_NUMBER_BYTES: Final = 8


class Order(Enum):
    """What a list is in the order of, and how a place in it is written into a cursor."""

    ID = re.compile(rb"(?s:.{16})")
    SLUG = re.compile(rb"[a-z0-9-]{1,63}")
    NUMBER = re.compile(rb"(?s:[\x00-\x7f].{7})")


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a list to go on, and for how long. `scope` tells one list, with its filters, from others."""

    scope: str
    octets: bytes | None
    limit: int

    @property
    def after(self) -> UUID | None:
        """The id to go on after."""
        return None if self.octets is None else UUID(bytes=self.octets)

    @property
    def after_name(self) -> str | None:
        """The name to go on after, in a list that is in the order of names."""
        return None if self.octets is None else self.octets.decode("utf-8")

    @property
    def after_number(self) -> int:
        """The number to go on after, in a list that is in the order of numbers from 1; 0 at its begin."""
        return 0 if self.octets is None else int.from_bytes(self.octets, "big")

    def cursor(self, following: str | None) -> str | None:
        """Return the cursor to go on after the row with this id; None at the end."""
        return None if following is None else _encoded(UUID(following).bytes, self.scope)

    def cursor_by_name(self, following: str | None) -> str | None:
        """Return the cursor to go on after the row of this name; None at the end."""
        return None if following is None else _encoded(following.encode("utf-8"), self.scope)

    def cursor_by_number(self, following: int | None) -> str | None:
        """Return the cursor to go on after the row of this number; None at the end."""
        return None if following is None else _encoded(following.to_bytes(_NUMBER_BYTES, "big"), self.scope)


def read_position(
    query: Mapping[str, str], *, scope: str, order: Order = Order.ID
) -> Position | ProblemDetails:
    """Read `limit` and `cursor`; a cursor is good only for the list and filters that it was made for."""
    filters = sorted((name, value) for name, value in query.items() if name not in {"limit", "cursor"})
    scope = repr((scope, filters))
    problems: list[ParameterProblem] = []
    limit = DEFAULT_LIMIT
    if (text := query.get("limit")) is not None:
        usable = text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT
        limit = int(text) if usable else 0
        if not usable:
            problems.append(ParameterProblem("limit", f"must be an integer from 1 to {MAX_LIMIT}"))
    after = None
    if (text := query.get("cursor")) is not None:
        after = _decoded(text, scope, order)
        if after is None:
            problems.append(ParameterProblem("cursor", "is no cursor of this list with these filters"))
    return invalid(problems) if problems else Position(scope, after, limit)


def _encoded(after: bytes, scope: str) -> str:
    return base64.urlsafe_b64encode(after + _check(after, scope)).decode("ascii")


def _decoded(text: str, scope: str, order: Order) -> bytes | None:
    try:
        after = base64.urlsafe_b64decode(text.encode("ascii"))[:-_CHECK_BYTES]
    except (UnicodeEncodeError, binascii.Error):
        return None
    if order.value.fullmatch(after) is None:
        return None
    # Of the spellings that base64 has for the same octets, the one that was given out.
    return after if hmac.compare_digest(text, _encoded(after, scope)) else None


def _check(after: bytes, scope: str) -> bytes:
    # No secret: a cursor opens nothing that the caller may not list; this finds cursors that were altered.
    text = scope.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(after + text, digest_size=_CHECK_BYTES).digest()

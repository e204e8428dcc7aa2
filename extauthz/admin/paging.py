"""Lists in parts: `limit`, an opaque `cursor`, and `{items, next_cursor}`."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from extauthz.admin.problems import ParameterProblem, ProblemDetails, invalid

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_UUID_BYTES: Final = 16
_CHECK_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a list to go on, and for how long. `scope` tells one list, with its filters, from others."""

    scope: str
    after: UUID | None
    limit: int

    def cursor(self, following: str | None) -> str | None:
        """Return the cursor to go on after the row with this id; None at the end."""
        return None if following is None else _encoded(UUID(following), self.scope)


def read_position(query: Mapping[str, str], *, scope: str) -> Position | ProblemDetails:
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
        after = _decoded(text, scope)
        if after is None:
            problems.append(ParameterProblem("cursor", "is no cursor of this list with these filters"))
    return invalid(problems) if problems else Position(scope, after, limit)


def _encoded(after: UUID, scope: str) -> str:
    return base64.urlsafe_b64encode(after.bytes + _check(after, scope)).decode("ascii")


def _decoded(text: str, scope: str) -> UUID | None:
    try:
        octets = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    if len(octets) != _UUID_BYTES + _CHECK_BYTES:
        return None
    after = UUID(bytes=octets[:_UUID_BYTES])
    return after if hmac.compare_digest(octets[_UUID_BYTES:], _check(after, scope)) else None


def _check(after: UUID, scope: str) -> bytes:
    # No secret: a cursor opens nothing that the caller may not list; this finds cursors that were altered.
    text = scope.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(after.bytes + text, digest_size=_CHECK_BYTES).digest()

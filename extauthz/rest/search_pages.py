"""Pages of AuthZEN's searches: the member `page` of a request, and tokens that continue a search.

A token holds the place after which a search continues and its limit. It is bound to the tenant and to the
question: with another question it is refused. It is not secret and opens nothing: what a search may return
follows from the caller alone.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.domain.problem import Problem
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.rest.pagination import DEFAULT_LIMIT, MAX_LIMIT
from extauthz.storage.encoding import encode_json

_CHECK_BYTES: Final = 12
_MAX_TOKEN: Final = 8192
_ENTITIES: Final = ("subject", "action", "resource", "context")


@dataclass(frozen=True, slots=True)
class SearchPosition:
    """Where a page begins (`after`, empty at the start), and the most results of it."""

    scope: bytes
    after: tuple[str, ...]
    given_limit: int | None

    @property
    def limit(self) -> int:
        """The most results of the page."""
        return DEFAULT_LIMIT if self.given_limit is None else min(self.given_limit, MAX_LIMIT)

    def token(self, after: tuple[str, ...]) -> str:
        """Return the token of the page that begins after a place."""
        octets = encode_json([self.given_limit, *after]).encode()
        return base64.urlsafe_b64encode(octets + _check(octets, self.scope)).decode("ascii")


def search_position(
    document: Mapping[str, object], *, search: str, tenant: str, parts: int
) -> SearchPosition | Problem:
    """Return where a search goes on; `parts` is how many texts a place of the search has."""
    given = {name: document[name] for name in _ENTITIES if name in document}
    scope = encode_json([search, tenant, given]).encode()
    page = document.get("page", {})
    if not isinstance(page, Mapping):
        return Problem("/page", "an object is needed")
    limit = page.get("limit")
    if "limit" in page and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        return Problem("/page/limit", "an integer, 0 or more, is needed")
    if "properties" in page and not isinstance(page["properties"], Mapping):
        return Problem("/page/properties", "an object is needed")
    assert limit is None or isinstance(limit, int)
    if "token" not in page:
        return SearchPosition(scope, (), limit)
    found = _decoded(page["token"], scope, parts)
    if found is None:
        return Problem("/page/token", "is not a token of this search")
    if "limit" in page and limit != found.given_limit:
        return Problem("/page/limit", "is another one than that of the page before")
    return found


def _decoded(token: object, scope: bytes, parts: int) -> SearchPosition | None:
    if not isinstance(token, str) or len(token) > _MAX_TOKEN:
        return None
    try:
        octets = base64.urlsafe_b64decode(token.encode("ascii"))[:-_CHECK_BYTES]
    except (UnicodeEncodeError, binascii.Error):
        return None
    value = read_json(octets)
    if isinstance(value, JsonRejected) or not isinstance(value, list) or not value:
        return None
    limit, *after = value
    if len(after) not in {0, parts} or not all(isinstance(part, str) for part in after):
        return None
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        return None
    found = SearchPosition(scope, tuple(after), limit)
    # base64 has several spellings of the same octets; only the one that was issued is accepted.
    return found if hmac.compare_digest(token, found.token(found.after)) else None


def _check(octets: bytes, scope: bytes) -> bytes:
    return hashlib.blake2b(octets + b"\0" + scope, digest_size=_CHECK_BYTES).digest()

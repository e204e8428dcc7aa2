"""`ETag` and `If-Match` (RFC 9110 13.1.1), and `Idempotency-Key` on creating requests.

An entity tag is the revision of a row, or of the tenant, in quotes. Errors: `ProblemError` 400 for a header
that cannot be parsed.

An answer is kept for 24 hours under tenant, caller and idempotency key, and stored in the transaction of the
change: a request that is refused stores nothing and may be sent again. A key belongs to one path and one
body; another request under it is 409, and so is a repeated request whose answer held a secret: it is never
stored (draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from starlette.datastructures import Headers
from starlette.responses import Response

from extauthz.rest.problems import ParameterProblem, conflict, malformed
from extauthz.storage import idempotency
from extauthz.storage.encoding import encode_json
from extauthz.storage.idempotency import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Actor

_Outcome = TypeVar("_Outcome")

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MAX_KEY: Final = 255
CHANGE_OVERRIDE: Final = "X-Change-Override"
MAX_OVERRIDE: Final = 500
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*+)"')
_ENTITY_TAGS: Final = re.compile(
    # RFC 9110 5.6.1: a list, of which elements may be empty.
    rf"[ \t,]*+{_ENTITY_TAG.pattern}[ \t]*+(?:,[ \t]*+(?:{_ENTITY_TAG.pattern}[ \t]*+)?)*"
)
_REVISION: Final = re.compile("0|[1-9][0-9]{0,17}")
_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A String of RFC 9651 3.3.3."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~:/=@0-9A-Za-z]+")
"""A key without quotes, which many clients send."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """`If-Match`: the revisions under which the write may proceed; None is `*`."""

    revisions: frozenset[int] | None

    def allows(self, revision: int | None) -> bool:
        """Tell whether a row in this state (None: there is no row) matches."""
        if revision is None:
            return False
        return self.revisions is None or revision in self.revisions


def entity_tag(revision: int) -> str:
    """Return the strong entity tag of a row; its revision changes with every write."""
    return f'"{revision}"'


def read_if_match(headers: Headers) -> IfMatch | None:
    """Read `If-Match`. Weak tags never match, nor do tags other than revisions."""
    lines = headers.getlist("if-match")
    if not lines:
        return None
    text = ",".join(lines).strip()
    if text == "*":
        return IfMatch(None)
    if not _ENTITY_TAGS.fullmatch(text):
        raise malformed("If-Match is not '*' or a list of quoted entity tags")
    return IfMatch(
        frozenset(
            int(tag) for weak, tag in _ENTITY_TAG.findall(text) if not weak and _REVISION.fullmatch(tag)
        )
    )


def read_idempotency_key(headers: Headers) -> str | None:
    """Read `Idempotency-Key`: a String of RFC 9651, or the same text without quotes."""
    lines = headers.getlist(IDEMPOTENCY_KEY)
    if not lines:
        return None
    text = lines[0].strip(" \t")
    found = _STRING.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", found[1]) if found else text if _TOKEN.fullmatch(text) else ""
    if len(lines) > 1 or not 0 < len(key) <= MAX_KEY or key != key.strip(" "):
        message = f"must be one string of 1 to {MAX_KEY} printable ASCII characters in quotes"
        raise malformed(f"{IDEMPOTENCY_KEY} {message}", ParameterProblem(IDEMPOTENCY_KEY, message))
    return key


def read_override(headers: Headers) -> str | None:
    """Read the reason to override the change guard: 1 to 500 printable ASCII characters."""
    lines = headers.getlist(CHANGE_OVERRIDE)
    if not lines:
        return None
    text = lines[0].strip(" \t")
    if len(lines) > 1 or not 0 < len(text) <= MAX_OVERRIDE or not (text.isascii() and text.isprintable()):
        message = f"must be one reason of 1 to {MAX_OVERRIDE} printable ASCII characters"
        raise malformed(f"{CHANGE_OVERRIDE} {message}", ParameterProblem(CHANGE_OVERRIDE, message))
    return text


class ReplayedError(Exception):
    """Ends the transaction of a request that was answered before; `response` is that answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


def claim_of(tenant: str, actor: "Actor", key: str, path: str, content: object) -> Claim:
    """Return the claim of a request: which key of which caller, and a digest of path and body."""
    digest = hashlib.sha256(encode_json([path, content]).encode()).digest()
    return Claim(tenant, encode_json([actor.kind, actor.id]), key, digest)


class KeptAnswer(Generic[_Outcome]):
    """Surrounds a write (`storage.idempotency.Once`): claims the key, and keeps the answer."""

    def __init__(self, claim: Claim, tenant: str, answer: "Callable[[_Outcome], Response] | None") -> None:
        """Take the tenant that is written to, and what makes the answer (None: it holds a secret)."""
        self._claim = claim
        self._tenant = tenant
        self._answer = answer

    async def begin(self, connection: "Connection") -> None:
        """Claim the key. Raises `ReplayedError` with an earlier answer, `ProblemError` 409 without one."""
        earlier = await idempotency.claim(connection, self._tenant, self._claim)
        if earlier is None:
            return
        if not earlier.same_request:
            raise _refused("another request was sent with this key; use a new key")
        if earlier.answer is None:
            raise _refused("the request was answered with a secret, which is not stored or shown again")
        raise ReplayedError(_response(earlier.answer))

    async def end(self, connection: "Connection", outcome: _Outcome) -> None:
        """Keep the answer."""
        if self._answer is None:
            return
        response = self._answer(outcome)
        kept = {
            "status": response.status_code,
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in response.raw_headers
            ],
            "body": bytes(response.body).decode(),
        }
        await idempotency.complete(connection, self._tenant, self._claim, kept)


def _refused(message: str) -> Exception:
    return conflict("the request was not done again", (), [ParameterProblem(IDEMPOTENCY_KEY, message)])


def _response(kept: object) -> Response:
    assert isinstance(kept, dict)
    response = Response(kept["body"], status_code=kept["status"])
    response.raw_headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["headers"]
    ]
    return response

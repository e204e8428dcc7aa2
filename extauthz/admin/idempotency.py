"""`Idempotency-Key` on creating requests (draft-ietf-httpapi-idempotency-key-header).

The answer is kept for 24 hours under tenant, caller and key, and stored in the transaction of the change: a
request that is refused stores nothing and may be sent again. A key belongs to one path and one body; another
request under it is 409, and so is a repeated request whose answer held a secret: it is never stored.
"""

import hashlib
from typing import TYPE_CHECKING, Generic, TypeVar

from starlette.responses import Response

from extauthz.admin.preconditions import IDEMPOTENCY_KEY
from extauthz.admin.problems import ParameterProblem, conflict
from extauthz.storage import idempotency
from extauthz.storage.encoding import encode_json
from extauthz.storage.idempotency import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Actor

_Outcome = TypeVar("_Outcome")


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

"""Signed policies for followers: the head of a tenant, and the bodies that it names.

Callers present a service key with the scope `policies:follow`. Without POLICY_SIGNING_KEY there is nothing at
these paths. A suspended tenant is served like any other: its head says that it is suspended.

A follower may wait for a newer head, and is one coroutine meanwhile.
"""

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.admin.follower_keys import FollowerKeys
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.rest.problems import forbidden, malformed, not_found, of_refusal
from extauthz.rest.services import HeadSource
from extauthz.signed.http_source import PREFIX
from extauthz.storage import signed_policies
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.shared_questions import SharedQuestions

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

LONGEST_WAIT_S: Final = 60
_BODY_CACHE: Final = 1_000
_BODY_CACHE_BYTES: Final = 64 * 2**20
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_SHA256: Final = re.compile(r"([0-9a-f]{64})\.json\.gz")
# A cache in front answers callers with the same key alone. For a second it may answer all that ask the same:
# an answer to `after=SERIAL` is newer than SERIAL, or says that nothing newer came meanwhile.
_HEAD_HEADERS: Final = {"cache-control": "max-age=1", "vary": "x-service-api-key"}
_BODY_HEADERS: Final = {
    "cache-control": "max-age=31536000, immutable",
    "vary": "x-service-api-key",
    "content-type": "application/gzip",
}


class FollowerApi:
    """The routes of followers."""

    def __init__(self, pool: "Pool", keys: FollowerKeys, heads: HeadSource) -> None:
        """Take the pool of the API, what authenticates followers, and the source of heads."""
        self._pool = pool
        self._keys = keys
        self._heads = heads
        self._questions = SharedQuestions()
        self._bodies: BoundedCache[tuple[str, str], bytes] = BoundedCache(
            _BODY_CACHE, max_bytes=_BODY_CACHE_BYTES
        )

    def routes(self) -> list[Route]:
        """Return the routes, to be part of the application."""
        return [
            Route(f"{PREFIX}/{{tenant}}/head.json", self._head, include_in_schema=False),
            Route(f"{PREFIX}/{{tenant}}/{{name}}", self._body, include_in_schema=False),
        ]

    async def _head(self, request: Request) -> Response:
        tenant = await self._tenant(request)
        after, wait_s = _question(request)
        envelope = await self._heads(tenant, after, wait_s)
        if envelope is None:
            raise not_found("no head of this tenant is signed yet")
        return Response(envelope, media_type="application/json", headers=_HEAD_HEADERS)

    async def _body(self, request: Request) -> Response:
        tenant = await self._tenant(request)
        name = _SHA256.fullmatch(request.path_params["name"])
        octets = None if name is None else await self._octets(tenant, name[1])
        if octets is None:
            raise not_found("there is no such body")
        return Response(octets, headers=_BODY_HEADERS)

    async def _octets(self, tenant: str, sha256: str) -> bytes | None:
        octets = self._bodies.get((tenant, sha256))
        if octets is not None:
            return octets
        found = await self._questions.ask((tenant, sha256), partial(_stored_body, self._pool, tenant, sha256))
        if isinstance(found, bytes):
            self._bodies.put((tenant, sha256), found, len(found))
            return found
        if found is None:
            return None
        raise of_refusal(found)

    async def _tenant(self, request: Request) -> str:
        """Return the tenant of the path if the key of the request may follow it. Raises ProblemError."""
        follower = await self._keys.follower(request)
        tenant = str(request.path_params["tenant"])
        if follower.tenant != tenant:
            # Not even a key of many tenants: those are for reports alone.
            raise forbidden("the key is of another tenant")
        return tenant


def _question(request: Request) -> tuple[int, float]:
    """Return the serial and the seconds of `?after=SERIAL&wait=N`. Raises ProblemError."""
    query = request.query_params
    after, wait = query.get("after", "0"), query.get("wait", "0")
    known = query.keys() <= {"after", "wait"} and len(query.multi_items()) == len(query.keys())
    if not known or _NUMBER.fullmatch(after) is None or _NUMBER.fullmatch(wait) is None:
        raise malformed(f"the query is ?after=SERIAL&wait=SECONDS, with at most {LONGEST_WAIT_S} seconds")
    return int(after), min(float(wait), LONGEST_WAIT_S)


_stored_body = refusals_returned(signed_policies.body)

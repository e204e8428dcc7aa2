"""Sends one request to the API: credentials, retries, problem details as exceptions."""

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from extauthz_client import timing
from extauthz_client.credentials import Credentials, parsed
from extauthz_client.errors import ApiError, ClientError, UnexpectedAnswer, Unreachable

_NOT_NOW: Final = frozenset({429, 502, 503, 504})
_NOTHING_DONE: Final = 429
_TYPES: Final = {"pointer": str, "parameter": str, "line": int, "message": str}
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
# Less than uvicorn's 5 s: a connection that the server is about to close is never taken for a write.
_KEEP_ALIVE_S: Final = 4.0


class _ConnectionError(aiohttp.ClientError):
    """A connection was lost, or never made: then surely nothing was done."""

    def __init__(self, error: aiohttp.ClientError) -> None:
        super().__init__(str(error) or type(error).__name__)
        self.never_made = isinstance(error, aiohttp.ClientConnectorError)


async def _asked_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating requests by itself (it does PUT and DELETE): the client counts retries."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionError(error) from error


@dataclass(frozen=True, slots=True)
class ClientResponse:
    """What the API answered; `document` is None where the body is empty or not JSON."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    document: object

    @property
    def problem(self) -> ApiError:
        """The refusal that this is."""
        members = self.document if isinstance(self.document, Mapping) else {}
        title, detail, reason = (
            text if isinstance(text := members.get(name), str) else None
            for name in ("title", "detail", "reason")
        )
        found = members.get("errors")
        return ApiError(
            self.status,
            self.phrase if title is None else title,
            detail or "",
            [_typed(each) for each in found if isinstance(each, Mapping)] if isinstance(found, list) else [],
            reason=reason,
            retry_after_s=self.retry_after_s,
        )

    @property
    def retry_after_s(self) -> float | None:
        """How many seconds to wait, as the answer says: a number of them, or a time (RFC 9110 10.2.3)."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - timing.wall_clock())
        except (ValueError, OverflowError):
            return None


class Http:
    """A connection pool to one API, with one caller's credentials."""

    def __init__(self, base_url: str, credentials: Credentials, *, attempts: int, timeout_s: float) -> None:
        """Name the API and the caller; nothing is opened before `open`. Raises ValueError for a bad URL."""
        self._base_url = _base_url(base_url)
        self._credentials = credentials
        self._attempts = max(1, attempts)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._no_credential: tuple[float, ClientError] | None = None
        self._users = 0

    def open(self) -> None:
        """Open the connection pool, or count one more user of it."""
        self._users += 1
        if self._session is None:
            connector = aiohttp.TCPConnector(keepalive_timeout=_KEEP_ALIVE_S)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, middlewares=(_asked_once,)
            )
            self._authorizing = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection pool when the last of its users does."""
        self._users -= 1
        if self._users == 0 and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = False,
        also: frozenset[int] = frozenset(),
    ) -> ClientResponse:
        """Return the answer, which is a success or has one of the statuses `also`.

        What is not `repeatable` is sent again only when it surely was not done. Deleting what an attempt
        without an answer has deleted already is a success.

        Raises:
            ApiError: the API refused.
            Unreachable: there was no answer in the end.
            UnexpectedAnswer: this is not the API's.
            ClientError: there are no credentials.
        """
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        pause, maybe_done = _FIRST_PAUSE_S, False
        failure: ClientError
        for left in reversed(range(self._attempts)):
            wait = None
            try:
                answer = await self._asked(self._session, method, path, query, body)
            except Unreachable as error:
                failure = error
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = Unreachable(
                    f"{method} {self._base_url}{path}: {str(error) or type(error).__name__}"
                )
                failure.__cause__ = error
                if not (isinstance(error, _ConnectionError) and error.never_made):
                    if not repeatable:
                        raise failure from error
                    maybe_done = True
            else:
                if answer.status in also:
                    return answer
                if 200 <= answer.status < 300:
                    return _understood(answer)
                if answer.status == 404 and method == "DELETE" and maybe_done:
                    return answer
                failure, wait = answer.problem, answer.retry_after_s
                if answer.status not in _NOT_NOW:
                    raise failure
                # The API itself says so too when its database was lost while it wrote.
                if answer.status != _NOTHING_DONE:
                    if not repeatable:
                        raise failure
                    maybe_done = True
            if not left or (wait is not None and wait > _LONGEST_PAUSE_S):
                raise failure
            await timing.pause(_jittered(pause) if wait is None else wait + _jittered(pause))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    async def _asked(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
    ) -> ClientResponse:
        """Ask once; once more when the credential was refused and there is another."""
        headers = await self._authorized(session)
        answer = await self._sent(session, method, path, query, body, headers)
        if answer.status == 401 and self._credentials.refused(headers):
            headers = await self._authorized(session)
            answer = await self._sent(session, method, path, query, body, headers)
        return answer

    async def _authorized(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        asked_at = time.monotonic()
        async with self._authorizing:
            # A call that waited while another one was refused does not wait as long once more.
            if self._no_credential is not None and self._no_credential[0] >= asked_at:
                raise type(self._no_credential[1])(str(self._no_credential[1]))
            try:
                return await self._credentials.headers(session)
            except ClientError as error:
                self._no_credential = time.monotonic(), error
                raise

    async def _sent(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        headers: Mapping[str, str],
    ) -> ClientResponse:
        # A redirect would carry the credential elsewhere.
        async with session.request(
            method,
            self._base_url + path,
            params=query,
            data=None if body is None else _encoded(body),
            headers=headers if body is None else {**headers, "Content-Type": "application/json"},
            allow_redirects=False,
        ) as response:
            document = parsed(await response.read())
            return ClientResponse(response.status, response.reason or "error", response.headers, document)


def _typed(error: Mapping[str, object]) -> dict[str, object]:
    """Return an entry of `errors` without the known members that have another type."""
    return {name: value for name, value in error.items() if type(value) is _TYPES.get(name, type(value))}


def _understood(answer: ClientResponse) -> ClientResponse:
    if answer.document is None and answer.status != 204:
        raise UnexpectedAnswer(f"the API answered {answer.status} with nothing readable")
    return answer


def _encoded(body: object) -> bytes:
    """Return a document as JSON, each `Decimal` with all of its digits."""
    try:
        return json.dumps(body).encode()
    except TypeError:
        return orjson.dumps(_with_fragments(body))


def _with_fragments(value: object) -> object:
    match value:
        case Decimal():
            return orjson.Fragment(str(value))
        case Mapping():
            return {name: _with_fragments(member) for name, member in value.items()}
        case list() | tuple():
            return [_with_fragments(entry) for entry in value]
        case int() | float() if not isinstance(value, bool):
            return orjson.Fragment(json.dumps(value))
        case _:
            return value


def _jittered(pause_s: float) -> float:
    return pause_s * (0.5 + random.random() / 2)  # noqa: S311  # spreads callers, protects nothing


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or not plain:
        # A password is not repeated.
        shown = "one with a user or a password" if "@" in text else repr(text)
        raise ValueError(f"the API is at an address such as https://extauthz.example.com, not at {shown}")
    return text.rstrip("/")

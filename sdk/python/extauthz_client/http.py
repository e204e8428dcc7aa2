"""Sends one request to the API, as steps: credentials, retries, problem details as exceptions."""

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Final
from urllib.parse import urlencode, urlsplit

from extauthz_client import timing
from extauthz_client.credentials import Credentials
from extauthz_client.errors import ApiError, ClientError, UnexpectedAnswer, Unreachable
from extauthz_client.exchange import ConnectionFailed, Exclusive, HttpReply, HttpRequest, Pause, Steps
from extauthz_client.numbers import parsed, written

_NOT_NOW: Final = frozenset({429, 502, 503, 504})
_NOTHING_DONE: Final = 429
_TYPES: Final = {"pointer": str, "parameter": str, "line": int, "message": str}
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_HEADERS: Final = {"accept": "application/json", "user-agent": "extauthz-client"}


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
            until = email.utils.parsedate_to_datetime(text)
            # The form of asctime names no zone: RFC 9110 5.6.7 has each date in UTC.
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            return max(0.0, until.timestamp() - timing.wall_clock())
        except (ValueError, OverflowError):
            return None


class Http:
    """Calls to one API, with one caller's credentials."""

    def __init__(self, base_url: str, credentials: Credentials, *, attempts: int) -> None:
        """Name the API and the caller. Raises ValueError for a bad URL."""
        self._base_url = _base_url(base_url)
        self._credentials = credentials
        self._attempts = max(1, attempts)
        self._no_credential: tuple[float, ClientError] | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = False,
        also: frozenset[int] = frozenset(),
    ) -> Steps[ClientResponse]:
        """Return the answer, which is a success or has one of the statuses `also`.

        What is not `repeatable` is sent again only when it surely was not done. Deleting what an attempt
        without an answer has deleted already is a success.

        Raises:
            ApiError: the API refused.
            Unreachable: there was no answer in the end.
            UnexpectedAnswer: this is not the API's.
            ClientError: there are no credentials.
        """
        url = self._base_url + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else written(body)
        pause, maybe_done = _FIRST_PAUSE_S, False
        failure: ClientError
        for left in reversed(range(self._attempts)):
            wait = None
            try:
                answer = yield from self._asked(method, url, content)
            except Unreachable as error:
                failure = error
            except ConnectionFailed as error:
                failure = Unreachable(f"{method} {self._base_url}{path}: {error}")
                failure.__cause__ = error
                if not error.never_made:
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
            yield Pause(_jittered(pause) if wait is None else wait + _jittered(pause))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _asked(self, method: str, url: str, content: bytes | None) -> Steps[ClientResponse]:
        """Ask once; once more when the credential was refused and there is another."""
        headers = self._credentials.at_hand() or (yield Exclusive(self._authorized(time.monotonic())))
        reply: HttpReply = yield _request(method, url, content, headers)
        if reply.status == 401 and self._credentials.refused(headers):
            headers = yield Exclusive(self._authorized(time.monotonic()))
            reply = yield _request(method, url, content, headers)
        return ClientResponse(reply.status, reply.phrase or "error", reply.headers, parsed(reply.body))

    def _authorized(self, asked_at: float) -> Steps[Mapping[str, str]]:
        # A call that waited while another one was refused does not wait as long once more.
        if self._no_credential is not None and self._no_credential[0] >= asked_at:
            raise type(self._no_credential[1])(str(self._no_credential[1]))
        try:
            return (yield from self._credentials.headers())
        except ClientError as error:
            self._no_credential = time.monotonic(), error
            raise


def _request(method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> HttpRequest:
    if content is None:
        return HttpRequest(method, url, {**_HEADERS, **headers})
    return HttpRequest(method, url, {**_HEADERS, **headers, "content-type": "application/json"}, content)


def _typed(error: Mapping[str, object]) -> dict[str, object]:
    """Return an entry of `errors` without the known members that have another type."""
    return {name: value for name, value in error.items() if type(value) is _TYPES.get(name, type(value))}


def _understood(answer: ClientResponse) -> ClientResponse:
    if answer.document is None and answer.status != 204:
        raise UnexpectedAnswer(f"the API answered {answer.status} with nothing readable")
    return answer


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

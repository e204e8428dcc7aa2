"""Calls to the admin REST API, for commands: one connection, bounded answers, repeated where it is safe.

Input: `RestAccess`, a method, a path and a JSON value. Output: `Answer`. Errors: `NoRestAnswerError` where
the API gave none in the end, `NotTheApiError` where something else answered. Redirects are not followed,
because the credential is for one address; no proxy is read from the environment.

Every call of the commands can be repeated: it reads, deletes, or carries an `Idempotency-Key`.
"""

import email.utils
import http.client
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from extauthz import __version__
from extauthz.domain.one_line import one_line
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.folders.http_deadline import answered_within
from extauthz.folders.rest_access import RestAccess
from extauthz.keys.client_tls import client_context
from extauthz.storage.encoding import encode_json

ATTEMPTS: Final = 4
TIMEOUT_S: Final = 30.0
"""For most calls, each attempt."""
LONG_TIMEOUT_S: Final = 180.0
"""For lists of changes and publications, which take seconds with 10,000 rows, more on a busy database."""
_FIRST_PAUSE_S: Final = 0.3
_LONGEST_PAUSE_S: Final = 20.0
_MAX_BYTES: Final = 256 * 1024 * 1024
_MAX_DEPTH: Final = 128
_NOT_NOW: Final = frozenset({429, 502, 503, 504})
_PART: Final = 1 << 16


class RestError(Exception):
    """A call without the API's answer; the text is one line."""


class NoRestAnswerError(RestError):
    """The API gave no answer, or was not there; a write may or may not have happened."""


class NotTheApiError(RestError):
    """Something answered that is not the admin REST API of this version."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered; `document` is None where the body is empty."""

    status: int
    headers: Mapping[str, str]
    document: Any

    @property
    def is_success(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300

    @property
    def problem(self) -> Mapping[str, Any]:
        """The problem document (RFC 9457); empty where there is none."""
        return self.document if isinstance(self.document, dict) else {}

    @property
    def detail(self) -> str:
        """What the API says about a refusal, on one line."""
        text = self.problem.get("detail") or self.problem.get("title") or ""
        return one_line(f"{self.status} {text}".strip())

    @property
    def errors(self) -> Sequence[Mapping[str, Any]]:
        """The entries of `errors` of a refusal."""
        found = self.problem.get("errors")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @property
    def revision(self) -> int | None:
        """The live revision that the answer is of; None where it does not say."""
        text = self.headers.get("x-policy-revision", "")
        return int(text) if text.isascii() and text.isdigit() else None


class RestClient:
    """Calls to one API with one credential. Not for several threads."""

    def __init__(
        self, access: RestAccess, *, pause: Callable[[float], None] = time.sleep, attempts: int = ATTEMPTS
    ) -> None:
        """Name the API. Raises OSError or ssl.SSLError for a file of CAs that cannot be used."""
        self._access = access
        self._pause = pause
        self._attempts = attempts
        self._connection: http.client.HTTPConnection | None = None
        self._context = None
        if access.parts.scheme == "https":
            self._context = client_context(access.ca_file)

    @property
    def url(self) -> str:
        """The address of the API."""
        return self._access.url

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        attempts: int | None = None,
    ) -> Answer:
        """Return the answer, a refusal as well. `key` is the `Idempotency-Key` of a creating request.

        An answer that says "not now" (429, 502, 503, 504) and a lost connection are tried again, after
        `Retry-After` or a pause that doubles.

        Raises:
            NoRestAnswerError: there was no answer at the last attempt.
            NotTheApiError: the answer is not the API's.
        """
        target = self._access.parts.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        headers = {
            "Accept": "application/json",
            "User-Agent": f"extauthz/{__version__}",
            **self._access.headers,
        }
        content = None
        if body is not None:
            content = encode_json(body).encode()
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = f'"{key}"'
        wait = _FIRST_PAUSE_S
        attempts = self._attempts if attempts is None else attempts
        for left in reversed(range(attempts)):
            try:
                answer = self._once(method, target, content, headers, timeout_s)
            except NoRestAnswerError:
                self.close()
                if not left:
                    raise
                self._pause(wait)
            else:
                asked = _retry_after(answer.headers.get("retry-after"))
                if answer.status not in _NOT_NOW or not left or (asked or 0.0) > _LONGEST_PAUSE_S:
                    return answer
                self._pause(wait if asked is None else asked)
            wait = min(wait * 2, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        connection = self._open(timeout_s)
        try:
            with answered_within(connection, timeout_s):
                connection.request(method, target, content, dict(headers))
                response = connection.getresponse()
                return self._read(method, response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = _why(error)
            raise NoRestAnswerError(f"{method} {self._access.url}{target.partition('?')[0]}: {why}") from None
        except KeyboardInterrupt:
            # The connection is in the middle of an answer; the next request needs another one.
            self.close()
            raise

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = self._access.parts
            assert parts.hostname is not None, "the URL was checked"
            if self._context is not None:
                self._connection = http.client.HTTPSConnection(
                    parts.hostname, parts.port, timeout=timeout_s, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        self._connection.timeout = timeout_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _read(self, method: str, response: http.client.HTTPResponse) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        if 300 <= response.status < 400:
            self.close()
            place = one_line(headers.get("location", "another address"))
            raise NotTheApiError(
                f"{self._access.url} answers with a redirect ({response.status} to {place}), which is not"
                " followed; set EXTAUTHZ_URL to the address of the API itself"
            )
        body = _bounded(response)
        document: object = None
        if body and method != "HEAD":
            document = read_json(body, max_depth=_MAX_DEPTH)
            if isinstance(document, JsonRejected):
                if response.status in _NOT_NOW:
                    return Answer(response.status, headers, None)
                self.close()
                raise NotTheApiError(
                    f"the answer of {self._access.url} ({response.status}) cannot be read:"
                    f" {document.problem}; is EXTAUTHZ_URL the admin REST API, and is every stored row in"
                    " order (/healthz/ready)?"
                )
        return Answer(response.status, headers, document)


def _bounded(response: http.client.HTTPResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read(_PART):
        size += len(part)
        if size > _MAX_BYTES:
            raise NotTheApiError(f"an answer is larger than {_MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; EXTAUTHZ_CA_FILE names further CAs"
    if isinstance(error, TimeoutError):
        return "no answer in time" if error.errno is not None or not str(error) else str(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text or type(error).__name__)


def _retry_after(text: str | None) -> float | None:
    """Return how many seconds `Retry-After` asks for: a number, or a time (RFC 9110 10.2.3)."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None

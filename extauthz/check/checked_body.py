"""The body that comes with a check: when conditions can read it, and reading it once, when one does.

Only `raw_body` counts (`pack_as_bytes: true`): in the text form Envoy replaces bytes. A body that Envoy cut
(`x-envoy-auth-partial-body`), an encoded one, one of another content type and one that is not well formed are
not read; what conditions say about them is unknown.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.check.extauthz_check_pb2 import HttpRequest
from extauthz.compile.conditions.mcp_message import McpHeaders
from extauthz.compile.conditions.request_body import WholeBody, read_body
from extauthz.compile.conditions.values import UNKNOWN
from extauthz.domain.content_type import BodyForm, body_form
from extauthz.domain.mcp import McpMessage

CONTENT_TYPE: Final = "content-type"
CONTENT_ENCODING: Final = "content-encoding"
PARTIAL_BODY: Final = "x-envoy-auth-partial-body"
MCP_METHOD: Final = "mcp-method"
MCP_NAME: Final = "mcp-name"
BODY_HEADERS: Final = frozenset((CONTENT_TYPE, CONTENT_ENCODING, PARTIAL_BODY, MCP_METHOD, MCP_NAME))

_WHOLE: Final = b"false"


class CheckedBody:
    """A body that is read when a condition asks for a part of it, and kept no longer than its check."""

    __slots__ = ("_content", "_form", "_headers", "_http", "_longest", "_message")

    def __init__(self, http: HttpRequest, form: BodyForm, longest: int, headers: McpHeaders) -> None:
        """Take the message that has the body, its form, how many octets are read at most, and its headers."""
        # None from the moment on when the body was read, or forgotten.
        self._http: HttpRequest | None = http
        self._form = form
        self._longest = longest
        self._headers = headers
        self._content: WholeBody | None = None
        self._message: McpMessage | None = None

    def value(self, path: str) -> object:
        """Return the value at a path; UNKNOWN where it is not there, or the body cannot be read."""
        content = self._content if self._http is None else self._whole(self._http)
        return UNKNOWN if content is None else content.value(path)

    def exists(self, path: str) -> bool | None:
        """Tell whether a value is at the path; None where it is not known."""
        content = self._content if self._http is None else self._whole(self._http)
        return None if content is None else content.exists(path)

    def message(self) -> McpMessage | None:
        """Return the message of the Model Context Protocol that the body is, also after `release`."""
        if self._message is None:
            content = self._content if self._http is None else self._whole(self._http)
            if content is not None:
                self._message = content.message()
        return self._message

    def release(self) -> None:
        """Forget the body: the log keeps facts longer than the check takes."""
        self._http = self._content = None

    def _whole(self, http: HttpRequest) -> WholeBody | None:
        self._http = None
        raw = http.raw_body
        if 0 < len(raw) <= self._longest:
            self._content = read_body(raw, self._form, self._headers)
        return self._content


def checked_body(
    http: HttpRequest, raw: Mapping[str, bytes], repeated: frozenset[str], *, longest: int
) -> CheckedBody | None:
    """Return the body of a check; None where conditions cannot read one.

    `raw` has at least `BODY_HEADERS`, `repeated` those of them that came more than once.
    """
    form = body_form(raw[CONTENT_TYPE])
    if form is None or raw.get(PARTIAL_BODY) != _WHOLE or CONTENT_ENCODING in raw:
        return None
    if repeated and not repeated.isdisjoint(BODY_HEADERS):
        return None
    return CheckedBody(http, form, longest, (raw.get(MCP_METHOD), raw.get(MCP_NAME)))

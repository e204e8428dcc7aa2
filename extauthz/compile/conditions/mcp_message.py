"""Reads a message of the Model Context Protocol from the JSON object of a body.

INVARIANT: where a server could find another method or name, there is no message. The headers `Mcp-Method` and
`Mcp-Name` (protocol 2026-07-28) repeat both; the body decides, and a header that differs makes it no message.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final, Protocol

from extauthz.compile.conditions.member_names import MESSAGE_NAMES, is_json_text
from extauthz.domain.mcp import LISTEN, NAME_MEMBERS, RESPONSE, SUBSCRIBE, McpMessage

_VERSION: Final = "2.0"
_LISTENED_TO: Final = "params.notifications.resourceSubscriptions"
_ENCODED: Final = (b"=?base64?", b"?=")
McpHeaders = tuple[bytes | None, bytes | None]
"""The values of `Mcp-Method` and `Mcp-Name`, None for one that is not there."""
_MORE_TO_READ: Final = frozenset((RESPONSE, LISTEN))
NO_HEADERS: Final[McpHeaders] = (None, None)


class Members(Protocol):
    """The members of the object, as conditions read them."""

    def value(self, path: str) -> object:
        """Return the value at a path, or `UNKNOWN`."""

    def exists(self, path: str) -> bool | None:
        """Tell whether a value is at a path; None where readers may differ."""


def ordinary_message(members: Mapping[str, object]) -> McpMessage | None:
    """Return what `other_message` does of an object whose names are all MCP's; None says nothing."""
    method = members.get("method")
    if not (
        type(method) is str
        and members.get("jsonrpc") == _VERSION
        and "result" not in members
        and "error" not in members
        and MESSAGE_NAMES.issuperset(members)
    ):
        return None
    about = NAME_MEMBERS.get(method)
    if about is None:
        is_plain = method.isprintable() and method not in _MORE_TO_READ and not is_json_text(method)
        return McpMessage(method) if is_plain else None
    params = members.get("params")
    if type(params) is not dict or not MESSAGE_NAMES.issuperset(params):
        return None
    name = params.get(about)
    is_plain = type(name) is str and name != "" and name.isprintable() and not is_json_text(name)
    return McpMessage(method, name) if is_plain else None


def other_message(body: Members) -> McpMessage | None:
    """Return the message; None where the object is not one, or readers may differ about it."""
    if body.value("jsonrpc") != _VERSION:
        return None
    answers = [body.exists("result"), body.exists("error")]
    method = body.value("method")
    if body.exists("method") is False:
        is_answer = sorted(map(str, answers)) == ["False", "True"] and body.exists("params") is False
        return McpMessage(RESPONSE) if is_answer else None
    if answers != [False, False] or not isinstance(method, str) or method == RESPONSE:
        return None
    if method == LISTEN and body.exists(_LISTENED_TO) is not False:
        return _subscription(body.value(_LISTENED_TO))
    if method not in NAME_MEMBERS:
        return McpMessage(method)
    return _about(method, body.value(f"params.{NAME_MEMBERS[method]}"))


def _about(method: str, name: object) -> McpMessage | None:
    return McpMessage(method, name) if isinstance(name, str) and name else None


def _subscription(uris: object) -> McpMessage | None:
    """Return the message that listens to a resource; None for several of them, which no route covers."""
    if uris == ():
        return McpMessage(LISTEN)
    return _about(SUBSCRIBE, uris[0]) if isinstance(uris, tuple) and len(uris) == 1 else None


def said_again(message: McpMessage | None, written: object, headers: McpHeaders) -> McpMessage | None:
    """Return the message where the headers say the same, None where one of them says otherwise.

    `written` is the method in the body.
    """
    method, name = headers
    if message is None:
        return None
    if method is not None and not (isinstance(written, str) and method == written.encode()):
        return None
    named = message.name if message.method == written else None
    if name is not None and _decoded(name) != (named or "").encode():
        return None
    return message


def _decoded(value: bytes) -> bytes | None:
    """Return what a header says: a value that is not plain text is written in base64."""
    begin, end = _ENCODED
    if not (value.startswith(begin) and value.endswith(end)):
        return value
    written = value[len(begin) : -len(end)]
    try:
        decoded = base64.b64decode(written, validate=True)
    except binascii.Error:
        return None
    return decoded if base64.b64encode(decoded) == written else None

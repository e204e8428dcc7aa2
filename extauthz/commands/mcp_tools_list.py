"""Asks an MCP server for its tools, over streamable HTTP in either era of the protocol.

First as the protocol of 2026-07-28 has it, one request without a session; where the server refuses that, with
the handshake before it. Redirects are not followed and no proxy is read from the environment: the token is
for one address.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from extauthz import __version__
from extauthz.domain.loopback import is_loopback
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.keys.client_tls import client_context

TIMEOUT_S: Final = 20.0
MAX_PAGES: Final = 100
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_DEPTH: Final = 64
_MODERN: Final = "2026-07-28"
_HANDSHAKE: Final = "2025-11-25"
_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "extauthz", "version": __version__}


class NoListError(Exception):
    """The server gave no list of tools; the text is one line and says why."""


def url_problem(url: str, *, has_token: bool) -> str | None:
    """Return what is wrong with the address of a server."""
    wrong = "is not the address of an MCP server, such as https://tools.example.com/mcp"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return wrong
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or port == 0:
        return wrong
    if not url.isascii() or not url.isprintable() or " " in url:
        return wrong
    if has_token and parts.scheme == "http" and not is_loopback(parts.hostname):
        return "would take the token in the clear; https is needed"
    return None


def listed_tools(url: str, *, token: str | None = None, ca_file: Path | None = None) -> list[object]:
    """Return the tools of a server, of all pages.

    Raises:
        NoListError: the server does not answer, or answers something else.
        OSError: the file of CAs cannot be read.
    """
    server = _Server(urlsplit(url), token, ca_file)
    try:
        try:
            return list(server.modern())
        except _RefusedError:
            return list(server.handshake())
    except _RefusedError as error:
        raise NoListError(str(error)) from None


class _RefusedError(Exception):
    """The server refused a message."""


class _Server:
    def __init__(self, parts: SplitResult, token: str | None, ca_file: Path | None) -> None:
        self._parts = parts
        self._token = token
        self._context = None
        self._session: dict[str, str] = {}
        if parts.scheme == "https":
            self._context = client_context(ca_file)

    def modern(self) -> Iterator[object]:
        meta = {
            f"{_META}protocolVersion": _MODERN,
            f"{_META}clientInfo": _CLIENT,
            f"{_META}clientCapabilities": {},
        }
        headers = {"MCP-Protocol-Version": _MODERN, "Mcp-Method": "tools/list"}
        yield from self._pages({"_meta": meta}, headers)

    def handshake(self) -> Iterator[object]:
        params = {"protocolVersion": _HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT}
        result = self._result("initialize", params, {})
        version = result.get("protocolVersion")
        headers = dict(self._session)
        if isinstance(version, str) and version.isascii() and version.isprintable():
            headers["MCP-Protocol-Version"] = version
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
        yield from self._pages({}, headers)

    def _pages(self, params: Mapping[str, object], headers: Mapping[str, str]) -> Iterator[object]:
        cursor: object = None
        for _ in range(MAX_PAGES):
            asked = params if cursor is None else {**params, "cursor": cursor}
            result = self._result("tools/list", asked, headers)
            tools = result.get("tools")
            if not isinstance(tools, list):
                raise NoListError("the answer to tools/list has no list of tools")
            yield from tools
            cursor = result.get("nextCursor")
            if cursor is None:
                return
        raise NoListError(f"the list of tools does not end after {MAX_PAGES} pages")

    def _result(
        self, method: str, params: Mapping[str, object], headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._post(message, headers)
        if not isinstance(answer, dict) or "error" in answer or not isinstance(answer.get("result"), dict):
            code = answer.get("error") if isinstance(answer, dict) else None
            number = code.get("code") if isinstance(code, dict) else None
            raise _RefusedError(f"the server refuses {method}" + (f" ({number})" if number else ""))
        return dict(answer["result"])

    def _post(self, message: Mapping[str, object], headers: Mapping[str, str]) -> object:
        sent = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "User-Agent": f"extauthz/{__version__}",
            **headers,
        }
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            connection.request("POST", self._target, json.dumps(message).encode(), sent)
            response = connection.getresponse()
            session = response.getheader("Mcp-Session-Id")
            if session is not None and session.isascii() and session.isprintable():
                self._session = {"Mcp-Session-Id": session}
            kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            if not 200 <= response.status < 300:
                raise _RefusedError(f"the server answers {response.status} to {message['method']}")
            if response.status == 202 or "id" not in message:
                return None
            content = _first_event(response) if kind == "text/event-stream" else response.read(_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoListError(f"the server does not answer: {str(error) or type(error).__name__}") from None
        finally:
            connection.close()
        if len(content) > _MAX_BYTES:
            raise NoListError(f"the answer is longer than {_MAX_BYTES} octets")
        found = read_json(content, max_depth=_MAX_DEPTH)
        if isinstance(found, JsonRejected):
            raise NoListError(f"the answer is not JSON that can be read: {found.problem}")
        return found

    @property
    def _target(self) -> str:
        return (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")

    def _connection(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._context is not None:
            return http.client.HTTPSConnection(
                host, self._parts.port, timeout=TIMEOUT_S, context=self._context
            )
        return http.client.HTTPConnection(host, self._parts.port, timeout=TIMEOUT_S)


def _first_event(response: http.client.HTTPResponse) -> bytes:
    """Return the data of the first event that answers the request: one with an `id`."""
    data: list[bytes] = []
    read = 0
    while read <= _MAX_BYTES and (line := response.readline(_MAX_BYTES)):
        read += len(line)
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text.removeprefix(b"data:").removeprefix(b" "))
        elif not text and data:
            whole = b"\n".join(data)
            found = read_json(whole, max_depth=_MAX_DEPTH)
            if isinstance(found, dict) and "id" in found and "method" not in found:
                return whole
            data = []
    raise NoListError("the stream of the server ends without an answer")

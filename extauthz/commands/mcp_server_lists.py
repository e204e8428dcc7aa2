"""Asks an MCP server for what it lists, over streamable HTTP in either era of the protocol.

First as the protocol of 2026-07-28 has it, without a session, beginning with `server/discover`; where the
server refuses that, with the handshake of the protocols before it. Both say which lists there are
(`capabilities`). Redirects are not followed and no proxy is read from the environment: the token is for one
address.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from extauthz import __version__
from extauthz.domain.loopback import is_loopback
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.folders.http_deadline import answered_within
from extauthz.importing.mcp_lists import (
    MAX_ENTRIES,
    NEXT_CURSOR,
    PROMPTS,
    RESOURCES,
    TEMPLATES,
    TOOLS,
    McpList,
)
from extauthz.keys.client_tls import client_context

TIMEOUT_S: Final = 20.0
MAX_PAGES: Final = 100
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_DEPTH: Final = 64
_MODERN: Final = "2026-07-28"
_HANDSHAKE: Final = "2025-11-25"
_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "extauthz", "version": __version__}
_DECLARED: Final = {"tools": (TOOLS,), "resources": (RESOURCES, TEMPLATES), "prompts": (PROMPTS,)}
"""The lists of each member of `capabilities`."""
_METHOD_NOT_FOUND: Final = -32601  # JSON-RPC 2.0, 5.1


class NoListError(Exception):
    """The server gave no lists; the text is one line and says why."""


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


def server_lists(
    url: str, *, token: str | None = None, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S
) -> dict[str, list[object]]:
    """Return the entries of each list that the server declares, of all pages, by `McpList.member`.

    `timeout_s` is how many seconds the server may take for each answer as a whole.

    Raises:
        NoListError: the server does not answer, answers something else, or declares no list.
        OSError: the file of CAs cannot be read.
    """
    server = _Server(urlsplit(url), token, ca_file, timeout_s)
    try:
        try:
            capabilities = server.discover()
        except _RefusedError:
            capabilities = server.handshake()
        declared = [kinds for name, kinds in _DECLARED.items() if capabilities.get(name) is not None]
        asked = [kind for kinds in declared for kind in kinds]
        if not asked:
            raise NoListError("the server declares no tools, no resources and no prompts")
        return {kind.member: list(islice(server.listed(kind), MAX_ENTRIES + 1)) for kind in asked}
    except _RefusedError as error:
        raise NoListError(str(error)) from None


class _RefusedError(Exception):
    """The server refused a message; `code` is that of the JSON-RPC error, None without one."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class _Server:
    """The conversation with a server, of the era that `discover` or `handshake` has begun."""

    def __init__(self, parts: SplitResult, token: str | None, ca_file: Path | None, timeout_s: float) -> None:
        self._parts = parts
        self._timeout_s = timeout_s
        self._token = token
        self._context = client_context(ca_file) if parts.scheme == "https" else None
        self._headers: dict[str, str] = {}
        self._params: dict[str, object] = {}
        self._session: dict[str, str] = {}
        self._is_modern = False

    def discover(self) -> Mapping[str, Any]:
        """Return the capabilities of a server of the newer era."""
        meta = {
            f"{_META}protocolVersion": _MODERN,
            f"{_META}clientInfo": _CLIENT,
            f"{_META}clientCapabilities": {},
        }
        self._is_modern, self._params = True, {"_meta": meta}
        self._headers = {"MCP-Protocol-Version": _MODERN}
        return _capabilities(self._result("server/discover", self._params))

    def handshake(self) -> Mapping[str, Any]:
        """Begin a session of the older era, and return the capabilities."""
        self._is_modern, self._params, self._headers = False, {}, {}
        params = {"protocolVersion": _HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT}
        result = self._result("initialize", params)
        version = result.get("protocolVersion")
        self._headers = dict(self._session)
        if isinstance(version, str) and version.isascii() and version.isprintable():
            self._headers["MCP-Protocol-Version"] = version
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return _capabilities(result)

    def listed(self, kind: McpList) -> Iterator[object]:
        """Yield the entries of a list that the server declares."""
        cursor: object = None
        for _ in range(MAX_PAGES):
            asked = self._params if cursor is None else {**self._params, "cursor": cursor}
            try:
                result = self._result(kind.method, asked)
            except _RefusedError as error:
                # `resources` declares both lists of resources, and servers have the first one alone.
                if kind is TEMPLATES and error.code == _METHOD_NOT_FOUND:
                    return
                raise
            entries = result.get(kind.member)
            if not isinstance(entries, list):
                raise NoListError(f"the answer to {kind.method} has no list of {kind.member}")
            yield from entries
            cursor = result.get(NEXT_CURSOR)
            if cursor is None:
                return
        raise NoListError(f"the answer to {kind.method} does not end after {MAX_PAGES} pages")

    def _result(self, method: str, params: Mapping[str, object]) -> Mapping[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._post(message)
        if not isinstance(answer, dict) or "error" in answer or not isinstance(answer.get("result"), dict):
            code = _error_code(answer)
            raise _RefusedError(f"the server refuses {method}" + (f" ({code})" if code else ""), code)
        return dict(answer["result"])

    def _post(self, message: Mapping[str, object]) -> object:
        method = str(message["method"])
        sent = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "User-Agent": f"extauthz/{__version__}",
            **self._headers,
        }
        if self._is_modern:
            sent["Mcp-Method"] = method
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        connection = self._connection()
        try:
            with answered_within(connection, self._timeout_s):
                connection.request("POST", self._target, json.dumps(message).encode(), sent)
                response = connection.getresponse()
                session = response.getheader("Mcp-Session-Id")
                if session is not None and session.isascii() and session.isprintable():
                    self._session = {"Mcp-Session-Id": session}
                kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
                if response.status == 202 or (200 <= response.status < 300 and "id" not in message):
                    return None
                is_stream = kind == "text/event-stream" and 200 <= response.status < 300
                content = _first_event(response) if is_stream else response.read(_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoListError(f"the server does not answer: {str(error) or type(error).__name__}") from None
        finally:
            connection.close()
        if len(content) > _MAX_BYTES:
            raise NoListError(f"the answer is longer than {_MAX_BYTES} octets")
        found = read_json(content, max_depth=_MAX_DEPTH)
        if not 200 <= response.status < 300:
            raise _RefusedError(f"the server answers {response.status} to {method}", _error_code(found))
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
                host, self._parts.port, timeout=self._timeout_s, context=self._context
            )
        return http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout_s)


def _capabilities(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found = result.get("capabilities")
    return found if isinstance(found, dict) else {}


def _error_code(answer: object) -> int | None:
    error = answer.get("error") if isinstance(answer, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


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

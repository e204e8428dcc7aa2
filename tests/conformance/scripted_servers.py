"""The API and the identity provider of a case: real sockets that follow one list of exchanges."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from tests.conformance.cases import octets
from tests.conformance.client_assertions import Assertions
from tests.conformance.comparison import Request, request_differences

_NO_CONNECTION: Final = frozenset({"refused", "closed_before"})


@dataclass
class Script:
    """The exchanges of a case in their order, and how far the client is.

    A request after `end`, the last exchange of the current step, is a problem, as is one that differs.
    """

    exchanges: Sequence[Mapping[str, Any]]
    servers: "dict[str, _Server]" = field(default_factory=dict)
    position: int = 0
    end: int = 0
    problems: list[str] = field(default_factory=list)
    requests: list[tuple[str, Request]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    service_key: str | None = None
    assertions: Assertions | None = None
    refused_now: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def upcoming(self, server: str | None = None) -> Mapping[str, Any]:
        """Return the next exchange, or the next of one server; an empty one after the last."""
        ahead = self.exchanges[self.position :]
        return next((each for each in ahead if server in (None, each.get("to", "api"))), {})

    def take(self, server: str, request: Request | None) -> Mapping[str, Any] | None:
        """Return the exchange of a request that arrived; None where none is due."""
        with self.lock:
            shown = "a connection" if request is None else f"{request.method} {request.target}"
            if self.position >= self.end:
                self.problems.append(f"{server} got {shown} after the last exchange of the step")
                return None
            exchange = self.upcoming()
            self.position += 1
            if exchange.get("to", "api") != server:
                self.problems.append(
                    f"{server} got {shown}, where {exchange['request']} was due at the other"
                )
                return None
            if request is not None:
                self.requests.append((server, request))
                self.problems += request_differences(exchange, request)
                self.problems += self._credential_differences(server, request)
                if "assertion" in exchange and self.assertions is not None:
                    self.problems += self.assertions.differences(exchange["assertion"], request)
            self._note_token(server, exchange)
            # After these the client goes on without a pause.
            status = exchange["answer"].get("status", HTTPStatus.BAD_GATEWAY)
            self._note_refused(
                goes_on=status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.UNAUTHORIZED
            )
            return exchange

    def _credential_differences(self, server: str, request: Request) -> Iterator[str]:
        if server == "api":
            key, bearer = request.header("x-service-api-key"), request.header("authorization")
            wanted = (None, f"Bearer {self.tokens[-1]}") if self.tokens else (self.service_key, None)
            if (key, bearer) != wanted:
                yield f"the credential is {(key, bearer)}, not {wanted}"

    def _note_token(self, server: str, exchange: Mapping[str, Any]) -> None:
        document = exchange["answer"].get("json")
        if server == "provider" and isinstance(document, Mapping) and "access_token" in document:
            self.tokens.append(str(document["access_token"]))

    def begin_step(self, exchanges: int) -> None:
        """Let the exchanges of the next step happen."""
        with self.lock:
            self.end = self.position + exchanges
            self._note_refused(goes_on=True)
            self.prepare()

    def paused(self) -> None:
        """Take note that the client waits: an attempt that was refused is over."""
        with self.lock:
            self._pass_refused()
            self._note_refused(goes_on=True)
            self.prepare()

    def end_step(self) -> None:
        """Take note that the call has returned."""
        with self.lock:
            self._pass_refused()
            left = self.exchanges[self.position : self.end]
            self.problems += [f"{each['request']} did not happen" for each in left]
            self.position = self.end

    def _pass_refused(self) -> None:
        if self.refused_now:
            self.position += 1
            self.refused_now = False

    def _note_refused(self, *, goes_on: bool) -> None:
        """Note whether the next connection, which is made before the next pause, is a refused one."""
        due = self.upcoming().get("answer", {}) if self.position < self.end else {}
        self.refused_now = goes_on and due.get("connection") == "refused"

    def prepare(self) -> None:
        """Stop listening where the next connection is refused, and listen elsewhere."""
        refused = self.upcoming() if self.position < self.end else {}
        for name, server in self.servers.items():
            if refused.get("to", "api") == name and refused.get("answer", {}).get("connection") == "refused":
                server.refuse()
            else:
                server.listen()

    def keeps_alive(self, server: str) -> bool:
        """Tell whether the connection of an answer can be used again."""
        return self.upcoming(server).get("answer", {}).get("connection") not in _NO_CONNECTION


class _Server:
    """A port of loopback that is either listened on or refuses connections."""

    def __init__(self, name: str, script: Script) -> None:
        self._name = name
        self._script = script
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        # Keeps the port while nothing listens on it.
        self._reserved = self._bound(0)
        self.port: int = self._reserved.getsockname()[1]

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def listen(self) -> None:
        if self._listener is None:
            self._listener = self._bound(self.port)
            self._listener.listen()
            self._start(self._accept, self._listener)

    def refuse(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def close(self) -> None:
        self.refuse()
        self._reserved.close()
        with self._script.lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, target: Any, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._script.lock:
                    due = self._script.upcoming()
                    early = due.get("to", "api") == self._name and self._script.position < self._script.end
                    if early and due["answer"].get("connection") == "closed_before":
                        self._script.take(self._name, None)
                        self._script.prepare()
                        connection.close()
                        continue
                    self._connections.add(connection)
                    self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            reader = connection.makefile("rb")
            with suppress(OSError), connection, reader:
                while (request := _read(reader)) is not None and self._answered(connection, request):
                    pass
        finally:
            with self._script.lock:
                self._connections.discard(connection)

    def _answered(self, connection: socket.socket, request: Request) -> bool:
        """Answer as the script says; tell whether the connection goes on."""
        with self._script.lock:
            exchange = self._script.take(self._name, request)
            self._script.prepare()
            kept = exchange is not None and self._script.keeps_alive(self._name)
        answer = {"status": 400} if exchange is None else exchange["answer"]
        match answer.get("connection"):
            case "closed":
                return False
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                return False
            case "silent":
                connection.recv(1)
                return False
            case "truncated":
                connection.sendall(_encoded(answer, kept=kept)[:-1])
                return False
            case _:
                connection.sendall(_encoded(answer, kept=kept))
                return kept


def _read(reader: Any) -> Request | None:
    """Read a request; None at the end of the connection."""
    line = reader.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers: list[tuple[str, str]] = []
    while field_line := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = field_line.partition(":")
        headers.append((name.lower(), value.strip()))
    request = Request(method, target, headers, b"")
    if request.header("transfer-encoding") == "chunked":
        return Request(method, target, headers, b"".join(_chunks(reader)))
    return Request(method, target, headers, reader.read(int(request.header("content-length") or 0)))


def _chunks(reader: Any) -> Iterator[bytes]:
    while size := int(reader.readline(), 16):
        yield reader.read(size)
        reader.readline()
    reader.readline()


def _encoded(answer: Mapping[str, Any], *, kept: bool) -> bytes:
    status = answer["status"]
    body, kind = _body(answer)
    headers = dict(answer.get("headers", {}))
    if body is not None:
        headers.setdefault("content-type", kind)
    if not kept:
        headers["connection"] = "close"
    chunked = answer.get("connection") == "chunked"
    if chunked:
        headers["transfer-encoding"] = "chunked"
        body = b"".join(b"1\r\n%c\r\n" % octet for octet in body or b"") + b"0\r\n\r\n"
    elif status != HTTPStatus.NO_CONTENT:
        headers["content-length"] = str(len(body or b""))
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    for name, value in headers.items():
        lines += [f"{name}: {each}" for each in ([value] if isinstance(value, str) else value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _body(answer: Mapping[str, Any]) -> tuple[bytes | None, str]:
    kind = "application/json" if answer["status"] < 400 else "application/problem+json"
    if "json" in answer:
        return written(answer["json"]).encode(), kind
    if "text" in answer:
        return answer["text"].encode(), kind
    if "octets" in answer:
        return octets(answer["octets"]), kind
    if "repeat" in answer:
        repeat = answer["repeat"]
        text = repeat.get("before", "") + repeat["text"] * repeat["times"] + repeat.get("after", "")
        return text.encode(), kind
    return None, kind


def written(value: object) -> str:
    """Return a document as JSON, each number with the digits it has in the case."""
    match value:
        case Decimal():
            return str(value)
        case Mapping():
            members = (f"{json.dumps(name)}: {written(each)}" for name, each in value.items())
            return f"{{{', '.join(members)}}}"
        case list():
            return f"[{', '.join(map(written, value))}]"
        case _:
            return json.dumps(value)


@contextmanager
def scripted(script: Script) -> Iterator[dict[str, str]]:
    """Run both servers of a script; yield the variables with their addresses."""
    script.servers = {name: _Server(name, script) for name in ("api", "provider")}
    try:
        yield {name.upper(): f"http://127.0.0.1:{server.port}" for name, server in script.servers.items()}
    finally:
        for server in script.servers.values():
            server.close()

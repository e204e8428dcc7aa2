"""One HTTP/1.1 connection to Envoy that is kept, with one request at a time."""

import socket
import time
from collections.abc import Sequence
from typing import Final

from tests.benchmarks.load import SILENCE_S, Answer, LoadError

_LENGTH: Final = b"content-length: "


def request(path: str, host: str, headers: dict[str, str]) -> bytes:
    """Return a GET request."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"host: {host}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class HttpConnection:
    """A client of the proxy on loopback."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._began = 0
        self.finished: list[tuple[float, Answer]] = []
        """Microseconds and answer of the request that has ended; the reader clears it."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, messages: Sequence[bytes]) -> None:
        """Send the request."""
        (message,) = messages
        self._began = time.perf_counter_ns()
        self._socket.sendall(message)

    def receive(self) -> None:
        """Read what has arrived; a whole response goes to `finished`."""
        try:
            octets = self._socket.recv(65_536)
        except OSError as error:
            raise LoadError(f"the connection broke: {error}") from error
        if not octets:
            raise LoadError("the proxy closed the connection")
        self._received += octets
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        at = head.find(_LENGTH)
        if at < 0:
            raise LoadError(f"a response without content-length: {head!r}")
        length = int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])
        if len(body) < length:
            return
        if len(body) > length:
            raise LoadError("more than one response")
        taken = (time.perf_counter_ns() - self._began) / 1000
        self.finished.append((taken, Answer(head[9:12].decode(), body)))
        self._received = b""

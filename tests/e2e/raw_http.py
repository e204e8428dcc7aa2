"""HTTP with exact octets in both directions, over HTTP/1.1 and HTTP/2, as an attacker writes it.

`LenientUpstream` is a server that refuses nothing and says what reached it, byte for byte.
"""

import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from tests.lenient_upstreams import names_seen_after_folding, names_seen_by_each

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Arrival:
    """One request as the upstream received it; names as they were spelt, trailers among the headers."""

    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def may_mean(self, name: str) -> bool:
        """Whether any generous server would look for this below the name."""
        path = self.target.partition(b"?")[0].decode("utf-8", "surrogateescape")
        readings = [*names_seen_by_each(path), names_seen_after_folding(path)]
        return any(names[:1] == [name] for names in readings)


@dataclass(frozen=True)
class Reply:
    """What came back; `status` is 0 when the connection ended without an answer."""

    status: int
    body: bytes = b""

    @property
    def reason(self) -> str | None:
        document = self._document()
        return document.get("reason") if document else None

    @property
    def decision_id(self) -> str | None:
        """The id of the decision that refused."""
        document = self._document()
        return document.get("decision_id") if document else None

    @property
    def arrival(self) -> Arrival | None:
        """The request as it reached the upstream, None when it did not."""
        document = self._document()
        if not document or "target" not in document:
            return None
        pairs = tuple(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in document["headers"]
        )
        return Arrival(document["target"].encode("latin-1"), pairs)

    def _document(self) -> dict[str, Any] | None:
        try:
            document = json.loads(self.body)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def request(target: bytes, *lines: bytes, method: bytes = b"GET", host: bytes = b"site.example") -> bytes:
    """Return an HTTP/1.1 request; each of `lines` is one whole header line."""
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: " + host, *lines, b"", b""])


def http1(port: int, octets: bytes) -> Reply:
    """Send these bytes on a connection of their own and return the first answer."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), TIMEOUT_S) as connection:
        connection.sendall(octets)
        stream = connection.makefile("rb")
        status_line = stream.readline().split(b" ", 2)
        if len(status_line) < 2:
            return Reply(0)
        length = 0
        while (line := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        # RFC 9110 9.3.2: the length that an answer to HEAD names is of what is not sent.
        return Reply(int(status_line[1]), b"" if octets.startswith(b"HEAD ") else stream.read(length))
    return Reply(0)


def http2(port: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Send one HTTP/2 request of exactly these header fields; return the body of the answer, if any."""
    return http2_reply(port, headers).body


def http2_reply(port: int, headers: Sequence[tuple[bytes, bytes]], body: bytes | None = None) -> Reply:
    """Send one HTTP/2 request of exactly these header fields, and this body, on a connection of its own."""
    block = http2_header_block(headers)
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"")
    if body is None:
        opening += http2_frame(1, 0x5, 1, block)
    else:
        opening += http2_frame(1, 0x4, 1, block) + http2_frame(0, 0x1, 1, body)
    status, received = 0, b""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), TIMEOUT_S) as connection:
        connection.sendall(opening)
        stream = connection.makefile("rb")
        while len(head := stream.read(9)) == 9:
            length, kind, flags, number = int.from_bytes(head[:3]), head[3], head[4], head[5:9]
            payload = stream.read(length)
            if kind == 0:
                received += payload
            elif kind == 1 and not status:
                status = _status(payload)
            ours = int.from_bytes(number) == 1
            if kind == 7 or (ours and (kind == 3 or (kind in {0, 1} and flags & 1))):
                break
    return Reply(status, received)


_STATIC_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
_HUFFMAN_DIGITS = {
    "00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4",
    "011011": "5", "011100": "6", "011101": "7", "011110": "8", "011111": "9",
}  # fmt: skip


def _status(block: bytes) -> int:
    """Read `:status`, the first field of a connection's first answer (RFC 7541 6, appendices A and B)."""
    if block[0] in _STATIC_STATUS:
        return _STATIC_STATUS[block[0]]
    assert block[0] & 0x0F == 8, "the first field is not :status"
    value = block[2 : 2 + (block[1] & 0x7F)]
    if not block[1] & 0x80:
        return int(value)
    digits, code = "", ""
    for bit in f"{int.from_bytes(value):0{8 * len(value)}b}":
        code += bit
        if code in _HUFFMAN_DIGITS:
            digits, code = digits + _HUFFMAN_DIGITS[code], ""
    return int(digits)


def http2_request(target: bytes, *more: tuple[bytes, bytes],
host: bytes = b"site.example") -> list[tuple[bytes, bytes]]:  # fmt: skip
    """Return the fields of a GET."""
    return [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", host), (b":path", target), *more]


def http2_header_block(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return header fields as literals that no table keeps (RFC 7541 6.2.2)."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame (RFC 9113 4.1)."""
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _string(text: bytes) -> bytes:
    """A string literal of HPACK, without Huffman coding (RFC 7541 5.1, 5.2)."""
    left = len(text)
    if left < 127:
        return bytes([left]) + text
    octets, left = [127], left - 127
    while left >= 128:
        octets.append(left % 128 + 128)
        left //= 128
    return bytes([*octets, left]) + text


@dataclass
class LenientUpstream:
    """A server in threads of this process; `arrivals` is everything that ever reached it."""

    port: int
    arrivals: list[Arrival] = field(default_factory=list)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        upstream = cast("_Server", self.server).upstream
        with contextlib.suppress(OSError):
            while head := self._read_request():
                arrival = Arrival(*head)
                upstream.arrivals.append(arrival)
                headers = [
                    [name.decode("latin-1"), value.decode("latin-1")] for name, value in arrival.headers
                ]
                document = {"target": arrival.target.decode("latin-1"), "headers": headers}
                body = json.dumps(document).encode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _read_request(self) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]] | None:
        line = self.rfile.readline()
        if not line:
            return None
        target = line.partition(b" ")[2].rpartition(b" ")[0]
        headers = list(self._lines())
        lower = {name.lower(): value for name, value in headers}
        if b"content-length" in lower:
            self.rfile.read(int(lower[b"content-length"]))
        elif b"chunked" in lower.get(b"transfer-encoding", b""):
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                self.rfile.read(size + 2)
            headers += self._lines()
        return target, tuple(headers)

    def _lines(self) -> Iterator[tuple[bytes, bytes]]:
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            name, _, value = line.rstrip(b"\r\n").partition(b":")
            yield name, value.strip(b" ")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    upstream: LenientUpstream


@contextmanager
def lenient_upstream() -> Iterator[LenientUpstream]:
    with _Server((LOOPBACK, 0), _Handler) as server:
        server.upstream = LenientUpstream(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.upstream
        finally:
            server.shutdown()
            thread.join()

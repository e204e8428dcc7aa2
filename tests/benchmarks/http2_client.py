"""One HTTP/2 connection of a gRPC client that reads `grpc-status` and the message of every answer.

A general client costs more CPU than the servers that are measured; one that counts HTTP statuses (h2load)
takes an RPC error for a success.

A connection's first request names its headers and puts them into the server's HPACK table; later ones refer
to them, as real clients do.
"""

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

import hpack

from tests.benchmarks.load import SILENCE_S, Answer, LoadError

CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_INITIAL_WINDOW_SIZE: Final = 4
_LARGEST_WINDOW: Final = 2**31 - 1
_USUAL_WINDOW: Final = 65_535
_LARGEST_FRAME: Final = 16_384
_HEAD: Final = struct.Struct(">BHBBI")
_NAMED: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", CHECK),
    (":authority", "127.0.0.1"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "5S"),
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class GrpcConnection:
    """One connection to a server on loopback."""

    def __init__(self, port: int) -> None:
        """Connect, and announce windows that no answer can fill."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        window = struct.pack(">I", _LARGEST_WINDOW - _USUAL_WINDOW)
        self._socket.sendall(
            _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW_UPDATE, 0, 0, window)
        )
        encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        # The first fills the server's table, the second refers to it.
        self._first_block, self._later_block = encoder.encode(_NAMED), encoder.encode(_NAMED)
        self._known: dict[bytes, str | None] = {}
        self._next = 1
        self._window = _USUAL_WINDOW
        self._received = b""
        self._began: dict[int, int] = {}
        self._messages: dict[int, bytes] = {}
        self._waiting: list[bytes] = []
        self.finished: list[tuple[float, Answer]] = []
        """Microseconds and answer of each call that has ended; the reader clears it."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, messages: Sequence[bytes]) -> None:
        """Begin a call for each message, or once the server's window allows it."""
        self._waiting += messages
        parts: list[bytes] = []
        now = time.perf_counter_ns()
        while self._waiting and len(self._waiting[0]) + 5 <= self._window:
            message = self._waiting.pop(0)
            parts.append(self._request(message))
            self._began[self._next] = now
            self._next += 2
        if parts:
            self._socket.sendall(b"".join(parts))

    def receive(self) -> None:
        """Read what has arrived; calls that ended go to `finished`."""
        try:
            octets = self._socket.recv(262_144)
        except OSError as error:
            raise LoadError(f"the connection broke: {error}") from error
        if not octets:
            raise LoadError("the server closed the connection")
        buffer, at = self._received + octets, 0
        now = time.perf_counter_ns()
        while len(buffer) - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
            end = at + 9 + (high << 16 | low)
            if end > len(buffer):
                break
            self._take(kind, flags, stream, buffer[at + 9 : end], now)
            at = end
        self._received = buffer[at:]

    def _request(self, message: bytes) -> bytes:
        assert len(message) + 5 <= _LARGEST_FRAME, "a message has to fit into one frame"
        block = self._first_block if self._next == 1 else self._later_block
        self._window -= len(message) + 5
        data = struct.pack(">BI", 0, len(message)) + message
        return frame(_HEADERS, _END_HEADERS, self._next, block) + frame(_DATA, _END_STREAM, self._next, data)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, now: int) -> None:
        if flags & (_PADDED | _PRIORITY) and kind in {_DATA, _HEADERS}:
            raise LoadError("padding and priorities are not read")
        if kind == _DATA:
            before = self._messages.get(stream)
            self._messages[stream] = payload if before is None else before + payload
        elif kind == _HEADERS:
            if not flags & _END_HEADERS:
                raise LoadError("continued header blocks are not read")
            status = self._status(payload)
            if flags & _END_STREAM:
                self._end(stream, status, now)
        elif kind == _WINDOW_UPDATE:
            if stream == 0:
                self._window += struct.unpack(">I", payload)[0]
                self.send(())
        elif kind == _SETTINGS and not flags & _ACK:
            self._socket.sendall(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM and stream in self._began:
            raise LoadError(f"the server reset a call (error {struct.unpack('>I', payload)[0]})")
        elif kind == _GOAWAY:
            raise LoadError(f"the server ends the connection: {payload!r}")

    def _end(self, stream: int, status: str | None, now: int) -> None:
        framed = self._messages.pop(stream, b"")
        if framed and (framed[0] or len(framed) != 5 + int.from_bytes(framed[1:5])):
            raise LoadError("the answer is not one plain message")
        taken = (now - self._began.pop(stream)) / 1000
        self.finished.append((taken, Answer(status, framed[5:])))

    def _status(self, block: bytes) -> str | None:
        """Return `grpc-status` of a header block, which is decoded once unless it changes the table."""
        try:
            return self._known[block]
        except KeyError:
            table = self._decoder.header_table.dynamic_entries
            before = tuple(table)
            found = {str(name): str(value) for name, value in self._decoder.decode(block)}.get("grpc-status")
            if tuple(table) == before:
                self._known[block] = found
            else:
                self._known.clear()
            return found

"""A gRPC client that sends the given frames and returns the received ones.

It keeps HTTP/2 flow control for messages that have to arrive; `raw` sends bytes as they are.
"""

import contextlib
import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

CHECK_PATH: Final = "/envoy.service.auth.v3.Authorization/Check"
HEALTH_PATH: Final = "/grpc.health.v1.Health/Check"
WAIT_S: Final = 15.0
_UNIX: Final = "unix:"


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    """Return a length-prefixed message of gRPC."""
    if compressed:
        payload = gzip.compress(payload)
    return struct.pack(">BI", compressed, len(payload)) + payload


@dataclass
class RawAnswer:
    """What came back on one stream so far."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        """The status of gRPC, None before it has arrived."""
        said = self.headers.get("grpc-status")
        return None if said is None else int(said)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.reset is not None

    @property
    def payload(self) -> bytes:
        """The message of a successful call."""
        assert self.status == 0, self
        assert len(self.body) == 5 + int.from_bytes(self.body[1:5])
        return self.body[5:]


class RawConnection:
    """One connection; streams are known by their number."""

    def __init__(self, address: str) -> None:
        """Connect to `host:port` or `unix:path` and send the preface."""
        if address.startswith(_UNIX):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.removeprefix(_UNIX))
        else:
            host, _, port = address.rpartition(":")
            self.socket = socket.create_connection((host.strip("[]"), int(port)))
        self.socket.settimeout(WAIT_S)
        configuration = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, validate_inbound_headers=False
        )
        self._http = h2.connection.H2Connection(configuration)
        self._http.initiate_connection()
        self.answers: dict[int, RawAnswer] = {}
        self.pings = 0
        self.goaway_code: int | None = None
        self.closed = False
        self.settled = False
        self._held = False
        self._received = b""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def open(self, path: str = CHECK_PATH, *headers: tuple[str, str], end: bool = False) -> int:
        """Open a stream; return its number."""
        self.until(lambda: self.settled)
        number = self._http.get_next_available_stream_id()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "authz"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *headers,
        ]
        self._http.send_headers(number, fields, end_stream=end)
        self.answers[number] = RawAnswer()
        self.flush()
        return number

    def send(self, number: int, octets: bytes, *, end: bool = True) -> None:
        """Send octets of a stream's body, as the other side has room for them; the answer may come first."""
        left = memoryview(octets)
        while left and not self.answers[number].over:
            self.until(lambda: self.answers[number].over or self._http.local_flow_control_window(number) > 0)
            if self.answers[number].over:
                return
            size = min(self._http.local_flow_control_window(number), self._http.max_outbound_frame_size)
            self._http.send_data(number, bytes(left[:size]))
            left = left[size:]
            self.flush()
        if end and not self.answers[number].over:
            self._http.end_stream(number)
            self.flush()

    def ask(self, payload: bytes, path: str = CHECK_PATH, *headers: tuple[str, str]) -> RawAnswer:
        """Make one whole call."""
        number = self.open(path, *headers)
        self.send(number, message(payload))
        return self.answer(number)

    def answer(self, number: int) -> RawAnswer:
        """Wait until a stream is over."""
        self.until(lambda: self.answers[number].over or self.closed)
        return self.answers[number]

    def reset(self, number: int) -> None:
        """Cancel a call, as Envoy does when its own timeout is over."""
        self._http.reset_stream(number, 8)
        self.flush()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._http.ping(b"12345678")
        self.flush()

    def raw(self, octets: bytes) -> None:
        """Send bytes past every rule."""
        with contextlib.suppress(OSError):
            self.socket.sendall(octets)

    def flush(self) -> None:
        """Send what is due."""
        if self._held:
            return
        with contextlib.suppress(OSError):
            self.socket.sendall(self._http.data_to_send())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep what is due and send it at once in the end."""
        self._held = True
        yield
        self._held = False
        self.flush()

    def until(self, happened: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        """Receive until something happened; the other side closing is the end of waiting."""
        last = time.monotonic() + wait_s
        while not happened() and not self.closed:
            self.socket.settimeout(max(last - time.monotonic(), 0.001))
            try:
                octets = self.socket.recv(65536)
            except ConnectionError:
                octets = b""
            if not octets:
                self.closed = True
                return
            self._received += octets
            while (frame := self._next_frame()) and not self.closed:
                try:
                    for event in self._http.receive_data(frame):
                        self._take(event)
                except h2.exceptions.ProtocolError:
                    self.closed = True
            self.flush()

    def _next_frame(self) -> bytes:
        """Take one frame of what was received: where the library refuses one, those before it still count."""
        end = 9 + int.from_bytes(self._received[:3])
        if len(self._received) < end:
            return b""
        frame, self._received = self._received[:end], self._received[end:]
        return frame

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled = True
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self.answers[event.stream_id].headers.update(
                    {_text(name): _text(value) for name, value in event.headers}
                )
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = int(event.error_code)
            case h2.events.PingAckReceived():
                self.pings += 1
            case h2.events.ConnectionTerminated():
                self.goaway_code = int(event.error_code or 0)


def _text(field_part: bytes | str) -> str:
    return field_part.decode() if isinstance(field_part, bytes) else field_part

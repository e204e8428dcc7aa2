"""Sends lines to an OpenTelemetry collector as log records (OTLP): DECISION_LOG=otlp.

The body of a record is the line, byte for byte, so that chains can be verified behind the collector. Lines
that a collector may have stored without confirming it are sent again as they are; it can have them twice
then.
"""

import struct
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from extauthz import __version__
from extauthz.decisionlog.destination import Pace, WrittenLines
from extauthz.domain.reasons import Effect
from extauthz.telemetry.otlp import NotSent, Sender

MAX_REQUEST_BYTES: Final = 1 << 19
"""Of the lines of one request; a gRPC server takes 4 MiB unless it is told otherwise."""

_TURN: Final = 16
_PACE: Final = Pace(tick_s=0.5, wake_at=512, smallest_batch=512, turn=_TURN)
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 15.0
_HURRIED_S: Final = 1.0
_SCOPE: Final = InstrumentationScope(name="extauthz.decisionlog", version=__version__).SerializeToString()
_TRACE_ID_DIGITS: Final = 32
_SPAN_ID_DIGITS: Final = 16
_SECOND: Final = len("2026-11-30T12:00:00")

# Numbers of fields: logs_service.proto, logs.proto, common.proto.
_RESOURCE_LOGS: Final = 1
_RESOURCE: Final = 1
_SCOPE_LOGS: Final = 2
_SCOPE_OF_LOGS: Final = 1
_LOG_RECORDS: Final = 2
_TIME: Final = 1
_BODY: Final = 5
_TRACE_ID: Final = 9
_SPAN_ID: Final = 10
_OBSERVED_TIME: Final = 11
_STRING_VALUE: Final = 1


class OtlpDestination:
    """A collector; after an error it is asked again after a pause that doubles, or as long as it says."""

    pace: Final = _PACE

    def __init__(
        self,
        sender: Sender,
        resource: Resource,
        *,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a sender of log records, and the resource of this process. `timeout_s` is for one request."""
        self._sender = sender
        self._resource = resource.SerializeToString()
        self._timeout_s = timeout_s
        self._clock = clock
        self._not_before = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._error = OSError()
        self._hurried = threading.Event()

    def write(self, lines: Sequence[bytes]) -> WrittenLines:
        """Send lines in requests of MAX_REQUEST_BYTES, until done or an error."""
        written = rejected = 0
        detail = ""
        if self._clock() < self._not_before and not self._hurried.is_set():
            return WrittenLines(0, self._error, keep=True)
        while written < len(lines):
            part = _first_part(lines[written:])
            within_s = min(self._timeout_s, _HURRIED_S) if self._hurried.is_set() else self._timeout_s
            sent = self._sender.send(self._request(part), within_s)
            if isinstance(sent, NotSent):
                self._back_off(sent)
                return WrittenLines(written, self._error, keep=sent.again, rejected=rejected, detail=detail)
            written += len(part)
            rejected += min(sent.rejected, len(part))
            detail = sent.detail or detail
        self._not_before, self._pause_s = 0.0, _FIRST_PAUSE_S
        return WrittenLines(written, rejected=rejected, detail=detail)

    def hurry(self) -> None:
        """Wait no longer before a request, and at most a second for its answer."""
        self._hurried.set()

    def abort(self) -> None:
        """End the request that is under way."""
        self._sender.close()

    def reopen(self) -> OSError | None:
        """Do nothing: there is no file."""
        return None

    def close(self) -> None:
        """Close the connection."""
        self._sender.close()

    def _back_off(self, sent: NotSent) -> None:
        self._error = OSError(sent.cause)
        pause = self._pause_s if sent.after_s is None else min(sent.after_s, _LONGEST_PAUSE_S)
        self._not_before = self._clock() + pause
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _request(self, lines: Sequence[bytes]) -> bytes:
        """Return an ExportLogsServiceRequest with a record for each line."""
        now = _field(_OBSERVED_TIME, struct.pack("<Q", time.time_ns()))
        records: list[bytes] = []
        for number, line in enumerate(lines, 1):
            records.append(_nested(_LOG_RECORDS, _record(line) + now))
            if number % _TURN == 0:
                # Requests under way wait for the interpreter otherwise.
                time.sleep(0)
        scope_logs = _nested(_SCOPE_OF_LOGS, _SCOPE) + b"".join(records)
        resource_logs = _nested(_RESOURCE, self._resource) + _nested(_SCOPE_LOGS, scope_logs)
        return _nested(_RESOURCE_LOGS, resource_logs)


def _first_part(lines: Sequence[bytes]) -> Sequence[bytes]:
    """Return as many of the first lines as one request takes; at least one."""
    size = 0
    for number, line in enumerate(lines):
        size += len(line)
        if size > MAX_REQUEST_BYTES and number:
            return lines[:number]
    return lines


def _record(raw: bytes) -> bytes:
    """Return the LogRecord of a line, without the time at which it was observed.

    It is encoded here: made as a message of the library it costs five times as much as the line itself.
    """
    line = orjson.loads(raw)
    ts = line["ts"]
    nanoseconds = _second(ts[:_SECOND]) * 1_000_000_000 + int(ts[_SECOND + 1 : _SECOND + 7]) * 1000
    return b"".join(
        (
            _field(_TIME, struct.pack("<Q", nanoseconds)),
            _about(line["event"], line.get("decision"), line.get("reason"), line.get("tenant")),
            _nested(_BODY, _nested(_STRING_VALUE, raw[:-1])),
            _id(_TRACE_ID, line.get("trace_id"), _TRACE_ID_DIGITS),
            _id(_SPAN_ID, line.get("span_id"), _SPAN_ID_DIGITS),
        )
    )


@lru_cache(maxsize=4096)
def _about(event: str, decision: str | None, reason: str | None, tenant: str | None) -> bytes:
    """Return severity, attributes and name of a record: those of many lines."""
    denied = decision == Effect.DENY
    name = f"extauthz.{event}"
    record = LogRecord(
        severity_number=(
            SeverityNumber.SEVERITY_NUMBER_WARN if denied else SeverityNumber.SEVERITY_NUMBER_INFO
        ),
        severity_text="WARN" if denied else "INFO",
        event_name=name,
        attributes=[
            KeyValue(key=key, value=AnyValue(string_value=value))
            for key, value in (
                ("event.name", name),
                ("extauthz.decision", decision),
                ("extauthz.reason", reason),
                ("extauthz.tenant", tenant),
            )
            if value is not None
        ],
    )
    return record.SerializeToString()


@lru_cache(maxsize=8)
def _second(ts: str) -> int:
    return int(datetime.fromisoformat(ts).replace(tzinfo=UTC).timestamp())


def _id(number: int, digits: object, length: int) -> bytes:
    """Return the field of an id; nothing for what is not one, such as a masked id."""
    if not isinstance(digits, str) or len(digits) != length:
        return b""
    try:
        return _nested(number, bytes.fromhex(digits))
    except ValueError:
        return b""


def _field(number: int, fixed64: bytes) -> bytes:
    return bytes((number << 3 | 1,)) + fixed64


def _nested(number: int, octets: bytes) -> bytes:
    """Return a length-delimited field (protobuf.dev/programming-guides/encoding)."""
    size, digits = len(octets), bytearray((number << 3 | 2,))
    while size > 0x7F:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    digits.append(size)
    return bytes(digits) + octets

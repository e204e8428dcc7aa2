"""Sends OTLP requests to a collector, each within a time limit as a whole: for spans and for log records.

Input: `OtlpTarget`, and the octets of an `Export...ServiceRequest`. Output: `Sent`, or `NotSent` with the
cause. Nothing is queued or repeated here; the caller decides about both. One thread sends at a time.

The SDK's exporters are not used: they drop what a collector rejects in part without a count, and their time
limit over HTTP is one of each read (ADR 62).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from extauthz import __version__
from extauthz.settings import OtlpCompression, OtlpProtocol, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SERVICE_NAME: Final = "extauthz"
USER_AGENT: Final = f"extauthz/{__version__}"
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_CAUSE_LENGTH: Final = 300
_SECRET_LENGTH: Final = 8
"""Shorter parts of a header, such as `Bearer`, are words."""
_HTTP_PORT: Final = 4318
_GRPC_PORT: Final = 4317


class Signal(StrEnum):
    """What is exported; the value is the last part of its path over HTTP."""

    TRACES = "traces"
    LOGS = "logs"

    @property
    def method(self) -> str:
        """The gRPC method that takes it."""
        name = "Trace" if self is Signal.TRACES else "Logs"
        package = "trace" if self is Signal.TRACES else "logs"
        return f"/opentelemetry.proto.collector.{package}.v1.{name}Service/Export"


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """Where and how one signal is sent; `url` is complete, with its path for HTTP. `timeout_s` is seconds."""

    url: str
    signal: Signal
    protocol: OtlpProtocol = OtlpProtocol.HTTP
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    timeout_s: float = 10.0
    gzip: bool = False

    @property
    def is_encrypted(self) -> bool:
        """Whether the collector is asked over TLS."""
        return self.url.startswith("https:")

    @property
    def address(self) -> str:
        """`host:port`, for gRPC."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or (443 if self.is_encrypted else 80)}"


@dataclass(frozen=True, slots=True)
class Sent:
    """The collector took the request, all but `rejected` records; `detail` is why it rejected them."""

    rejected: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The collector did not take the request. `cause` is safe to log.

    `again`: the same request may succeed later, after `after_s` seconds where the collector says so.
    """

    cause: str
    again: bool
    after_s: float | None = None


class Sender(Protocol):
    """A connection to a collector; `send` blocks its thread, for `within_s` seconds at most."""

    def send(self, request: bytes, within_s: float) -> Sent | NotSent:
        """Send the octets of a request. Never raises."""

    def close(self) -> None:
        """End a `send` that is under way in another thread, and close connections; thread-safe."""


class OtlpFileError(OSError):
    """A file of OTLP settings cannot be used; the text names the variable, the file and the cause."""


def otlp_target(settings: Settings, signal: Signal) -> OtlpTarget:
    """Return where a signal goes by OpenTelemetry's variables."""
    own = (
        settings.otel_exporter_otlp_traces_endpoint
        if signal is Signal.TRACES
        else settings.otel_exporter_otlp_logs_endpoint
    )
    protocol = settings.otel_exporter_otlp_protocol
    over_http = protocol is OtlpProtocol.HTTP
    url = own or settings.otel_exporter_otlp_endpoint
    if url is None:
        url = f"http://localhost:{_HTTP_PORT if over_http else _GRPC_PORT}"
    if over_http and own is None:
        url = f"{url.rstrip('/')}/v1/{signal.value}"
    return OtlpTarget(
        url,
        signal,
        protocol,
        settings.otel_exporter_otlp_headers or (),
        settings.otel_exporter_otlp_certificate,
        settings.otel_exporter_otlp_client_certificate,
        settings.otel_exporter_otlp_client_key,
        settings.otel_exporter_otlp_timeout / 1000,
        settings.otel_exporter_otlp_compression is OtlpCompression.GZIP,
    )


def otlp_resource(settings: Settings, *, instance: str, worker: int) -> Resource:
    """Return the resource of a process: `service.*` and the operator's attributes, which go first."""
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    given = dict(settings.otel_resource_attributes)
    found = {
        "service.name": SERVICE_NAME,
        "service.version": __version__,
        "service.instance.id": instance,
        "extauthz.worker": str(worker),
        **given,
    }
    if settings.otel_service_name is not None:
        found["service.name"] = settings.otel_service_name
    return Resource(
        attributes=[KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in found.items()]
    )


def tls_context(target: OtlpTarget) -> ssl.SSLContext | None:
    """Return the TLS context with the files as they are now; None without TLS. Raises OtlpFileError."""
    if not target.is_encrypted:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    name, file = "OTEL_EXPORTER_OTLP_CERTIFICATE", target.ca_file
    try:
        if file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(file)
        if target.client_certificate is not None:
            name, file = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", target.client_certificate
            # Without a terminal an encrypted key would be asked for on it.
            context.load_cert_chain(file, target.client_key, password=_no_password)
    except ssl.SSLError as error:
        raise OtlpFileError(f"{name} {str(file)!r} cannot be used: {error.reason or 'no PEM'}") from None
    except ValueError as error:
        raise OtlpFileError(f"{name} {str(file)!r} cannot be used: {error}") from None
    except OSError as error:
        raise OtlpFileError(f"{name} {str(file)!r} cannot be read: {error.strerror}") from None
    return context


def shortened(text: str, target: OtlpTarget) -> str:
    """Return a text of the collector as one printable line that is safe to log: without our headers."""
    for _, value in target.headers:
        # `Bearer TOKEN`: a collector may quote the token alone.
        words = (word for word in value.split() if len(word) >= _SECRET_LENGTH)
        for part in (value, *words):
            text = text.replace(part, "[header]") if part else text
    return text[:MAX_CAUSE_LENGTH].encode("unicode_escape").decode("ascii")[:MAX_CAUSE_LENGTH]


def taken(target: OtlpTarget, octets: bytes, *, is_json: bool = False) -> Sent:
    """Return what the collector's answer says: it may reject some records (partial success).

    Raises:
        ValueError: the answer is none of a collector.
    """
    from google.protobuf.json_format import Parse, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    spans, records = ExportTraceServiceResponse(), ExportLogsServiceResponse()
    answer = spans if target.signal is Signal.TRACES else records
    try:
        if is_json:
            Parse(octets, answer, ignore_unknown_fields=True)
        else:
            answer.ParseFromString(octets)
    except (DecodeError, ParseError, UnicodeDecodeError, RecursionError):
        raise ValueError("the answer cannot be decoded") from None
    rejected = spans.partial_success.rejected_spans or records.partial_success.rejected_log_records
    detail = spans.partial_success.error_message or records.partial_success.error_message
    return Sent(max(rejected, 0), shortened(detail, target))


def _no_password() -> str:
    raise ValueError("the key is encrypted")

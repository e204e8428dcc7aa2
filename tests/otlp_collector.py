"""An OTLP collector on loopback, over gRPC and HTTP, that keeps what it gets; it can refuse or be slow."""

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_GRPC = "/opentelemetry.proto.collector"
_REQUESTS: dict[str, Callable[[bytes], Message]] = {
    "/v1/traces": traces.ExportTraceServiceRequest.FromString,
    "/v1/logs": logs.ExportLogsServiceRequest.FromString,
    f"{_GRPC}.trace.v1.TraceService/Export": traces.ExportTraceServiceRequest.FromString,
    f"{_GRPC}.logs.v1.LogsService/Export": logs.ExportLogsServiceRequest.FromString,
}


@dataclass
class Collector:
    """What a collector got, and how it answers.

    `status` other than 200 is answered over HTTP, `code` other than OK over gRPC, both with `headers`.
    `body` with `content_type` replaces the body of the answer over HTTP.
    `rejected` is the number of records that it says it rejected. While `held` is set, no answer is
    completed: over HTTP it `drips` octet by octet, or nothing is sent.
    """

    port: int = 0
    status: int = 200
    code: grpc.StatusCode = grpc.StatusCode.OK
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    rejected: int = 0
    body: bytes | None = None
    content_type: str = "application/x-protobuf"
    held: threading.Event = field(default_factory=threading.Event)
    drips: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    requests: list[Message] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, octets: bytes, metadata: dict[str, str]) -> bytes:
        """Keep a request, and return the answer to it."""
        request = _REQUESTS[path](octets)
        with self.arrived:
            self.requests.append(request)
            self.metadata.append(metadata)
            self.arrived.notify_all()
        partial = traces.ExportTracePartialSuccess(rejected_spans=self.rejected, error_message=self.detail)
        answer = traces.ExportTraceServiceResponse(partial_success=partial if self.rejected else None)
        return answer.SerializeToString()

    @property
    def spans(self) -> list[Span]:
        """Return every span that arrived, in the order of arrival."""
        return [
            span
            for request in list(self.requests)
            if isinstance(request, traces.ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def log_records(self) -> list[LogRecord]:
        """Return every log record that arrived, in the order of arrival."""
        return [
            record
            for request in list(self.requests)
            if isinstance(request, logs.ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def wait_for(self, found: Callable[["Collector"], bool], *, within_s: float = 30.0) -> None:
        """Wait until what arrived is as wanted."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: found(self), within_s), self.requests

    def wait_while_held(self) -> None:
        """Wait until answers are completed again, or the collector ends."""
        while self.held.is_set() and not self.ended.wait(0.01):
            pass


@contextlib.contextmanager
def http_collector(collector: Collector | None = None) -> Iterator[Collector]:
    """Serve OTLP over HTTP until the end."""
    found = collector or Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                octets = gzip.decompress(octets)
            answer = found.take(
                self.path, octets, {name.lower(): value for name, value in self.headers.items()}
            )
            answer = answer if found.body is None else found.body
            with contextlib.suppress(OSError):
                if found.held.is_set() and found.drips:
                    # A header that never ends.
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
                    while found.held.is_set() and not found.ended.wait(0.02):
                        self.wfile.write(b"x")
                found.wait_while_held()
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", found.content_type)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", found.port), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.ended.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextlib.contextmanager
def grpc_collector(
    collector: Collector | None = None, credentials: grpc.ServerCredentials | None = None
) -> Iterator[Collector]:
    """Serve OTLP over gRPC until the end."""
    found = collector or Collector()

    def exporting(path: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def export(octets: bytes, context: grpc.ServicerContext) -> bytes:
            given = {name: str(value) for name, value in context.invocation_metadata()}
            answer = found.take(path, octets, given)
            found.wait_while_held()
            if found.code is not grpc.StatusCode.OK:
                context.abort(found.code, found.detail)
            return answer

        return grpc.unary_unary_rpc_method_handler(export)

    handlers = [
        grpc.method_handlers_generic_handler(path.split("/")[1], {"Export": exporting(path)})
        for path in _REQUESTS
        if path.endswith("Export")
    ]
    server = grpc.server(ThreadPoolExecutor(4), handlers=handlers)
    address = f"127.0.0.1:{found.port}"
    if credentials is None:
        found.port = server.add_insecure_port(address)
    else:
        found.port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield found
    finally:
        found.ended.set()
        server.stop(0).wait()

"""OTLP requests to a collector over gRPC and HTTP: what it takes, rejects, refuses, and when it is slow."""

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from extauthz.settings import OtlpProtocol
from extauthz.telemetry.otlp import NotSent, OtlpFileError, OtlpTarget, Sender, Sent, Signal
from extauthz.telemetry.otlp_senders import open_sender
from tests.certificates import Authority
from tests.otlp_collector import Collector, grpc_collector, http_collector

REQUEST = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(name="check", span_id=b"12345678")])])]
).SerializeToString()


def target(
    protocol: OtlpProtocol, port: int, *, signal: Signal = Signal.TRACES, scheme: str = "http"
) -> OtlpTarget:
    path = f"/v1/{signal.value}" if protocol is OtlpProtocol.HTTP else ""
    return OtlpTarget(f"{scheme}://127.0.0.1:{port}{path}", signal, protocol, (("api-key", "s3cret"),))


@pytest.fixture(params=[OtlpProtocol.GRPC, OtlpProtocol.HTTP])
def protocol(request: pytest.FixtureRequest) -> OtlpProtocol:
    found: OtlpProtocol = request.param
    return found


@pytest.fixture
def collector(protocol: OtlpProtocol) -> Iterator[Collector]:
    with grpc_collector() if protocol is OtlpProtocol.GRPC else http_collector() as found:
        yield found


@pytest.fixture
def sender(protocol: OtlpProtocol, collector: Collector) -> Iterator[Sender]:
    with closing(open_sender(target(protocol, collector.port))) as found:
        yield found


@pytest.mark.parametrize("gzip", [False, True])
def test_a_request_arrives_with_its_headers(
    protocol: OtlpProtocol, collector: Collector, *, gzip: bool
) -> None:
    with closing(open_sender(dataclasses.replace(target(protocol, collector.port), gzip=gzip))) as sender:
        assert sender.send(REQUEST, 5) == Sent()
        assert sender.send(REQUEST, 5) == Sent()
    assert [span.name for span in collector.spans] == ["check", "check"]
    assert collector.metadata[0]["api-key"] == "s3cret"
    assert "extauthz/" in collector.metadata[0]["user-agent"]


def test_log_records_go_to_their_own_place(protocol: OtlpProtocol, collector: Collector) -> None:
    with closing(open_sender(target(protocol, collector.port, signal=Signal.LOGS))) as sender:
        assert sender.send(ExportLogsServiceRequest().SerializeToString(), 5) == Sent()
    assert isinstance(collector.requests[0], ExportLogsServiceRequest)


def test_what_a_collector_rejects_in_part_is_told(sender: Sender, collector: Collector) -> None:
    collector.rejected, collector.detail = 3, "too old\nfor key s3cret"
    assert sender.send(REQUEST, 5) == Sent(3, "too old\\nfor key [header]")


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, True),
        (503, grpc.StatusCode.UNAVAILABLE, True),
        (400, grpc.StatusCode.INVALID_ARGUMENT, False),
        (401, grpc.StatusCode.UNAUTHENTICATED, False),
        (404, grpc.StatusCode.UNIMPLEMENTED, False),
    ],
)
def test_a_refusal_says_whether_it_may_be_sent_again(
    sender: Sender, collector: Collector, status: int, code: grpc.StatusCode, *, again: bool
) -> None:
    collector.status, collector.code, collector.detail = status, code, "key s3cret is not known"
    found = sender.send(REQUEST, 5)
    assert isinstance(found, NotSent)
    assert found.again is again
    assert str(status) in found.cause or code.name in found.cause
    assert "s3cret" not in found.cause


def test_a_redirect_is_a_refusal() -> None:
    away = {"Location": "http://127.0.0.1:1/"}
    with (
        http_collector(Collector(status=307, headers=away)) as collector,
        closing(open_sender(target(OtlpProtocol.HTTP, collector.port))) as sender,
    ):
        assert sender.send(REQUEST, 5) == NotSent("the collector answered 307", again=False)


def test_a_collector_may_say_when_to_send_again() -> None:
    with (
        http_collector(Collector(status=503, headers={"Retry-After": "7"})) as collector,
        closing(open_sender(target(OtlpProtocol.HTTP, collector.port))) as sender,
    ):
        assert sender.send(REQUEST, 5) == NotSent("the collector answered 503", again=True, after_s=7.0)


def test_a_collector_that_is_away_is_asked_again_later(protocol: OtlpProtocol) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with closing(open_sender(target(protocol, unused.getsockname()[1]))) as sender:
            found = sender.send(REQUEST, 5)
    assert isinstance(found, NotSent)
    assert found.again
    assert "refused" in found.cause.lower()


@pytest.mark.parametrize("drips", [False, True])
def test_the_time_limit_is_one_of_the_whole_request(
    sender: Sender, collector: Collector, *, drips: bool
) -> None:
    collector.held.set()
    collector.drips = drips
    began = time.monotonic()
    assert sender.send(REQUEST, 0.3) == NotSent("no complete answer within 0.3 s", again=True)
    assert time.monotonic() - began < 10
    collector.held.clear()
    assert sender.send(REQUEST, 5) == Sent()


def test_closing_ends_a_request_that_is_under_way(sender: Sender, collector: Collector) -> None:
    collector.held.set()
    answers: list[Sent | NotSent] = []
    thread = threading.Thread(target=lambda: answers.append(sender.send(REQUEST, 60)))
    thread.start()
    collector.wait_for(lambda found: bool(found.requests))
    sender.close()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(answers[0], NotSent)
    assert isinstance(sender.send(REQUEST, 60), NotSent)


def test_a_collector_with_a_certificate_of_the_given_ca_is_taken(tmp_path: Path) -> None:
    authority = Authority("collectors")
    certificate = authority.issue("127.0.0.1")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.chain)])
    with grpc_collector(credentials=credentials) as collector:
        encrypted = target(OtlpProtocol.GRPC, collector.port, scheme="https")
        with closing(open_sender(dataclasses.replace(encrypted, ca_file=ca_file))) as sender:
            assert sender.send(REQUEST, 5) == Sent()
        with closing(open_sender(encrypted)) as sender:
            assert isinstance(sender.send(REQUEST, 5), NotSent)


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_certificate_file_that_cannot_be_used_is_named_at_the_start(
    protocol: OtlpProtocol, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    encrypted = target(protocol, 4318, scheme="https")
    with pytest.raises(OtlpFileError, match=r"OTEL_EXPORTER_OTLP_CERTIFICATE .*ca\.pem"):
        open_sender(dataclasses.replace(encrypted, ca_file=file))
    with pytest.raises(OtlpFileError, match="OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"):
        open_sender(dataclasses.replace(encrypted, client_certificate=file, client_key=file))

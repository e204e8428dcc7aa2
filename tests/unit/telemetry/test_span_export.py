"""The export of spans: batches, bounds, a collector that is away or refuses, and the end of the process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from extauthz.domain.trace_context import TraceParent
from extauthz.settings import OtlpProtocol, Sampler
from extauthz.telemetry import span_export
from extauthz.telemetry.otlp import OtlpTarget, Signal
from extauthz.telemetry.otlp_senders import open_sender
from extauthz.telemetry.sampling import Sampling
from extauthz.telemetry.span_export import SpanExporter
from extauthz.telemetry.spans import SpanKind, Tracing, current_span, running
from tests.otlp_collector import Collector, http_collector
from tests.waiting import await_true

RESOURCE = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="extauthz"))])


@dataclass
class Exporting:
    tracing: Tracing
    exporter: SpanExporter
    lost: list[int] = field(default_factory=list)
    exported: list[int] = field(default_factory=list)

    def trace(self, number: int = 1) -> None:
        for each in range(number):
            with running(self.tracing.begin(f"span {each}", SpanKind.SERVER, {"number": each})):
                pass


@contextmanager
def exporting(port: int, **changes: Any) -> Iterator[Exporting]:
    """Export to a collector over HTTP."""
    lost: list[int] = []
    exported: list[int] = []
    tracing = Tracing(
        Sampling(Sampler.ALWAYS_ON), capacity=changes.pop("capacity", 2048), on_loss=lost.append
    )
    settings: dict[str, Any] = {"timeout_s": 5.0, "every_s": 0.05, "batch": 512} | changes
    sender = open_sender(OtlpTarget(f"http://127.0.0.1:{port}/v1/traces", Signal.TRACES, OtlpProtocol.HTTP))
    exporter = SpanExporter(
        tracing, sender, RESOURCE, on_exported=exported.append, on_loss=lost.append, **settings
    )
    exporter.start()
    try:
        yield Exporting(tracing, exporter, lost, exported)
    finally:
        exporter.close(0)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with http_collector() as found:
        yield found


def test_spans_arrive_with_what_they_say(collector: Collector) -> None:
    with exporting(collector.port) as running_export:
        tracing = running_export.tracing
        parent = TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
        before = time.time_ns()
        attributes: dict[str, str | int | bool] = {"a": "b", "n": 7, "yes": True, "broken": "\ud800"}

        def fails() -> None:
            with running(tracing.begin("outer", SpanKind.SERVER, attributes, parent)):
                with running(tracing.begin("inner", SpanKind.CLIENT, {})) as inner:
                    assert current_span() is inner
                raise ZeroDivisionError("this text is not exported")

        with pytest.raises(ZeroDivisionError):
            fails()
        assert current_span() is None
        await_true(lambda: running_export.exported == [2], within=10)

    inner_span, outer = collector.spans
    assert (outer.name, inner_span.name) == ("outer", "inner")
    assert outer.trace_id.hex() == inner_span.trace_id.hex() == parent.trace_id
    assert outer.parent_span_id.hex() == parent.span_id
    assert inner_span.parent_span_id == outer.span_id
    assert before <= outer.start_time_unix_nano <= inner_span.start_time_unix_nano
    assert inner_span.end_time_unix_nano <= outer.end_time_unix_nano <= time.time_ns()
    assert (outer.kind, inner_span.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (outer.status.code, outer.status.message) == (Status.STATUS_CODE_ERROR, "ZeroDivisionError")
    shown = {each.key: each.value for each in outer.attributes}
    assert (shown["a"].string_value, shown["n"].int_value, shown["yes"].bool_value) == ("b", 7, True)
    request: Any = collector.requests[0]
    assert request.resource_spans[0].resource == RESOURCE
    assert request.resource_spans[0].scope_spans[0].scope.name == "extauthz"


def test_a_batch_is_bounded_and_a_full_one_does_not_wait(collector: Collector) -> None:
    with exporting(collector.port, every_s=600, batch=10) as found:
        found.trace(35)
        collector.wait_for(lambda seen: len(seen.spans) >= 30)
        assert all(len(r.resource_spans[0].scope_spans[0].spans) <= 10 for r in collector.requests)  # type: ignore[attr-defined]
        assert found.exporter.close()
    assert len(collector.spans) == 35
    assert found.lost == []


def test_what_finds_no_place_is_counted(collector: Collector) -> None:
    with exporting(collector.port, every_s=600, capacity=20, batch=1000) as found:
        found.trace(50)
        assert sum(found.lost) == 30
        assert found.exporter.close()
    assert len(collector.spans) == 20


def test_what_a_collector_rejects_is_lost(collector: Collector) -> None:
    collector.rejected, collector.detail = 3, "too many attributes"
    with exporting(collector.port) as found, capture_logs() as logs:
        found.trace(10)
        await_true(lambda: sum(found.exported) + sum(found.lost) == 10, within=10)
    assert (sum(found.exported), sum(found.lost)) == (7, 3)
    (warning,) = [each for each in logs if each["event"] == "spans_not_exported"]
    assert warning["cause"] == "the collector rejected them: too many attributes"


def test_a_collector_that_refuses_is_named_once_in_a_while(collector: Collector) -> None:
    collector.status = 401
    with exporting(collector.port, every_s=0.01) as found, capture_logs() as logs:
        for _ in range(5):
            seen = len(collector.requests)
            found.trace(1)
            collector.wait_for(lambda it, seen=seen: len(it.requests) > seen)  # type: ignore[misc]
        await_true(lambda: sum(found.lost) == 5, within=10)
        collector.status = 200
        found.trace(1)
        await_true(lambda: sum(found.exported) == 1, within=10)
        await_true(lambda: any(each["event"] == "spans_exported_again" for each in logs), within=10)
    warnings = [each for each in logs if each["event"] == "spans_not_exported"]
    assert [(each["cause"], each["spans_lost"]) for each in warnings] == [("the collector answered 401", 1)]


def test_a_batch_that_may_be_taken_later_is_sent_again(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "FIRST_PAUSE_S", 0.01)
    collector.status = 503
    with exporting(collector.port) as found:
        found.trace(3)
        collector.wait_for(lambda seen: len(seen.requests) >= 3)
        collector.status = 200
        await_true(lambda: sum(found.exported) == 3, within=10)
    assert found.lost == []


def test_a_collector_that_never_answers_holds_nothing_but_the_thread(collector: Collector) -> None:
    collector.held.set()
    with exporting(collector.port, capacity=100, batch=10) as found:
        found.trace(10)
        collector.wait_for(lambda seen: bool(seen.requests))
        began = time.monotonic()
        found.trace(1000)
        took_s = time.monotonic() - began
        assert took_s < 5
        assert sum(found.lost) == 900
        began = time.monotonic()
        assert not found.exporter.close(0.2)
        assert time.monotonic() - began < 5
    assert sum(found.lost) == 1010


def test_what_waits_is_exported_at_the_end(collector: Collector) -> None:
    with exporting(collector.port, every_s=600) as found:
        found.trace(7)
        assert found.exporter.close()
        assert len(collector.spans) == 7
        found.trace(1)
        assert found.lost == [1]


def test_spans_of_many_threads_are_all_there(collector: Collector) -> None:
    with exporting(collector.port, capacity=100_000, batch=100) as found:
        threads = [threading.Thread(target=found.trace, args=(200,)) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert found.exporter.close(10)
    assert len({span.span_id for span in collector.spans}) == 1600
    assert found.tracing.waiting == 0

"""Traces and REST metrics of `extauthz serve`: the control plane and its workers export by themselves."""

import urllib.request
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from extauthz.demo.processes import LOOPBACK
from tests.integration.conftest import Database
from tests.integration.serving import ADMIN_KEY, database_environment, serving
from tests.otlp_collector import Collector, http_collector
from tests.promql import read

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def names(found: Collector, kind: "Span.SpanKind.ValueType") -> set[str]:
    return {span.name for span in found.spans if span.kind == kind and span.trace_id.hex() == TRACE}


def test_a_write_is_a_trace_and_a_count(database: Database, tmp_path: Path) -> None:
    with (
        http_collector() as collector,
        serving(
            tmp_path,
            database_environment(database.address),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{LOOPBACK}:{collector.port}",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as found,
    ):
        found.start()
        found.allow_anonymous_reads()
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{found.rest_port}/api/v1/resources",
            headers={"X-Admin-Api-Key": ADMIN_KEY, "traceparent": f"00-{TRACE}-{SPAN}-01"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 200
        assert found.settled(headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}).allowed
        collector.wait_for(lambda it: "extauthz.check" in names(it, Span.SPAN_KIND_SERVER))
        collector.wait_for(lambda it: "GET /api/v1/resources" in names(it, Span.SPAN_KIND_SERVER))
        assert {"BEGIN", "SELECT", "COMMIT"} <= names(collector, Span.SPAN_KIND_CLIENT)
        # The reports of the worker, and the same requests as the control plane sees them.
        reports = {span.span_id for span in collector.spans if span.name == "POST"}
        taken = [span for span in collector.spans if span.name == "POST /sidecar-reports"]
        assert {span.parent_span_id for span in taken} <= reports
        with urllib.request.urlopen(f"http://{LOOPBACK}:{found.rest_port}/metrics", timeout=5) as answer:
            series = read(answer.read().decode(), {})
        requests = {
            (labels["method"], labels["route"], labels["status"]): value
            for key, value in series["extauthz_rest_requests_total"].items()
            for labels in [dict(key)]
        }
        assert requests["POST", "/api/v1/resources", "201"] == 1
        assert requests["GET", "/api/v1/resources", "200"] == 1
        assert not series["extauthz_spans_lost_total"][frozenset()]
    assert ADMIN_KEY not in str(collector.requests)

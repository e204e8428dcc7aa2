"""Traces behind real Envoy: the check is below the proxy's span, over gRPC and HTTP, from every worker."""

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.process_tree import descendants
from extauthz.demo.processes import LOOPBACK
from tests.e2e.checked_envoy import over_http, start_envoy
from tests.e2e.test_envoy_config import Parts, parts
from tests.otlp_collector import Collector, grpc_collector
from tests.waiting import await_true

__all__ = ["parts"]

CLOCKS_NS = 5_000_000
"""What two clocks of one machine may differ by: one reads microseconds, one adds up durations."""
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


def traced_envoy(parts: Parts, *, authz: int, collector: int, http: bool = False) -> int:
    """Start Envoy with its own traces to the collector; it asks over gRPC or HTTP."""
    (listener,) = parts.ports.take()
    document = yaml.safe_load(
        envoy.bootstrap(listener=listener, extauthz=[authz], upstream=parts.upstream_port)
    )
    resources = document["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    if http:
        over_http(document, authz)
    types = "type.googleapis.com/envoy"
    manager["tracing"] = {
        "spawn_upstream_span": True,
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": f"{types}.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "1s"},
                "service_name": "envoy",
            },
        },
    }
    address = {"socket_address": {"address": LOOPBACK, "port_value": collector}}
    resources["clusters"].append(
        {
            "name": "collector",
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": f"{types}.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "load_assignment": {
                "cluster_name": "collector",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
    )
    return start_envoy(parts, document, listener)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with grpc_collector() as found:
        yield found


def ours(found: Collector) -> list[tuple[str, Span]]:
    """Return the spans of extauthz, each with the instance that sent it."""
    spans = []
    for request in list(found.requests):
        assert isinstance(request, ExportTraceServiceRequest)
        for resource in request.resource_spans:
            shown = {each.key: each.value.string_value for each in resource.resource.attributes}
            if shown["service.name"] == "extauthz":
                spans += [
                    (shown["service.instance.id"], span)
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
    return spans


def checks_of(found: Collector, trace: str) -> list[Span]:
    return [span for _, span in ours(found) if span.name == "extauthz.check" and span.trace_id.hex() == trace]


def shown(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_check_is_below_the_span_of_the_proxy(parts: Parts, collector: Collector) -> None:
    grpc, http = parts.ports.take(2)[0], parts.ports.take(2)[0]
    environ = parts.settings(
        GRPC_PORT=str(grpc),
        HTTP_AUTHZ_PORT=str(http),
        WORKERS="2",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{LOOPBACK}:{collector.port}",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_TRACES_SAMPLER="parentbased_always_off",
        **FAST,
    )
    sidecar = parts.sidecar(environ)
    alice = parts.token("alice")
    traces = {}
    for number, (kind, port, over) in enumerate(
        [("grpc", grpc, False), ("grpc", grpc + 1, False), ("http", http, True)]
    ):
        at = traced_envoy(parts, authz=port, collector=collector.port, http=over)
        trace = f"4bf92f3577b34da6a3ce929d0e0e473{number}"
        client = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "baggage": "user=s3cret"}
        assert send(at, "/demo/invoices/17?key=s3cret", token=alice, headers=client).status == 200
        traces[trace] = kind
    for trace in traces:
        collector.wait_for(lambda found, trace=trace: bool(checks_of(found, trace)))  # type: ignore[misc]
        # Envoy sends its spans after theirs have ended.
        collector.wait_for(
            lambda found, trace=trace: any(  # type: ignore[misc]
                span.span_id == checks_of(found, trace)[0].parent_span_id for span in found.spans
            )
        )
    lines: dict[str, Any] = {}

    def all_are_logged() -> bool:
        written = Path(environ["DECISION_LOG"]).read_text().rpartition("\n")[0]
        lines.update(
            (line["trace_id"], line)
            for line in map(json.loads, written.splitlines())
            if line["event"] == "decision" and line["span_id"] is not None
        )
        return lines.keys() >= traces.keys()

    await_true(all_are_logged, what="the lines of the checks")
    for trace, kind in traces.items():
        (check,) = checks_of(collector, trace)
        assert shown(check)["extauthz.entrance"] == kind
        assert shown(check)["extauthz.decision_id"] == lines[trace]["decision_id"]
        assert check.span_id.hex() == lines[trace]["span_id"]
        (proxy,) = [each for each in collector.spans if each.span_id == check.parent_span_id]
        assert proxy.trace_id == check.trace_id
        assert proxy.kind == Span.SPAN_KIND_CLIENT
        assert proxy.start_time_unix_nano <= check.start_time_unix_nano + CLOCKS_NS
        assert check.end_time_unix_nano <= proxy.end_time_unix_nano + CLOCKS_NS
        children = [span.name for _, span in ours(collector) if span.parent_span_id == check.span_id]
        assert {"extauthz.read", "extauthz.identify", "extauthz.decide", "extauthz.write"} <= set(children)
    assert len({instance for instance, _ in ours(collector)}) == 2
    assert "s3cret" not in str([span for _, span in ours(collector)])
    assert alice not in str([span for _, span in ours(collector)])

    # What waits is exported at the end, and a worker that was killed is replaced by one that exports.
    at = traced_envoy(parts, authz=grpc, collector=collector.port)
    (first, *_) = [each.pid for each in descendants(sidecar.pid) if "worker" in each.cmdline()]

    os.kill(first, signal.SIGKILL)
    before = {instance for instance, _ in ours(collector)}

    def again() -> bool:
        client = {"traceparent": f"00-{'a' * 32}-00f067aa0ba902b7-01"}
        send(at, "/demo/invoices/17", token=alice, headers=client)
        return bool({instance for instance, _ in ours(collector)} - before)

    await_true(again, within=30, what="spans of a new worker")


def test_fetches_of_keys_are_traced_and_a_collector_that_is_away_changes_nothing(
    parts: Parts, collector: Collector
) -> None:
    grpc = parts.ports.take()[0]
    environ = parts.settings(
        GRPC_PORT=str(grpc),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{LOOPBACK}:{collector.port}",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_BSP_MAX_QUEUE_SIZE="16",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16",
        **FAST,
    )
    sidecar = parts.sidecar(environ)
    collector.wait_for(lambda found: any(span.name == "extauthz.fetch_keys" for _, span in ours(found)))
    spans = {span.name: span for _, span in ours(collector)}
    fetch = spans["extauthz.fetch_keys"]
    requests = [span for _, span in ours(collector) if span.parent_span_id == fetch.span_id]
    assert [span.name for span in requests] == ["GET", "GET"]
    assert shown(requests[0])["url.full"].endswith("/.well-known/openid-configuration")
    assert all(shown(span)["http.response.status_code"] == 200 for span in requests)

    (listener,) = parts.ports.take()
    port = start_envoy(
        parts,
        yaml.safe_load(envoy.bootstrap(listener=listener, extauthz=[grpc], upstream=parts.upstream_port)),
        listener,
    )
    alice = parts.token("alice")
    collector.held.set()
    for _ in range(50):
        assert send(port, "/demo/invoices/17", token=alice).status == 200
    metrics = f"http://{LOOPBACK}:{environ['SIDECAR_PORT']}/metrics"

    def lost() -> float:
        with urllib.request.urlopen(metrics, timeout=5) as answer:
            (line,) = [
                each
                for each in answer.read().decode().splitlines()
                if each.startswith("extauthz_spans_lost_total")
            ]
        return float(line.split()[1])

    await_true(lambda: lost() > 0, within=20, what="lost spans")
    sidecar.stop(grace_s=9)
    assert "spans_not_exported" in (parts.folder / "sidecar.log").read_text()


@pytest.mark.skipif(
    shutil.which("otelcol") is None,
    reason="otelcol, the OpenTelemetry collector, is not on PATH; the builder of its Go module makes it",
)
def test_a_real_collector_takes_our_spans(parts: Parts) -> None:
    grpc, listener, otlp = parts.ports.take(3)
    file = parts.folder / "collector.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{LOOPBACK}:{otlp}"}}}},
                "exporters": {"debug": {"verbosity": "detailed"}},
                "service": {
                    "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
                    "telemetry": {"metrics": {"level": "none"}},
                },
            }
        )
    )
    parts.spawn("otelcol", ["otelcol", "--config", file])
    environ = parts.settings(
        GRPC_PORT=str(grpc), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{LOOPBACK}:{otlp}", **FAST
    )
    parts.sidecar(environ)
    document = yaml.safe_load(
        envoy.bootstrap(listener=listener, extauthz=[grpc], upstream=parts.upstream_port)
    )
    port = start_envoy(parts, document, listener)
    client = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    assert send(port, "/demo/invoices/17", token=parts.token("alice"), headers=client).status == 200
    said = parts.folder / "otelcol.log"
    await_true(
        lambda: "Trace ID       : 4bf92f3577b34da6a3ce929d0e0e4736" in said.read_text(),
        within=30,
        what="the trace in the collector",
    )
    text = said.read_text()
    assert "Name           : extauthz.decide" in text
    assert "extauthz.reason: Str(rule_matched)" in text

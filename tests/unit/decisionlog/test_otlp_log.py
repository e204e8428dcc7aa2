"""DECISION_LOG=otlp: over HTTP and gRPC, each decision has a record at a collector or is counted as lost."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import grpc
import pytest

from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.lines import LineForm
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.otlp import MAX_REQUEST_BYTES, OtlpDestination
from extauthz.decisionlog.reading import LogLine
from extauthz.decisionlog.report import LogReport
from extauthz.decisionlog.verify import verify
from extauthz.domain.ids import uuid7
from extauthz.domain.request import RequestFacts
from extauthz.runtime.composition import decision_log
from extauthz.settings import OverflowAction, Settings, load_settings
from tests.builders import allowed, denied
from tests.decision_logs import INSTANCE, an_allow, is_full, problem_of, put
from tests.log_schema import problems_of
from tests.otlp_collector import Collector, grpc_collector, http_collector
from tests.otlp_senders import RandomSender, ScriptedSender
from tests.waiting import await_true

KEY = "k" * 32
Serve = Callable[..., AbstractContextManager[Collector]]
PROTOCOLS: dict[str, Serve] = {"http/protobuf": http_collector, "grpc": grpc_collector}


def settings_for(port: int, protocol: str, **more: str) -> Settings:
    found = load_settings(
        {
            "DECISION_LOG": "otlp",
            "DECISION_LOG_CHAIN": "on",
            "DECISION_LOG_CHAIN_KEY": KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "300",
            **more,
        },
        serving=False,
    )
    assert isinstance(found, Settings), found
    return found


@contextmanager
def running(port: int, protocol: str = "http/protobuf", **more: str) -> Iterator[DecisionLog]:
    log = decision_log(settings_for(port, protocol, **more), 0, INSTANCE, None, lambda _: None, None)
    log.start()
    try:
        yield log
    finally:
        assert log.close(6)


def report(collector: Collector) -> LogReport:
    bodies = [record.body.string_value.encode() + b"\n" for record in collector.log_records]
    assert [problems_of(json.loads(body)) for body in bodies] == [[]] * len(bodies)
    lines = (LogLine("collector", number, body) for number, body in enumerate(bodies, 1))
    return verify(lines, keys=[KEY], collected=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_line_is_a_record_and_the_chain_is_whole(protocol: str) -> None:
    with PROTOCOLS[protocol]() as collector:
        with running(collector.port, protocol) as log:
            for number in range(700):
                put(log, an_allow(number))
            traced = denied()
            assert isinstance(traced.request, RequestFacts)
            put(
                log,
                traced._replace(request=traced.request._replace(trace_id="0af7651916cd43dd8448eb211c80319c")),
            )
        found = report(collector)
        assert found.ok, found
        assert (found.decisions, found.decisions_lost, found.repeated_lines) == (701, 0, 0)
        assert found.instances[0].stopped
        assert len(collector.requests) < 20
        last = collector.log_records[-2]
        assert last.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert (last.severity_text, collector.log_records[1].severity_text) == ("WARN", "INFO")
        assert last.time_unix_nano == 1_763_917_200_000_000_000
        attributes = {each.key: each.value.string_value for each in last.attributes}
        assert attributes["extauthz.decision"] == "deny"
        assert attributes["event.name"] == last.event_name == "extauthz.decision"
        resource = collector.requests[0].resource_logs[0].resource  # type: ignore[attr-defined]
        assert str(INSTANCE) in {each.value.string_value for each in resource.attributes}


def test_a_line_longer_than_a_request_is_sent_alone() -> None:
    big = {"resource.a": "x" * MAX_REQUEST_BYTES}
    with http_collector() as collector, running(collector.port) as log:
        for number in range(3):
            put(log, an_allow(number, big))
            put(log, an_allow(number))
        assert log.flush(10)
        assert len(collector.log_records) == 7
        sizes = [len(request.SerializeToString()) for request in collector.requests]
        assert sum(size > MAX_REQUEST_BYTES for size in sizes) == 3


def free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_is_away_and_comes_back_gets_everything(protocol: str) -> None:
    port = free_port()
    with running(port, protocol) as log:
        for number in range(100):
            put(log, an_allow(number))
        await_true(lambda: problem_of(log) is not None)
        assert log.decisions_lost == 0
        with PROTOCOLS[protocol](Collector(port=port)) as collector:
            assert log.flush(20)
            assert problem_of(log) is None
            found = report(collector)
            assert found.ok, found
            assert (found.decisions, found.decisions_lost) == (100, 0)
            log.close(6)
            assert report(collector).instances[0].stopped


@pytest.mark.parametrize(
    ("status", "code"), [(503, grpc.StatusCode.UNAVAILABLE), (429, grpc.StatusCode.ABORTED)]
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_refuses_for_a_while_gets_the_same_lines_again(
    protocol: str, status: int, code: grpc.StatusCode
) -> None:
    with PROTOCOLS[protocol](Collector(status=status, code=code)) as collector:
        with running(collector.port, protocol) as log:
            for number in range(50):
                put(log, an_allow(number))
            await_true(lambda: len(collector.requests) > 1)
            collector.status, collector.code = 200, grpc.StatusCode.OK
            assert log.flush(20)
        found = report(collector)
        assert found.ok, found
        assert (found.decisions, found.decisions_lost) == (50, 0)
        assert found.repeated_lines > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_collector_refuses_for_ever_is_counted(protocol: str) -> None:
    refusing = Collector(status=400, code=grpc.StatusCode.INVALID_ARGUMENT)
    with PROTOCOLS[protocol](refusing) as collector:
        with running(collector.port, protocol) as log:
            for number in range(50):
                put(log, an_allow(number))
            await_true(lambda: log.decisions_lost == 50)
            collector.requests.clear()
            collector.status, collector.code = 200, grpc.StatusCode.OK
            await_true(lambda: problem_of(log) is None, within=20)
            collector.wait_for(lambda _: bool(collector.log_records))
            put(log, an_allow(51))
            assert log.flush(10)
        found = report(collector)
        assert found.ok, found
        assert (found.decisions, found.decisions_lost) == (1, 50)


def test_with_deny_what_a_collector_refuses_is_kept() -> None:
    with http_collector(Collector(status=400)) as collector:
        with running(collector.port, DECISION_LOG_ON_OVERFLOW="deny") as log:
            for number in range(50):
                put(log, an_allow(number))
            await_true(lambda: problem_of(log) is not None)
            collector.requests.clear()
            collector.status = 200
            assert log.flush(20)
            assert log.decisions_lost == 0
        found = report(collector)
        assert found.ok, found
        assert found.decisions == 50


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_records_that_a_collector_rejects_are_counted_as_lost(protocol: str) -> None:
    with PROTOCOLS[protocol](Collector(rejected=3, detail="too old")) as collector:
        with running(collector.port, protocol) as log:
            collector.wait_for(lambda one: bool(one.log_records))
            for number in range(20):
                put(log, an_allow(number))
            assert log.flush(10)
            assert log.decisions_lost >= 3
            collector.rejected = 0
            assert log.flush(10)
        found = report(collector)
        assert found.unexplained_gaps == found.schema_error_count == 0
        assert found.decisions_lost == log.decisions_lost


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_hangs_delays_no_decision_and_nothing_is_lost_without_a_count(protocol: str) -> None:
    """The collector stores and does not confirm: the same lines come again, under their numbers."""
    with PROTOCOLS[protocol]() as collector:
        collector.held.set()
        log = DecisionLog(
            "otlp",
            worker=0,
            instance=INSTANCE,
            capacity=64,
            form=LineForm(chain=Chain(KEY)),
            open_with=decision_log(
                settings_for(collector.port, protocol), 0, INSTANCE, None, print, None
            )._open,
        )
        log.start()
        longest = 0.0
        for number in range(200):
            began = time.thread_time()
            put(log, an_allow(number))
            longest = max(longest, time.thread_time() - began)
        assert longest < 0.05
        assert is_full(log)
        collector.wait_for(lambda one: len(one.requests) >= 2)
        collector.held.clear()
        assert log.flush(20)
        assert log.close(6)
        found = report(collector)
        assert found.ok, found
        assert found.decisions + found.decisions_lost == 200
        assert found.decisions >= 64


def test_the_end_of_a_process_does_not_wait_for_a_collector_that_hangs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with http_collector() as collector:
        collector.held.set()
        log = decision_log(
            settings_for(collector.port, "http/protobuf", OTEL_EXPORTER_OTLP_TIMEOUT="60000"),
            0, INSTANCE, None, lambda _: None, None,
        )  # fmt: skip
        log.start()
        for number in range(70):
            put(log, an_allow(number))
        collector.wait_for(lambda one: bool(one.requests))
        began = time.monotonic()
        assert log.close(1.5)
        assert time.monotonic() - began < 5
        assert log.decisions_lost == 70
        told = capsys.readouterr().out
        assert "decision_log_cut_off" in told
        assert "decisions_lost=70" in told


@pytest.mark.parametrize("request_bytes", [2048, MAX_REQUEST_BYTES])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("action", OverflowAction)
def test_whatever_a_collector_does_written_left_out_and_lost_are_all_decisions(
    seed: int, action: OverflowAction, request_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A batch is several requests, with different answers, where a request takes two lines.
    monkeypatch.setattr("extauthz.decisionlog.otlp.MAX_REQUEST_BYTES", request_bytes)
    monkeypatch.setattr("extauthz.decisionlog.otlp._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("extauthz.decisionlog.otlp._LONGEST_PAUSE_S", 0.0)
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    sender = RandomSender(seed, rejects=action is OverflowAction.DROP)
    ids = random.Random(seed)
    log = DecisionLog(
        "otlp", worker=0, instance=INSTANCE, capacity=40, heartbeat_s=0.01, on_overflow=action,
        form=LineForm(sample_allows=0.7, chain=Chain(KEY)),
        open_with=lambda: OtlpDestination(sender, Resource(), timeout_s=1),
    )  # fmt: skip
    log.start()
    for number in range(400):
        put(log, allowed()._replace(decision_id=uuid7(1, ids.randbytes(10))))
        if number % 9 == 0:
            log.flush(0.05)
    sender.is_reliable = True
    assert log.flush(10)
    assert log.close(5)
    lines = (LogLine("c", number, body) for number, body in enumerate(sender.bodies, 1))
    found = verify(lines, keys=[KEY], collected=True)
    assert found.unexplained_gaps == found.schema_error_count == 0, found
    # Lines that were stored without a confirmation, and given up later, are counted twice: never too few.
    assert found.decisions + found.sampled_out + found.decisions_lost >= 400
    if action is OverflowAction.DENY:
        assert found.ok, found
        assert found.decisions + found.sampled_out + found.decisions_lost == 400


def test_threads_that_decide_do_not_wait_while_lines_are_sent() -> None:
    """No lock of the log is held while a request is under way."""
    with http_collector() as collector, running(collector.port) as log:
        collector.held.set()
        put(log, an_allow())
        log.flush(0.0)
        collector.wait_for(lambda one: len(one.log_records) > 0)
        done = threading.Event()

        def decide() -> None:
            for number in range(1000):
                put(log, an_allow(number))
            done.set()

        threading.Thread(target=decide, daemon=True).start()
        assert done.wait(10)
        collector.held.clear()
        assert log.flush(20)


@pytest.mark.parametrize("action", OverflowAction)
@pytest.mark.parametrize("first", ["refuse", "away", "store"])
@pytest.mark.parametrize("second", ["refuse", "away", "reject"])
def test_records_rejected_in_a_batch_that_fails_later_are_counted_once(
    first: str, second: str, action: OverflowAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extauthz.decisionlog.otlp._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("extauthz.decisionlog.otlp._LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr("extauthz.decisionlog.otlp.MAX_REQUEST_BYTES", 2048)
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    sender = ScriptedSender("store", "reject", first, "reject", second, "reject")
    log = DecisionLog(
        "otlp", worker=0, instance=INSTANCE, heartbeat_s=0.01, on_overflow=action,
        form=LineForm(chain=Chain(KEY)),
        open_with=lambda: OtlpDestination(sender, Resource(), timeout_s=1),
    )  # fmt: skip
    for number in range(12):
        put(log, an_allow(number))
    log.start()
    await_true(lambda: not sender.answers)
    assert log.flush(10)
    await_true(lambda: problem_of(log) is None)
    assert log.close(10)
    lines = (LogLine("c", number, body) for number, body in enumerate(sender.bodies, 1))
    found = verify(lines, keys=[KEY], collected=True)
    assert found.unexplained_gaps == found.schema_error_count == 0, found.gaps
    assert found.instances[0].stopped
    assert found.instances[0].missing == found.decisions_lost == log.decisions_lost
    assert found.decisions + found.decisions_lost >= 12

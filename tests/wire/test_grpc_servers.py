"""The requirements of Envoy on a gRPC server: bytes, statuses, health, deadlines and cancellation."""

import threading
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.check import envoy_response
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.grpcio_server import CHECK_SERVICE
from extauthz.domain.request import CheckedRequest
from tests.builders import check_request, read_answer
from tests.real_service import real_service
from tests.wire.grpc_servers import (
    DEADLINE_EXCEEDED,
    ENHANCE_YOUR_CALM,
    NOT_FOUND,
    NOT_SERVING,
    OK,
    SERVING,
    THREADS,
    WAIT,
    Blocking,
    call,
    health_of,
    serving,
)
from tests.wire.raw_grpc import CHECK_PATH, HEALTH_PATH, RawConnection, message

pytestmark = pytest.mark.timeout(90)


# Bytes, statuses and health


def test_request_and_answer_bytes_arrive_unchanged(kind: str) -> None:
    with serving(kind, lambda raw, _left: raw[::-1]) as (_, address):
        assert call(address, b"\x00\xffabc") == b"cba\xff\x00"
        assert call(address, b"") == b""
        assert call(address, b"m" * 1_000_000) == b"m" * 1_000_000


def test_a_check_is_answered_over_grpc(kind: str) -> None:
    def answer(raw: bytes, _left: float | None) -> bytes:
        found = EnvoyRequests().read(raw)
        assert isinstance(found, CheckedRequest)
        return envoy_response.internal_error(found.facts.request_id)

    with serving(kind, answer) as (_, address):
        raw = check_request(headers={"x-request-id": "r-7"})
        assert read_answer(call(address, raw)).metadata["decision_id"] == "r-7"


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x00" * 50, b"GET / HTTP/1.1\r\n"])
def test_malformed_protobuf_is_a_denial_and_is_logged(kind: str, raw: bytes, tmp_path: Path) -> None:
    with real_service(tmp_path, {}) as running:
        with serving(kind, running.service.answer) as (_, address):
            assert not read_answer(call(address, raw)).allowed
        (line,) = running.decisions()
    assert (line["decision"], line["reason"]) == ("deny", "request_malformed")


@pytest.mark.parametrize("error", [RuntimeError("x"), RecursionError(), MemoryError(), KeyError(1)])
def test_an_exception_is_a_denial_and_no_rpc_error(kind: str, error: Exception) -> None:
    def answer(_raw: bytes, _left: float | None) -> bytes:
        raise error

    with serving(kind, answer) as (_, address):
        for _ in range(5):
            raw = call(address)
            assert raw == envoy_response.internal_error()
            assert not read_answer(raw).allowed


def test_the_health_status_is_the_one_that_was_set(kind: str) -> None:
    with serving(kind) as (server, address):
        for service in ("", CHECK_SERVICE):
            assert health_of(address, service) == NOT_SERVING
        server.set_serving(serving=True)
        for service in ("", CHECK_SERVICE):
            assert health_of(address, service) == SERVING
        server.set_serving(serving=False)
        assert health_of(address) == NOT_SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            health_of(address, "no.such.Service")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        with RawConnection(address) as client:
            assert client.ask(b"\xff\xff", HEALTH_PATH).status == NOT_FOUND


def test_health_cannot_be_watched(kind: str) -> None:
    with serving(kind) as (_, address), grpc.insecure_channel(address) as channel:
        watcher = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT)
        with pytest.raises(grpc.RpcError) as refused:
            next(watcher)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/", "/x/Y", f"/{CHECK_SERVICE}/check", f"/{CHECK_SERVICE}/Check/", ""])
def test_an_unknown_method_is_unimplemented_and_reaches_no_check(kind: str, path: str) -> None:
    reached: list[bytes] = []

    def answer(raw: bytes, _left: float | None) -> bytes:
        reached.append(raw)
        return raw

    with serving(kind, answer) as (_, address), RawConnection(address) as client:
        assert client.ask(b"x", path).status != OK
    assert reached == []


# Deadlines and cancellation


def test_the_deadline_is_handed_on(kind: str) -> None:
    seen: list[float | None] = []

    def answer(raw: bytes, left: float | None) -> bytes:
        seen.append(left)
        return raw

    with serving(kind, answer) as (_, address):
        call(address, timeout=5.0)
        call(address, timeout=None)
        with RawConnection(address) as client:
            client.ask(b"x", CHECK_PATH, ("grpc-timeout", "200m"))
            client.ask(b"x", CHECK_PATH, ("grpc-timeout", "99999999H"))
    # On the wire a timeout has few digits, and grpc rounds up.
    assert seen[0] is not None
    assert 0 < seen[0] <= 5.1
    assert seen[1] is None
    assert seen[2] is not None
    assert 0 < seen[2] <= 0.2
    assert seen[3] is None or seen[3] > 1_000_000


def test_waiting_counts_against_the_deadline(kind: str) -> None:
    seen: list[float | None] = []
    entered, released = threading.Semaphore(0), threading.Event()

    def answer(raw: bytes, left: float | None) -> bytes:
        if raw == b"first":
            entered.release()
            assert released.wait(WAIT)
        else:
            seen.append(left)
        return raw

    threads = THREADS[kind]
    with serving(kind, answer) as (_, address), RawConnection(address) as client:
        for _ in range(threads):
            client.send(client.open(), message(b"first"))
        assert all(entered.acquire(timeout=WAIT) for _ in range(threads))
        sent_at = time.monotonic()
        late = client.open(CHECK_PATH, ("grpc-timeout", "30S"))
        client.send(late, message(b"late"))
        with pytest.raises(TimeoutError):
            client.until(lambda: client.answers[late].over, 0.5)
        released.set()
        client.answer(late)
        most_waited = time.monotonic() - sent_at
    (left,) = seen
    assert left is not None
    assert 30 - most_waited - 0.1 < left <= 30 - 0.4


@pytest.mark.parametrize("timeout", ["0m", "1n"])
def test_a_deadline_that_has_passed_never_becomes_an_allow(kind: str, timeout: str, tmp_path: Path) -> None:
    with real_service(tmp_path, {}) as running:
        with serving(kind, running.service.answer) as (_, address), RawConnection(address) as client:
            answer = client.ask(check_request(), CHECK_PATH, ("grpc-timeout", timeout))
            assert answer.status in {OK, DEADLINE_EXCEEDED}
            if answer.status == OK:
                assert not read_answer(answer.payload).allowed
        assert all(line["decision"] == "deny" for line in running.decisions())


@pytest.mark.parametrize("timeout", ["", "abc", "1", "m", "-1S", "1.5S", "123456789S", "1s", "NaN"])
def test_invalid_timeouts_end_no_other_call(kind: str, timeout: str) -> None:
    with serving(kind) as (_, address):
        with RawConnection(address) as client:
            assert client.ask(b"x", CHECK_PATH, ("grpc-timeout", timeout)).status is not None
        assert call(address) == b"x"


def test_cancelled_calls_disturb_no_other(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        for number in range(300):
            stream = client.open()
            client.send(stream, message(b"x"), end=number % 2 == 0)
            client.reset(stream)
            if number % 10 == 9:
                # Whatever was sent before a ping has been read when it is answered.
                client.ping()
                client.until(lambda pings=client.pings: client.pings > pings)  # type: ignore[misc]
        assert client.ask(b"y").payload == b"y"
        assert call(address) == b"x"


def test_calls_cancelled_in_one_burst_disturb_no_other_connection(kind: str) -> None:
    """The front ends a connection where it finds 20 calls that were cancelled before it took them.

    Accepted: the shipped configuration of Envoy asks once more, see `test_cancelled_requests` in tests/e2e.
    """
    with serving(kind) as (_, address), RawConnection(address) as client:
        client.until(lambda: client.settled)
        with client.held():
            for _ in range(200):
                stream = client.open()
                client.send(stream, message(b"x"))
                client.reset(stream)
        assert call(address) == b"x"
        if kind == "grpcio":
            assert client.ask(b"y").payload == b"y"
        else:
            client.until(lambda: client.closed)
            assert client.goaway_code == ENHANCE_YOUR_CALM


def test_a_call_cancelled_while_it_is_answered(kind: str) -> None:
    answer = Blocking()
    with serving(kind, answer) as (_, address):
        with RawConnection(address) as client:
            stream = client.open()
            client.send(stream, message(b"x"))
            assert answer.entered.wait(WAIT)
            client.reset(stream)
        answer.released.set()
        assert call(address, b"z") == b"z"

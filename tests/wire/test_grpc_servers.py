"""The requirements of Envoy on a gRPC server: the same tests for both, and a table of their differences.

Most go through a client that writes its own HTTP/2, so that what is broken arrives as it was sent.
"""

import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.check import envoy_response
from extauthz.check.bounds import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, MAX_WAIT_S, is_overloaded
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.grpcio_server import CHECK_SERVICE
from extauthz.check.listen_address import GrpcListenError
from extauthz.domain.request import CheckedRequest
from tests.builders import check_request, read_answer
from tests.real_service import real_service
from tests.wire.grpc_servers import (
    GRPCIO_THREADS,
    KINDS,
    WAIT,
    call,
    echo,
    health_of,
    server_of,
    serving,
)
from tests.wire.raw_grpc import CHECK_PATH, HEALTH_PATH, RawAnswer, RawConnection, message

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
OK, CANCELLED, DEADLINE_EXCEEDED, NOT_FOUND, EXHAUSTED, INTERNAL, UNAVAILABLE = 0, 1, 4, 5, 8, 13, 14
UNIMPLEMENTED: Final = 12
ENHANCE_YOUR_CALM: Final = 11  # RFC 9113 7
THREADS: Final = {"grpcio": GRPCIO_THREADS, "native": 1}
"""That answer checks at once."""
BOUND: Final = 100_000
"""Of a message, in the tests of what is larger."""

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Blocking:
    """An answer that comes when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, raw: bytes, _left: float | None) -> bytes:
        self.entered.set()
        assert self.released.wait(WAIT)
        return raw


# Bytes, statuses and health


def test_bytes_pass_unchanged_both_ways(kind: str) -> None:
    with serving(kind, lambda raw, _left: raw[::-1]) as (_, address):
        assert call(address, b"\x00\xffabc") == b"cba\xff\x00"
        assert call(address, b"") == b""
        assert call(address, b"m" * 1_000_000) == b"m" * 1_000_000


def test_a_whole_check_through_the_wire(kind: str) -> None:
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
def test_methods_that_do_not_exist(kind: str, path: str) -> None:
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


# Overload


@pytest.mark.parametrize(
    ("waited_s", "time_left", "overloaded"),
    [
        (0.0, None, False),
        (MAX_WAIT_S, None, False),
        (MAX_WAIT_S + 0.01, None, True),
        (0.13, 0.07, False),
        (0.14, 0.06, True),
        (0.9, 30.0, False),
        (1.1, 30.0, True),
        # Denied for its deadline.
        (0.2, 0.0, False),
        (5.0, -1.0, False),
    ],
)
def test_a_check_that_waited_too_long_is_overloaded(
    waited_s: float, time_left: float | None, overloaded: bool
) -> None:
    assert is_overloaded(waited_s, time_left) is overloaded


def test_overload_is_denied_early_is_logged_and_ends_by_itself(kind: str, tmp_path: Path) -> None:
    entered, released = threading.Semaphore(0), threading.Event()
    with real_service(tmp_path, {}) as running:

        def answer(raw: bytes, left: float | None) -> bytes:
            if raw == b"first":
                entered.release()
                assert released.wait(WAIT)
            return running.service.answer(raw, left)

        with (
            serving(kind, answer, refuse=running.service.refuse) as (_, address),
            RawConnection(address) as client,
        ):
            first = [client.open() for _ in range(THREADS[kind])]
            for stream in first:
                client.send(stream, message(b"first"))
            assert all(entered.acquire(timeout=WAIT) for _ in first)
            # They take all threads for longer than any check may wait.
            late = [client.open(CHECK_PATH, ("grpc-timeout", "30S")) for _ in range(20)]
            for stream in late:
                client.send(stream, message(check_request()))
            client.ping()
            client.until(lambda: client.pings == 1)
            with pytest.raises(TimeoutError):
                client.until(lambda: client.answers[late[0]].over, MAX_WAIT_S + 0.1)
            released.set()
            for stream in late:
                denied = read_answer(client.answer(stream).payload)
                assert (denied.allowed, denied.metadata["reason"]) == (False, "overloaded")
            for _ in range(3):
                assert read_answer(call(address, check_request())).metadata["reason"] != "overloaded"
        reasons = [line["reason"] for line in running.decisions()]
    assert reasons.count("overloaded") == len(late)
    assert len(reasons) == len(first) + len(late) + 3


def test_a_check_whose_deadline_passed_while_it_waited_is_logged_as_that(kind: str, tmp_path: Path) -> None:
    entered, released = threading.Semaphore(0), threading.Event()
    with real_service(tmp_path, {}) as running:

        def answer(raw: bytes, left: float | None) -> bytes:
            if raw == b"first":
                entered.release()
                assert released.wait(WAIT)
            return running.service.answer(raw, left)

        with (
            serving(kind, answer, refuse=running.service.refuse) as (_, address),
            RawConnection(address) as client,
        ):
            first = [client.open() for _ in range(THREADS[kind])]
            for stream in first:
                client.send(stream, message(b"first"))
            assert all(entered.acquire(timeout=WAIT) for _ in first)
            late = client.open(CHECK_PATH, ("grpc-timeout", "100m"))
            client.send(late, message(check_request()))
            with pytest.raises(TimeoutError):
                client.until(lambda: client.answers[first[0]].over, 0.3)
            released.set()
            assert not read_answer(call(address, check_request())).allowed
            assert client.answer(late).status in {OK, DEADLINE_EXCEEDED}
        reasons = [line["reason"] for line in running.decisions()]
    assert reasons.count("deadline") == 1
    assert len(reasons) == len(first) + 2


def test_a_check_behind_a_long_one_that_did_not_wait_is_answered(kind: str) -> None:
    def answer(raw: bytes, _left: float | None) -> bytes:
        if raw == b"long":
            until = time.monotonic() + MAX_WAIT_S + 0.1
            while time.monotonic() < until:
                pass
        return raw

    with serving(kind, answer, refuse=lambda _: b"overloaded") as (server, address):
        assert call(address, b"long") == b"long"
        while server.stalled_s() > 0.1:
            pass
        # Only what arrives after the server has looked for calls again is known not to have waited.
        call(address, b"between")
        assert call(address, b"x") == b"x"


# Messages that are too large, compressed, unfinished or none


class Accepted(NamedTuple):
    """What each server answers to input that Envoy never sends, and why it may."""

    grpcio: int | None
    native: int | None
    why: str
    reaches: tuple[str, ...] = ("grpcio",)
    """The servers that pass the call to the service: as an empty message, denied and logged."""


NO_SUCH_MESSAGE: Final = (
    "the front finds the message broken and answers by itself; Envoy sends exactly one message a call, "
    "and only processes of the same host reach the front"
)
NO_COMPRESSION: Final = (
    "grpcio expands all of a message before it looks at the size, so its server reads no compressed one "
    "(UNIMPLEMENTED, by compression.md of gRPC); Envoy compresses no check"
)
DIFFERENCES: Final[dict[str, tuple[Accepted, Callable[[RawConnection], int]]]] = {}


def difference(accepted: Accepted) -> Callable[[Callable[[RawConnection], int]], None]:
    def add(send: Callable[[RawConnection], int]) -> None:
        DIFFERENCES[send.__name__] = accepted, send

    return add


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def without_a_message(client: RawConnection) -> int:
    return client.open(end=True)


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def ended_within_a_message(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 50)[:20])
    return stream


@difference(
    Accepted(CANCELLED, None, "the front waits as long as the connection lives; it holds no thread for that")
)
def never_finished(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 50)[:20], end=False)
    return stream


@difference(
    Accepted(
        EXHAUSTED,
        OK,
        "gRPC refuses before it has all of it; the front has no bound, so the server denies: a CheckResponse "
        "is the better answer, which Envoy's failure_mode_allow does not turn around",
        ("grpcio", "native"),
    )
)
def too_large(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * (2 * BOUND)))
    return stream


@difference(
    Accepted(
        UNIMPLEMENTED,
        OK,
        f"{NO_COMPRESSION}; the front has no bound, and expands it: only processes of this host call it",
        ("grpcio", "native"),
    )
)
def compressed_and_too_large(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, message(b"x" * 20_000_000, compressed=True))
    return stream


@difference(Accepted(UNIMPLEMENTED, OK, NO_COMPRESSION, ("grpcio", "native")))
def compressed(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, message(check_request(), compressed=True))
    return stream


@difference(Accepted(UNIMPLEMENTED, INTERNAL, NO_COMPRESSION))
def compressed_badly(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, b"\x01\x00\x00\x00\x05hello")
    return stream


@difference(Accepted(INTERNAL, INTERNAL, NO_SUCH_MESSAGE))
def compressed_by_nothing(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 100, compressed=True))
    return stream


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def with_an_unknown_flag(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, b"\x07\x00\x00\x00\x01x")
    return stream


@pytest.mark.parametrize("name", DIFFERENCES)
def test_accepted_differences(kind: str, name: str, tmp_path: Path) -> None:
    accepted, send = DIFFERENCES[name]
    expected = accepted.grpcio if kind == "grpcio" else accepted.native
    with real_service(tmp_path, {}) as running:
        answer = running.service.answer
        with serving(kind, answer, max_receive_bytes=BOUND) as (_, address):
            with RawConnection(address) as client:
                stream = send(client)
                if expected is None:
                    with pytest.raises(TimeoutError):
                        client.until(lambda: client.answers[stream].over, 1.0)
                else:
                    found = client.answer(stream)
                    assert found.status == expected
                    if expected == OK:
                        assert not read_answer(found.payload).allowed
                # Neither this connection nor the server has suffered.
                assert not read_answer(client.ask(b"").payload).allowed
            assert call(address, b"") != b""
        reached = kind in accepted.reaches
        decisions = running.decisions()
    assert len(decisions) == 2 + reached
    assert {line["decision"] for line in decisions} == {"deny"}


def test_every_accepted_difference_has_its_reason() -> None:
    assert all(len(accepted.why) > 40 for accepted, _ in DIFFERENCES.values())


def test_the_first_of_two_messages_counts(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        stream = client.open()
        client.send(stream, message(b"x") + message(b"y"))
        assert client.answer(stream).payload == b"x"


def test_messages_up_to_the_bound_are_answered(kind: str) -> None:
    with serving(kind, lambda raw, _left: str(len(raw)).encode()) as (_, address):
        for size in (0, 100_000, MAX_MESSAGE_BYTES):
            assert call(address, b"m" * size) == str(size).encode()


def test_a_message_above_the_bound_is_a_denial_and_is_logged(kind: str, tmp_path: Path) -> None:
    """In a CheckResponse, where gRPC itself would answer an error: failure_mode_allow does not apply."""
    padding = {"x-long": "v" * MAX_MESSAGE_BYTES}
    with real_service(tmp_path, {}) as running:
        with serving(kind, running.service.answer) as (_, address):
            answer = read_answer(call(address, check_request(headers=padding)))
        (line,) = running.decisions()
    assert not answer.allowed
    assert (line["decision"], line["reason"]) == ("deny", "request_malformed")


def test_unfinished_calls_do_not_slow_others(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as slow:
        for _ in range(60):
            stream = slow.open()
            slow.send(stream, message(b"x" * 50)[:20], end=False)
        assert [call(address, b"y") for _ in range(3)] == [b"y"] * 3


# Metadata, pings, streams, connections


def answer_with_metadata(address: str, size: int) -> RawAnswer:
    """Make a call with `size` bytes of metadata, as a tracing proxy adds them."""
    with RawConnection(address) as client:
        fields = [(f"x-baggage-{number}", "v" * 8000) for number in range(size // 8000)]
        return client.ask(b"x", CHECK_PATH, *fields)


def test_metadata_up_to_its_bound_is_taken(kind: str) -> None:
    with serving(kind) as (_, address):
        for size in (20_000, 100_000, MAX_METADATA_BYTES * 9 // 10):
            assert answer_with_metadata(address, size).payload == b"x"


def test_metadata_above_its_bound_is_refused(kind: str) -> None:
    with serving(kind) as (_, address):
        found = answer_with_metadata(address, MAX_METADATA_BYTES * 5 // 4)
        # The front answers by HTTP alone (RFC 6585 5), which a gRPC client maps to an error.
        assert found.status == EXHAUSTED if kind == "grpcio" else found.headers[":status"] == "431"
        assert call(address) == b"x"


def test_pings_are_answered(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        client.ping()
        client.until(lambda: client.pings == 1)
        assert client.ask(b"x").payload == b"x"


def test_a_flood_of_pings_does_not_slow_others(kind: str) -> None:
    """grpcio ends such a connection; the front answers them all: a process of this host may send them."""
    with serving(kind) as (_, address), RawConnection(address) as client:
        for _ in range(2000):
            client.raw(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong")
        assert call(address) == b"x"


def test_thousands_of_streams_on_one_connection(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        for wave in range(6):
            streams = []
            for number in range(500):
                streams.append(client.open())
                client.send(streams[-1], message(b"%d" % (wave * 500 + number)))
            found = [client.answer(stream).payload for stream in streams]
            assert found == [b"%d" % (wave * 500 + number) for number in range(500)]
            client.answers.clear()


def test_a_flood_of_connections_does_not_slow_others(kind: str) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft - len(list(Path("/proc/self/fd").iterdir()))) // 3)
    with serving(kind) as (_, address):
        host, _, port = address.rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(count)]
        try:
            assert call(address) == b"x"
            for each in silent[::2]:
                each.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert call(address) == b"x"
        finally:
            for each in silent:
                each.close()
        assert call(address) == b"x"


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"z" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff",
        b"\x00" * 10_000,
    ],
    ids=["http1", "tls", "frame too long", "header block broken", "zeros"],
)
def test_a_connection_without_http2_ends_and_others_go_on(kind: str, octets: bytes) -> None:
    with serving(kind) as (_, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), WAIT) as connection:
            connection.sendall(octets)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionError:
                pass
        assert call(address) == b"x"


def test_a_connection_closed_by_half(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        stream = client.open()
        client.send(stream, message(b"x"))
        client.socket.shutdown(socket.SHUT_WR)
        client.answer(stream)
        assert client.answers[stream].status in {None, OK, UNAVAILABLE}
        assert call(address) == b"x"


def test_a_client_that_stops_reading_does_not_slow_others(kind: str) -> None:
    with serving(kind, lambda _raw, _left: b"a" * 60_000) as (_, address), RawConnection(address) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(90):
            stream = client.open()
            client.send(stream, message(b"x"))
        assert [len(call(address)) for _ in range(3)] == [60_000] * 3


# Draining


def test_nothing_makes_a_draining_server_healthy_again(kind: str) -> None:
    with serving(kind) as (server, address), ThreadPoolExecutor(1) as caller:
        server.set_serving(serving=True)
        assert health_of(address) == SERVING
        drained = caller.submit(server.drain, WAIT, quiet_s=1.0)
        while health_of(address) != NOT_SERVING:
            pass
        server.set_serving(serving=True)
        assert health_of(address) == NOT_SERVING
        assert drained.result(WAIT) is True


def test_drain_lets_running_checks_finish(kind: str) -> None:
    answer = Blocking()
    with serving(kind, answer) as (server, address), ThreadPoolExecutor(2) as caller:
        running = caller.submit(call, address, b"late")
        assert answer.entered.wait(WAIT)
        drained = caller.submit(server.drain, WAIT, quiet_s=0.0)
        with pytest.raises(TimeoutError):
            drained.result(0.1)
        answer.released.set()
        assert running.result(WAIT) == b"late"
        assert drained.result(WAIT) is True
        with pytest.raises(grpc.RpcError):
            call(address, timeout=1.0)


def test_drain_answers_until_nothing_arrives(kind: str) -> None:
    with serving(kind) as (server, address), ThreadPoolExecutor(1) as caller:
        drained = caller.submit(server.drain, WAIT, quiet_s=0.5)
        while health_of(address) != NOT_SERVING:
            pass
        assert call(address) == b"x"
        assert drained.result(WAIT) is True


def test_drain_ends_with_its_grace(kind: str) -> None:
    answer = Blocking()
    with serving(kind, answer) as (server, address), ThreadPoolExecutor(1) as caller:
        running = caller.submit(call, address)
        assert answer.entered.wait(WAIT)
        assert server.drain(0.05) is False
        with pytest.raises(grpc.RpcError):
            running.result(WAIT)
        answer.released.set()


def test_clients_learn_that_a_connection_ended(kind: str) -> None:
    with (
        serving(kind) as (server, address),
        RawConnection(address) as client,
        ThreadPoolExecutor(1) as caller,
    ):
        assert client.ask(b"x").payload == b"x"
        drained = caller.submit(server.drain, WAIT, quiet_s=0.0)
        client.until(lambda: client.closed)
        assert drained.result(WAIT)
        assert client.goaway_code == 0


# Addresses


def test_one_error_names_the_busy_address(kind: str) -> None:
    with serving(kind) as (_, address):
        for _ in range(2):
            with pytest.raises(GrpcListenError) as refused:
                server_of(kind, echo, [address]).start()
            assert str(refused.value) == f"cannot listen on {address!r}: address already in use"
        assert call(address) == b"x"


def test_a_native_server_with_a_busy_address_listens_on_none() -> None:
    """Accepted of grpcio: it lets go of the first address when the process ends, which it does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{probe.getsockname()[1]}"
    with serving("native") as (_, busy):
        with pytest.raises(GrpcListenError):
            server_of("native", echo, [free, busy]).start()
        server = server_of("native", echo, [free])
        server.start()
        server.drain(0.0)


def test_no_port_is_shared(kind: str) -> None:
    with serving(kind) as (_, address), socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            second.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_the_same_port_again_at_once(kind: str) -> None:
    server = server_of(kind, echo, ["127.0.0.1:0"])
    address = f"127.0.0.1:{server.start()}"
    for _ in range(5):
        with RawConnection(address) as client:
            # Connections that the server closes wait in TIME_WAIT on its side.
            assert client.ask(b"x").payload == b"x"
            server.drain(0.0, quiet_s=0.0)
            server = server_of(kind, echo, [address])
            server.start()
    assert call(address) == b"x"
    server.drain(0.0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]"])
def test_loopback_by_every_name(kind: str, host: str) -> None:
    try:
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
    except OSError:
        pytest.skip(f"this machine has no {host}")
    server = server_of(kind, echo, [f"{host}:0"])
    port = server.start()
    for _, _, _, _, where in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        found = f"[{where[0]}]" if ":" in str(where[0]) else where[0]
        assert call(f"{found}:{port}") == b"x"
    server.drain(0.0)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "no-such-host.invalid:0", ":80", "192.0.2.1:0", ""],
)
def test_addresses_that_cannot_be(kind: str, address: str) -> None:
    with pytest.raises(GrpcListenError) as refused:
        server_of(kind, echo, [address]).start()
    assert repr(address) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unix_sockets(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "check.sock"
    # A killed process leaves its socket file behind.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = server_of(kind, echo, [f"unix:{path}", "127.0.0.1:0"])
    assert server.start() > 0
    assert call(f"unix:{path}") == b"x"
    with RawConnection(f"unix:{path}") as client:
        assert client.ask(b"y").payload == b"y"
    with pytest.raises(GrpcListenError, match="another process listens there"):
        server_of(kind, echo, [f"unix:{path}"]).start()
    assert call(f"unix:{path}") == b"x"
    assert server.drain(0.0, quiet_s=0.0)
    assert not path.exists()

    path.write_text("a file")
    with pytest.raises(GrpcListenError, match="not a socket"):
        server_of(kind, echo, [f"unix:{path}"]).start()
    assert path.read_text() == "a file"
    with pytest.raises(GrpcListenError, match="directory does not exist"):
        server_of(kind, echo, [f"unix:{tmp_path}/none/x.sock"]).start()
    with pytest.raises(GrpcListenError, match="too long"):
        server_of(kind, echo, [f"unix:{tmp_path}/{'x' * 150}"]).start()


def test_only_unix_sockets_have_no_port(kind: str, tmp_path: Path) -> None:
    server = server_of(kind, echo, [f"unix:{tmp_path}/check.sock"])
    assert server.start() == 0
    server.drain(0.0)

"""Metadata, pings, streams and connections of a gRPC server, and how it drains: the same tests for both."""

import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from extauthz.check.bounds import MAX_METADATA_BYTES
from tests.wire.grpc_servers import (
    EXHAUSTED,
    NOT_SERVING,
    OK,
    SERVING,
    UNAVAILABLE,
    WAIT,
    Blocking,
    call,
    health_of,
    serving,
)
from tests.wire.raw_grpc import CHECK_PATH, RawAnswer, RawConnection, message

pytestmark = pytest.mark.timeout(90)


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


def test_a_ping_is_acknowledged_and_calls_go_on(kind: str) -> None:
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


def test_thousands_of_streams_on_one_connection_are_answered(kind: str) -> None:
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


def test_a_client_that_closes_its_half_disturbs_no_other_call(kind: str) -> None:
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

"""The benchmarks' load counts right answers only: anything else ends the measurement."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from extauthz.check.grpcio_server import CHECK_SERVICE
from tests.benchmarks.http1_client import HttpConnection, request
from tests.benchmarks.http2_client import GrpcConnection
from tests.benchmarks.load import Answer, LoadError, Measured, answers_to, load

Handler = Callable[[bytes, grpc.ServicerContext], bytes]


@contextlib.contextmanager
def served(handler: Handler) -> Iterator[int]:
    method = grpc.unary_unary_rpc_method_handler(handler)
    server = grpc.server(
        ThreadPoolExecutor(2),
        handlers=[grpc.method_handlers_generic_handler(CHECK_SERVICE, {"Check": method})],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def measure(port: int, messages: list[bytes], right: Callable[[Answer], bool], *, calls: int = 1) -> Measured:
    return load(
        partial(GrpcConnection, port),
        messages,
        connections=3,
        calls=calls,
        right=right,
        cpu_us=lambda: 0.0,
        seconds=30,
        warm=[b"warm"] * 5,
        once=True,
    )


def echo(raw: bytes, _context: grpc.ServicerContext) -> bytes:
    return raw


def refuse(_raw: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    raise AssertionError


def test_each_answer_is_counted_once_and_the_warm_ones_are_not() -> None:
    messages = [str(number).encode() for number in range(500)]
    seen: list[bytes] = []

    def right(answer: Answer) -> bool:
        seen.append(answer.message)
        return answer.status == "0"

    with served(echo) as port:
        measured = measure(port, messages, right, calls=4)

    assert sorted(seen) == sorted([b"warm"] * 5 + messages)
    assert 480 < measured.answers <= 500  # answers of one read that ends the warming are not counted
    assert measured.figures()["p99_us"] >= measured.figures()["p50_us"] > 0


def test_calls_wait_for_the_servers_window() -> None:
    messages = [bytes([number]) * 15_000 for number in range(64)]

    with served(echo) as port:
        measured = measure(
            port, messages, lambda answer: answer.message in messages or answer[1] == b"warm", calls=16
        )

    assert measured.answers > 0


def test_an_rpc_error_ends_the_measurement() -> None:
    with served(refuse) as port, pytest.raises(LoadError, match="status='14'"):
        measure(port, [b"x"], lambda answer: answer.status == "0")


def test_a_wrong_message_ends_the_measurement() -> None:
    with served(echo) as port, pytest.raises(LoadError, match="a wrong answer"):
        measure(port, [b"right", b"wrong"], lambda answer: answer.message != b"wrong")


def test_a_server_that_ends_the_connection_ends_the_measurement() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def end_connection() -> None:
            for _ in range(3):
                listening.accept()[0].close()

        closing = threading.Thread(target=end_connection)
        closing.start()
        with pytest.raises((LoadError, OSError)):
            measure(listening.getsockname()[1], [b"x"], lambda _answer: True)
        closing.join()


def test_answers_come_in_the_order_of_the_messages() -> None:
    with served(echo) as port:
        answers = answers_to(partial(GrpcConnection, port), [b"a", b"", b"c"])

    assert answers == [Answer("0", b"a"), Answer("0", b""), Answer("0", b"c")]


def test_http_responses_are_read_whole_and_with_their_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                for part in (b"HTTP/1.1 403 Forbidden\r\ncontent-le", b"ngth: 4\r\n\r\nno", b"pe"):
                    if part.startswith(b"HTTP"):
                        received = b""
                        while not received.endswith(b"\r\n\r\n"):
                            received += connection.recv(4096)
                    connection.sendall(part)

        answering = threading.Thread(target=answer)
        answering.start()
        (found,) = answers_to(
            partial(HttpConnection, listening.getsockname()[1]), [request("/x", "host.example", {"a": "b"})]
        )
        answering.join()

    assert found == Answer("403", b"nope")

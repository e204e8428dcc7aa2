"""The gRPC servers of the sidecar, by name, each with one function that answers."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.check.bounds import MAX_MESSAGE_BYTES
from extauthz.check.grpcio_server import (
    CHECK_SERVICE,
    MAX_RECEIVE_BYTES,
    GrpcioServer,
    Refuse,
    refuse_unlogged,
)
from extauthz.check.native_server import NativeServer

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
OK, CANCELLED, DEADLINE_EXCEEDED, NOT_FOUND, EXHAUSTED, INTERNAL, UNAVAILABLE = 0, 1, 4, 5, 8, 13, 14
UNIMPLEMENTED: Final = 12
ENHANCE_YOUR_CALM: Final = 11  # RFC 9113 7
BOUND: Final = 100_000
"""Of a message, in the tests of what is larger."""
CHECK: Final = f"/{CHECK_SERVICE}/Check"
WAIT: Final = 10.0
GRPCIO_THREADS: Final = 2
THREADS: Final = {"grpcio": GRPCIO_THREADS, "native": 1}
"""That answer checks at once."""
KINDS: Final = ("grpcio", "native")

Answer = Callable[[bytes, float | None], bytes]
Server = GrpcioServer | NativeServer


def echo(raw: bytes, _left: float | None) -> bytes:
    return raw


def server_of(
    kind: str,
    answer: Answer,
    listen: Sequence[str],
    *,
    refuse: Refuse = refuse_unlogged,
    max_receive_bytes: int = MAX_RECEIVE_BYTES,
) -> Server:
    """Return a server that does not listen yet."""
    if kind == "native":
        bound = min(max_receive_bytes, MAX_MESSAGE_BYTES)
        return NativeServer(answer, listen, refuse=refuse, max_receive_bytes=bound)
    return GrpcioServer(
        answer, listen, threads=GRPCIO_THREADS, refuse=refuse, max_receive_bytes=max_receive_bytes
    )


@contextmanager
def serving(
    kind: str,
    answer: Answer = echo,
    *,
    refuse: Refuse = refuse_unlogged,
    max_receive_bytes: int = MAX_RECEIVE_BYTES,
) -> Iterator[tuple[Server, str]]:
    """Run a server on a free port of loopback."""
    server = server_of(kind, answer, ["127.0.0.1:0"], refuse=refuse, max_receive_bytes=max_receive_bytes)
    address = f"127.0.0.1:{server.start()}"
    try:
        yield server, address
    finally:
        server.drain(0.0)


def call(address: str, raw: bytes = b"x", timeout: float | None = WAIT) -> bytes:
    """Make one call on a channel of its own."""
    with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        return bytes(channel.unary_unary(CHECK, None, None)(raw, timeout=timeout))


def health_of(address: str, service: str = "") -> int:
    """Ask for health on a channel of its own."""
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=WAIT).status)


class Blocking:
    """An answer that comes when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, raw: bytes, _left: float | None) -> bytes:
        self.entered.set()
        assert self.released.wait(WAIT)
        return raw

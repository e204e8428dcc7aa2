"""The gRPC servers of the sidecar, by name, each with one function that answers."""

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

CHECK: Final = f"/{CHECK_SERVICE}/Check"
WAIT: Final = 10.0
GRPCIO_THREADS: Final = 2
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

"""What a server with traces hands on of a call: the metadata as they came, over both gRPC servers."""

import grpc
import pytest

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.native_server import NativeServer
from extauthz.telemetry.check_trace import CallMetadata
from tests.wire.grpc_servers import CHECK, KINDS, WAIT, Server, echo

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_check_gets_the_metadata_of_its_call(kind: str) -> None:
    seen: list[CallMetadata] = []

    def traced(raw: bytes, _left: float | None, metadata: CallMetadata) -> bytes:
        seen.append(metadata)
        return raw

    server: Server
    if kind == "native":
        server = NativeServer(echo, ["127.0.0.1:0"], traced=traced)
    else:
        server = GrpcioServer(echo, ["127.0.0.1:0"], traced=traced)
    address = f"127.0.0.1:{server.start()}"
    try:
        with grpc.insecure_channel(address) as channel:
            given = (("traceparent", PARENT), ("tracestate", "a=b"))
            ask = channel.unary_unary(CHECK, None, None)
            assert ask(b"x", timeout=WAIT, metadata=given) == b"x"
            assert ask(b"y", timeout=WAIT) == b"y"
    finally:
        server.drain(0.0)
    first, second = seen
    assert dict(first)["traceparent"] == PARENT
    assert dict(first)["tracestate"] == "a=b"
    assert "traceparent" not in dict(second)

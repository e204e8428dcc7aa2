"""Properties of the grpcio server alone: TLS, and bounds on received octets and times."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.check import envoy_response
from extauthz.check.bounds import MAX_MESSAGE_BYTES
from extauthz.check.grpc_tls import GrpcTls, TlsIdentity
from extauthz.check.grpcio_server import (
    CHECK_SERVICE,
    AnswerCheck,
    GrpcioServer,
    Refuse,
)
from extauthz.check.listen_address import GrpcListenError
from tests.builders import read_answer
from tests.certificates import Authority, Certificate
from tests.real_service import real_service

CHECK = f"/{CHECK_SERVICE}/Check"
WAIT = 10.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def echo(raw: bytes, _left: float | None) -> bytes:
    return raw


@contextmanager
def serving(
    answer: AnswerCheck = echo,
    *,
    tls: GrpcTls | None = None,
    refuse: Refuse = lambda _: envoy_response.internal_error(),
) -> Iterator[tuple[GrpcioServer, str]]:
    server = GrpcioServer(answer, ["127.0.0.1:0"], threads=2, tls=tls, refuse=refuse)
    address = f"127.0.0.1:{server.start()}"
    try:
        yield server, address
    finally:
        server.drain(0.0)


def call(address: str, raw: bytes = b"x", timeout: float | None = WAIT) -> bytes:
    with grpc.insecure_channel(address) as channel:
        return bytes(channel.unary_unary(CHECK, None, None)(raw, timeout=timeout))


def health_of(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=WAIT).status)


def test_a_request_above_the_bound_reaches_the_handler_without_its_content() -> None:
    seen: list[int] = []
    answered = threading.Event()

    def answer(raw: bytes, _left: float | None) -> bytes:
        seen.append(len(raw))
        answered.set()
        return b"y"

    server = GrpcioServer(answer, ["127.0.0.1:0"], max_receive_bytes=1000)
    address = f"127.0.0.1:{server.start()}"
    with pytest.raises(grpc.RpcError) as refused:
        call(address, b"x" * 1001)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answered.wait(WAIT)
    assert call(address, b"x" * 1000) == b"y"
    assert seen == [0, 1000]
    server.drain(0.0)


def test_large_messages_from_several_connections_are_all_answered() -> None:
    large = b"m" * MAX_MESSAGE_BYTES

    def use(address: str) -> int:
        with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            ask = channel.unary_unary(CHECK, None, None)
            calls = [ask.future(large, timeout=WAIT) for _ in range(30)]
            return sum(call.result() == b"y" for call in calls)

    with serving(lambda _raw, _left: b"y") as (_, address), ThreadPoolExecutor(3) as users:
        assert list(users.map(use, [address] * 3)) == [30, 30, 30]


def test_a_call_without_a_message_is_answered_as_an_empty_one() -> None:
    with serving(lambda raw, _left: raw + b"!") as (_, address), grpc.insecure_channel(address) as channel:
        assert channel.stream_unary(CHECK, None, None)(iter(()), timeout=WAIT) == b"!"


@pytest.mark.parametrize("method", [CHECK, "/grpc.health.v1.Health/Check"])
def test_callers_that_never_send_their_message_do_not_keep_others_waiting(method: str) -> None:
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait()
        yield b""

    server = GrpcioServer(echo, ["127.0.0.1:0"], threads=2, receive_s=0.05)
    address = f"127.0.0.1:{server.start()}"
    try:
        with grpc.insecure_channel(address) as channel:
            stalled = [channel.stream_unary(method, None, None).future(nothing()) for _ in range(4)]
            assert call(address) == b"x"
            assert health_of(address, "") == NOT_SERVING
            for one in stalled:
                with pytest.raises(grpc.RpcError) as ended:
                    one.result(WAIT)
                assert ended.value.code() is grpc.StatusCode.CANCELLED
    finally:
        never.set()
        server.drain(0.0)


def test_client_headers_copied_by_a_tracing_proxy_cause_no_rpc_error() -> None:
    with serving() as (_, address), grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(CHECK, None, None)
        metadata = (("tracestate", "a=b," * 15_000), ("baggage", "c=d," * 15_000))
        assert ask(b"x", timeout=WAIT, metadata=metadata) == b"x"


def test_other_methods_are_unimplemented() -> None:
    with serving() as (_, address), grpc.insecure_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{CHECK_SERVICE}/Other", None, None)(b"", timeout=WAIT)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_busy_port_is_one_readable_error() -> None:
    with serving() as (_, address):
        second = GrpcioServer(echo, ["127.0.0.1:0", address])
        with pytest.raises(GrpcListenError, match=f"^cannot listen on '{address}': address already in use$"):
            second.start()
        assert call(address) == b"x"


def test_calls_that_wait_for_a_thread_are_counted() -> None:
    entered, released = threading.Semaphore(0), threading.Event()

    def answer(raw: bytes, _left: float | None) -> bytes:
        entered.release()
        assert released.wait(WAIT)
        return raw

    with serving(answer) as (server, address), grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(CHECK, None, None)
        calls = [ask.future(b"x", timeout=WAIT) for _ in range(5)]
        assert all(entered.acquire(timeout=WAIT) for _ in range(2))
        while server.waiting < 3:
            pass
        released.set()
        assert [each.result(WAIT) for each in calls] == [b"x"] * 5
        assert server.waiting == 0


def identity(certificate: Certificate, client_ca: bytes | None = None) -> TlsIdentity:
    return TlsIdentity(certificate.chain, certificate.key, client_ca)


def secure_call(address: str, authority: Authority, client: Certificate | None = None) -> bytes:
    credentials = grpc.ssl_channel_credentials(
        authority.pem, client.key if client else None, client.chain if client else None
    )
    with grpc.secure_channel(address, credentials) as channel:
        return bytes(channel.unary_unary(CHECK, None, None)(b"x", timeout=2.0))


def refused(action: Callable[[], bytes]) -> bool:
    try:
        action()
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_tls_and_a_certificate_replaced_while_running() -> None:
    old, new = Authority("old"), Authority("new")
    current = [identity(old.issue("localhost"))]
    tls = GrpcTls(current[0], lambda: current[0])
    with serving(tls=tls) as (_, address):
        assert secure_call(address, old) == b"x"
        assert refused(lambda: secure_call(address, new))
        assert refused(lambda: call(address, timeout=2.0))
        current[0] = identity(new.issue("localhost"))
        assert secure_call(address, new) == b"x"
        assert refused(lambda: secure_call(address, old))


def test_a_failing_reload_keeps_the_last_good_certificate() -> None:
    authority = Authority("ca")
    good = identity(authority.issue("localhost"))

    def failing() -> TlsIdentity | None:
        raise FileNotFoundError("tls.crt")

    bad_ones: list[Callable[[], TlsIdentity | None]] = [
        failing,
        lambda: None,
        lambda: TlsIdentity(b"garbage", b"garbage"),
        lambda: TlsIdentity(good.certificate_chain, good.private_key, authority.pem),
    ]
    for reload in bad_ones:
        with serving(tls=GrpcTls(good, reload)) as (_, address):
            assert secure_call(address, authority) == b"x"


def test_mutual_tls_wants_a_certificate_of_the_client_ca() -> None:
    authority, clients, others = Authority("server"), Authority("clients"), Authority("others")
    server_identity = identity(authority.issue("localhost"), clients.pem)
    with serving(tls=GrpcTls(server_identity, lambda: None)) as (_, address):
        assert secure_call(address, authority, clients.issue("envoy")) == b"x"
        assert refused(lambda: secure_call(address, authority))
        assert refused(lambda: secure_call(address, authority, others.issue("envoy")))


def test_clients_without_an_expected_name_are_denied(tmp_path: Path) -> None:
    authority = Authority("ca")
    gateway = "spiffe://cluster.local/ns/istio/sa/gateway"
    server_identity = identity(authority.issue("localhost"), authority.pem)
    tls = GrpcTls(server_identity, lambda: None, frozenset({gateway, "envoy.internal"}))
    with (
        real_service(tmp_path, {}) as running,
        serving(tls=tls, refuse=running.service.refuse) as (_, address),
    ):
        assert secure_call(address, authority, authority.issue("x", uris=(gateway,))) == b"x"
        assert secure_call(address, authority, authority.issue("envoy.internal")) == b"x"
        unknown = secure_call(address, authority, authority.issue("x", uris=(gateway + "2",)))
        assert not read_answer(unknown).allowed
        (line,) = running.decisions()
    assert (line["decision"], line["reason"], line["entrance"]) == ("deny", "internal_error", "grpc")


def test_an_unusable_certificate_is_one_readable_error() -> None:
    broken = TlsIdentity(b"garbage", b"garbage")
    with pytest.raises(GrpcListenError, match="with this certificate"):
        GrpcioServer(echo, ["127.0.0.1:0"], tls=GrpcTls(broken, lambda: None)).start()


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(TlsIdentity(b"chain", b"secret"))

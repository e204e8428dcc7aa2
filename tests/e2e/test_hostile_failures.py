"""No request passes an Envoy that fails closed, whatever server is in place of the sidecar.

And the sidecar itself cannot be brought to say the one thing that Envoy reads as yes: nothing.
"""

import contextlib
import random
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import grpc
import pytest

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from tests.builders import check_request, network_check, read_answer
from tests.e2e.gate import (
    ALLOWED,
    POSTURES,
    READY_S,
    RSA,
    Gate,
    Posture,
    bearer,
    configuration,
    gate,
    start_envoy,
)
from tests.e2e.raw_http import LenientUpstream, Reply, http1, lenient_upstream, request
from tests.real_tokens import good_claims
from tests.stopped_processes import stopped

CLOSED = [posture for posture in POSTURES if not posture.fail_open]
OPEN = [posture for posture in POSTURES if posture.fail_open]
CHECK = "/envoy.service.auth.v3.Authorization/Check"
REFUSED = {403, 503}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("failures")) as running:
        yield running


@contextmanager
def answering(port: int, answer: Callable[[bytes, grpc.ServicerContext], bytes]) -> Iterator[None]:
    """A gRPC server that answers checks so."""

    check = grpc.unary_unary_rpc_method_handler(answer)
    pool = futures.ThreadPoolExecutor(4)
    handler = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": check})
    server = grpc.server(pool, handlers=[handler], options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()
        pool.shutdown()


@contextmanager
def speaking(port: int, octets: bytes) -> Iterator[None]:
    """A server that sends these octets on each connection and closes it."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(octets)
                self.request.settimeout(0.1)
                while self.request.recv(65536):
                    pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((LOOPBACK, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def deaf(port: int) -> Iterator[None]:
    """A socket that accepts and never reads."""
    with socket.create_server((LOOPBACK, port)):
        yield


def aborting(code: grpc.StatusCode) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def answer(_raw: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "no")

    return answer


def failing(_raw: bytes, _context: grpc.ServicerContext) -> bytes:
    raise ValueError("no")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4, 0, 0, b"")
# An answer of HTTP 200 in HPACK's static table, as a server might give it that knows nothing of gRPC.
PLAIN_OK = SETTINGS + frame(1, 0x5, 1, b"\x88")
OK_WITH_DATA = SETTINGS + frame(1, 0x4, 1, b"\x88") + frame(0, 1, 1, b"\x00\x00\x00\x00\x00")
GARBAGE_ANSWERS: dict[str, Callable[[int], AbstractContextManager[None]]] = {
    "garbage": lambda port: answering(port, lambda *_: b"\xff\xfe garbage \x00\x01"),
    "a status that is cut off": lambda port: answering(port, lambda *_: b"\x0a\x7f\x08"),
    "a field of endless length": lambda port: answering(port, lambda *_: b"\x0a\xff\xff\xff\xff\x0f"),
    "a status with an unknown code": lambda port: answering(port, lambda *_: b"\x0a\x03\x08\xe7\x07"),
    "a negative code": lambda port: answering(port, lambda *_: b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01"),
    **{
        f"error {code.name}": partial(answering, answer=aborting(code))
        for code in grpc.StatusCode
        if code is not grpc.StatusCode.OK
    },
    "an error without an answer": lambda port: answering(port, failing),
    "HTTP/1.1": lambda port: speaking(port, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "random bytes": lambda port: speaking(port, random.Random(1).randbytes(4096)),
    "nothing at all": lambda port: speaking(port, b""),
    "settings and no more": lambda port: speaking(port, SETTINGS),
    "HTTP 200 without gRPC": lambda port: speaking(port, PLAIN_OK),
    "HTTP 200, an empty message, no trailers": lambda port: speaking(port, OK_WITH_DATA),
    "a reset": lambda port: speaking(port, SETTINGS + frame(3, 0, 1, b"\0\0\0\0")),
    "a farewell": lambda port: speaking(port, SETTINGS + frame(7, 0, 0, bytes(8))),
    "a closed ear": deaf,
}


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[dict[Posture, int], int, LenientUpstream]]:
    """Envoy, an upstream, and no server at the port of the sidecar."""
    folder = tmp_path_factory.mktemp("impostors")
    reserved = ReservedPorts()
    ports = {posture: reserved.take()[0] for posture in POSTURES}
    (sidecar_port,) = reserved.take()
    with lenient_upstream() as upstream:
        # Without health checks, so that the impostor's answers count, not its health.
        proxy = start_envoy(folder, configuration(ports, sidecar_port, upstream.port, health_checks=False))
        try:
            proxy.wait_ready(lambda: http1(ports[CLOSED[0]], request(b"/")).status == 503, timeout_s=READY_S)
            yield ports, sidecar_port, upstream
        finally:
            proxy.kill()
            reserved.release()


@pytest.mark.parametrize("impostor", GARBAGE_ANSWERS)
def test_an_impostor_lets_no_request_pass_where_envoy_fails_closed(
    proxied: tuple[dict[Posture, int], int, LenientUpstream], impostor: str
) -> None:
    ports, sidecar_port, upstream = proxied
    upstream.arrivals.clear()
    with GARBAGE_ANSWERS[impostor](sidecar_port):
        replies = [http1(ports[posture], request(b"/admin/users")) for posture in CLOSED for _ in range(3)]

    assert {reply.status for reply in replies} <= REFUSED
    assert upstream.arrivals == []


def test_envoy_reads_no_status_as_an_allow_and_an_error_as_failure_mode_allow_says(
    proxied: tuple[dict[Posture, int], int, LenientUpstream],
) -> None:
    """Envoy reads an answer without a status as an allow, and an error as `failure_mode_allow` says.

    A server in place of the sidecar decides: the sidecar listens on loopback, a Unix socket, or mutual TLS.
    """
    ports, sidecar_port, _ = proxied

    def statuses(postures: list[Posture]) -> set[int]:
        return {http1(ports[posture], request(b"/x")).status for posture in postures}

    # Empty; an unknown field; a status of another wire type, which is an unknown field too.
    for answer in (b"", b"\x78\x01", b"\x0d\x00\x00\x00\x00"):
        with answering(sidecar_port, lambda *_, answer=answer: answer):
            # The connection to the impostor before may still be in Envoy's pool.
            assert any(statuses(POSTURES) == {ALLOWED} for _ in range(20))
    assert statuses(OPEN) == {ALLOWED}
    assert statuses(CLOSED) == {503}


def hostile_messages(good: bytes) -> Iterator[bytes]:
    """Octets that are not a CheckRequest, and nearly empty ones."""
    chance = random.Random(44)
    yield from (
        b"",
        b"\x00",
        b"\xff" * 10,
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x08\x01",
        b"\x0a\x00",
        b"\x0a\x02\x12\x00",
    )
    yield from (good[:cut] for cut in range(0, len(good), 7))
    yield from (chance.randbytes(chance.randrange(1, 400)) for _ in range(60))
    for _ in range(150):
        changed = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)
    yield network_check()
    yield network_check(source_principal="spiffe://cluster.local/ns/a/sa/b")
    yield b"\x0a\x80\x80\x40" + b"\x0a" * (1 << 20)
    yield b"\x0b" * 100_000 + b"\x0c" * 100_000
    yield check_request("/admin/users", headers={f"x-{number}": "y" * 400 for number in range(2_000)})
    yield check_request("/admin/users", body="x" * 1_000_000)
    yield check_request("/" + "a" * 1_000_000)
    yield check_request("/admin/users?" + "&".join(f"a{number}=b" for number in range(50_000)))
    yield check_request("/admin/users", method="\0")
    yield check_request("/admin/users", context_extensions={"resource": "site:use"})
    yield check_request("/admin/users", context_extensions={"tenant": "other"})
    yield check_request("/admin/users", raw_headers=[("authorization", b"\xff"), ("authorization", b"")])


def test_no_octets_make_the_sidecar_allow_or_leave_a_check_unanswered(door: Gate) -> None:
    good = check_request("/admin/users", host="site.example", headers={"authorization": "Bearer a.b.c"})
    answers = 0
    with grpc.insecure_channel(f"{LOOPBACK}:{door.grpc_port}") as channel:
        check = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
        for raw in hostile_messages(good):
            answer = check(raw, timeout=5)
            assert answer, raw[:100]
            # A changed octet may name another target, which is allowed for all: then the answer names it.
            read = read_answer(answer)
            assert not read.allowed or read.metadata["resource"] == "site:use", raw[:300]
            answers += not read.allowed
        assert answers >= 200
        for wrong in (
            "/envoy.service.auth.v3.Authorization/Chec",
            "/envoy.service.auth.v2.Authorization/Check",
            "/",
        ):
            call = channel.unary_unary(wrong, request_serializer=None, response_deserializer=None)
            with pytest.raises(grpc.RpcError) as refused:
                call(good, timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_checks_that_the_sidecar_cannot_judge_are_denied_where_envoy_fails_open(door: Gate) -> None:
    """Its own troubles are denials inside an answer: they never become Envoy's choice."""
    unknown = RSA.sign(good_claims(door.provider.issuer, "alice"), kid="not-yet-known")
    replies: list[Reply] = [
        door.send(posture, b"/x", *lines)
        for posture in OPEN
        for lines in (
            [bearer(unknown)],
            [bearer("A" * 50_000)],
            [b"Authorization: Bearer \xff"],
            [b"x-%d: %s" % (number, b"y" * 300) for number in range(99)] + [b"Authorization: x"],
        )
    ]

    assert {reply.status for reply in replies} <= {400, 401, 431, 503}
    (health,) = {door.send(posture, b"/x?" + b"a=%61&" * 9_000).status for posture in OPEN}
    assert health in {ALLOWED, 414, 431, 400}


def test_stopped_and_killed_sidecars_let_no_request_pass(door: Gate) -> None:
    """The last one of this module: the sidecar does not come back."""
    admin = bearer(RSA.sign(good_claims(door.provider.issuer, "root", roles=["admin"])))
    targets = [b"/x", b"/admin/users", b"/inside", b"/a;b", b"/../admin"]
    assert [door.send(posture, b"/admin/users", admin).status for posture in POSTURES] == [ALLOWED] * 4

    with stopped(door.sidecar.family()):
        door.upstream.arrivals.clear()
        hung = {door.send(posture, target, admin).status for posture in CLOSED for target in targets[:2]}
    door.proxy.wait_ready(lambda: door.send(CLOSED[0], b"/x").status == ALLOWED, timeout_s=READY_S)
    assert hung == {503}
    assert {arrival.target for arrival in door.upstream.arrivals} <= {b"/x"}

    door.sidecar.kill()
    door.upstream.arrivals.clear()
    for posture in CLOSED:
        replies = [door.send(posture, target, *lines) for target in targets for lines in ([admin], [])]
        assert {reply.status for reply in replies} <= {400, *REFUSED}
    assert door.upstream.arrivals == []

"""The HTTP variant through real sockets: raw paths, one OK writer, and never a 5xx."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.check import envoy_response, http_response
from extauthz.check.bounds import MAX_WAIT_S
from extauthz.check.extauthz_check_pb2 import AttributeContext
from extauthz.check.http_response import HEADERS_TO_REMOVE, REASON, HttpAnswer
from extauthz.check.http_server import THREADS, AnswerHttp, HttpAuthzServer, RefuseHttp
from extauthz.domain.principal import ANONYMOUS
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.verdict import Allowed, Denied, Verdict
from tests.builders import DECISION_ID, allowed, denied, read_answer
from tests.real_service import RealService, real_service, token
from tests.waiting import until

POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [
                {"methods": ["*"], "path": "/invoices/{number}"},
                {"methods": ["*"], "path": "/public/**", "authentication": "optional"},
            ],
        }
    ],
    "role_rules": [
        {"id": "anyone", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "*", "effect": "allow"},
        {
            "id": "nobody",
            "sub": "anonymous",
            "dom": "*",
            "obj": "invoice:read",
            "act": "*",
            "effect": "allow",
        },
    ],
}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: str


def refuse(refused: Malformed) -> HttpAnswer:
    return http_response.write(Denied(DECISION_ID, refused.reason, refused))


@contextmanager
def serving(answer: AnswerHttp, refuse: RefuseHttp = refuse, *, prefix: str = "") -> Iterator[int]:
    """Serve on a loop of its own thread; yield the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[HttpAuthzServer, int]:
        server = HttpAuthzServer(answer, refuse, path_prefix=prefix)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.start(listener)
        return server, int(listener.getsockname()[1])

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def exchange(port: int, request: bytes) -> Reply:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        stream = connection.makefile("rb")
        start = stream.readline().split()
        lines = iter(lambda: stream.readline().decode("latin-1").strip(), "")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = 0 if request.startswith(b"HEAD ") else int(headers.get("content-length", "0"))
        return Reply(int(start[1]), headers, stream.read(size).decode())


def ask(port: int, target: str, *, method: str = "GET", **headers: str) -> Reply:
    lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return exchange(port, ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RealService]:
    with real_service(tmp_path, POLICIES) as running:
        yield running


@pytest.fixture
def port(service: RealService) -> Iterator[int]:
    with serving(service.service.answer_http, service.service.refuse_http) as at:
        yield at


def test_an_allow_is_200_with_the_identity_and_what_to_remove(port: int, service: RealService) -> None:
    reply = ask(
        port, "/invoices/17?x=1", authorization=f"Bearer {token()}", x_auth_subject="root", x_auth_y="1"
    )
    assert (reply.status, reply.body) == (200, "")
    assert reply.headers["x-auth-subject"] == "alice"
    assert reply.headers["x-auth-kind"] == "user"
    removed = set(reply.headers[HEADERS_TO_REMOVE].split(","))
    assert {"x-auth-domain", "x-auth-roles", "x-service-api-key", "x-auth-y"} <= removed
    assert not removed & set(reply.headers)
    (line,) = service.decisions()
    assert (line["entrance"], line["decision"], line["path"]) == ("http", "allow", "/invoices/17")
    assert line["decision_id"] == reply.headers["x-auth-decision-id"]


def test_a_denial_has_the_status_of_its_reason(port: int) -> None:
    none = ask(port, "/invoices/17")
    assert (none.status, none.headers[REASON]) == (401, "token_missing")
    assert none.headers["www-authenticate"].startswith("Bearer ")
    assert '"reason":"token_missing"' in none.body
    assert ask(port, "/elsewhere", authorization=f"Bearer {token()}").status == 403
    assert ask(port, "/invoices/17", authorization="Bearer x.y.z").headers[REASON] == "token_malformed"
    twice = exchange(
        port,
        b"GET /invoices/17 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    )
    assert (twice.status, twice.headers[REASON]) == (401, "token_malformed")


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip", "x-unheard-of"])
@pytest.mark.parametrize("body", ["", "not that coding"])
def test_the_encoding_of_a_body_does_not_change_the_decision(port: int, coding: str, body: str) -> None:
    head = (
        "POST /public/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert exchange(port, (head + body).encode()).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/public/../invoices/17", "/public/%2e%2e/x", "/public//x", "//evil.example/public", "/public/a;b",
        "/public/%2fx", "/public/\\x", "/public/%00", "/public/a#b", "/public/%252e", "http://x/public/a",
        "/public/\u00e9", "*", "/public/[", "/public/%zz", "/public/a?b#c", "/public/" + "a" * 9000,
        "/public/\udcff",
    ],
)  # fmt: skip
def test_the_path_is_read_as_it_was_sent(port: int, target: str) -> None:
    reply = ask(port, target)
    assert reply.status == 400
    assert reply.headers[REASON] in {"path_ambiguous", "request_malformed"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "PURGE", "M-SEARCH"])
@pytest.mark.parametrize("target", ["/public/x", "/public/healthz/live", "/public/x?a=%zz&b"])
def test_every_method_and_path_is_a_check(port: int, method: str, target: str) -> None:
    assert ask(port, target, method=method).status == 200
    for other in ("/", "/healthz/live", "/healthz/ready", "/metrics", "/favicon.ico", "/api/v1/check"):
        assert ask(port, other, method=method).status == 401


def test_connect_and_upgrade_requests_are_checked(port: int) -> None:
    assert ask(port, "shop.example:443", method="CONNECT").status == 400
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec_websocket_key": "eA=="}
    assert ask(port, "/public/x", **upgrade).status == 200
    assert ask(port, "/invoices/1", **upgrade).status == 401
    assert ask(port, "/public/x", expect="100-continue").status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /public/x HTTP/1.1\r\n\r\n",
        b"GET /public/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /public/x HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /public/x HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /public/x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: a\x00b\r\n\r\n",
    ],
)
def test_a_malformed_request_is_never_answered_with_200_or_5xx(port: int, raw: bytes) -> None:
    try:
        reply = exchange(port, raw)
    except (ConnectionError, IndexError):
        return  # nothing was answered, which Envoy takes for a failure of the connection
    assert 400 <= reply.status < 500


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /public/x\r\n\r\n",
        b"GET /public/x HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
    ],
)
def test_a_malformed_request_is_logged_as_a_denial(port: int, service: RealService, raw: bytes) -> None:
    reply = exchange(port, raw)
    (line,) = service.decisions()
    assert reply.headers[REASON] == "request_malformed"
    assert (line["decision"], line["reason"], line["status"]) == ("deny", "request_malformed", reply.status)
    assert line["entrance"] == "http"
    assert line["decision_id"] in reply.body


@pytest.mark.parametrize("error", [RuntimeError("x"), RecursionError(), TimeoutError(), KeyError(1)])
def test_an_exception_is_a_denial_and_no_5xx(error: Exception) -> None:
    def answer(_: AttributeContext) -> HttpAnswer:
        raise error

    with serving(answer) as port:
        reply = ask(port, "/x")
    assert (reply.status, reply.headers[REASON]) == (403, "internal_error")


def test_a_body_is_not_waited_for(port: int) -> None:
    reply = exchange(port, b"POST /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart")
    assert reply.status == 200
    assert reply.headers["connection"] == "close"


def test_long_credentials_are_read(port: int) -> None:
    padded = token(filler="x" * 10_000)
    assert ask(port, "/invoices/1", authorization=f"Bearer {padded}").status == 200


EVERY_VERDICT = [
    *(denied(reason, is_grpc=is_grpc) for reason in Reason for is_grpc in (False, True)),
    Denied(DECISION_ID, Reason.REQUEST_MALFORMED, Malformed(Reason.REQUEST_MALFORMED, "x")),
    allowed(),
    allowed(ANONYMOUS, roles=("anonymous",)),
    allowed(strip_headers=("x-auth-extra", "x_auth_subject")),
]


@pytest.mark.parametrize("verdict", EVERY_VERDICT)
def test_http_answers_as_grpc_does(verdict: Verdict) -> None:
    over_grpc, over_http = read_answer(envoy_response.write(verdict)), http_response.write(verdict)
    headers = dict(over_http.headers)
    assert len(headers) == len(over_http.headers)
    if isinstance(verdict, Allowed):
        assert over_grpc.allowed
        assert over_http.status == 200
        assert set(headers.pop(HEADERS_TO_REMOVE).split(",")) == set(over_grpc.removed)
    else:
        assert not over_grpc.allowed
        assert over_http.status == (403 if over_grpc.status == 503 else over_grpc.status)
        assert headers.pop(REASON) == verdict.reason
        assert over_http.body.decode() == over_grpc.body
    assert headers == over_grpc.headers


@pytest.mark.anyio
async def test_unanswered_calls_are_noticed_after_their_client_has_left() -> None:
    hangs, started = threading.Event(), threading.Event()

    def hang(_: AttributeContext) -> HttpAnswer:
        started.set()
        hangs.wait(10)
        return refuse(Malformed(Reason.INTERNAL_ERROR, "late"))

    server = HttpAuthzServer(hang, refuse)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    try:
        assert server.stalled_s() == 0.0
        _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await asyncio.to_thread(started.wait, 5)
        writer.close()
        await writer.wait_closed()
        before = server.stalled_s()
        await until(lambda: server.stalled_s() > before + 0.1)
        hangs.set()
        await until(lambda: server.stalled_s() == 0.0)
    finally:
        hangs.set()
        await server.stop()


def test_overload_is_denied_early_is_logged_and_ends_by_itself(service: RealService) -> None:
    entered, released = threading.Semaphore(0), threading.Event()

    def answer(attributes: AttributeContext) -> HttpAnswer:
        if attributes.request.http.path == b"/first":
            entered.release()
            assert released.wait(10)
        return service.service.answer_http(attributes)

    with serving(answer, service.service.refuse_http) as port, ThreadPoolExecutor(THREADS + 5) as clients:
        first = [clients.submit(ask, port, "/first") for _ in range(THREADS)]
        assert all(entered.acquire(timeout=10) for _ in first)
        late = [clients.submit(ask, port, "/public/a") for _ in range(5)]
        assert not wait(late, MAX_WAIT_S + 0.3).done
        released.set()
        assert {each.result(10).headers[REASON] for each in late} == {"overloaded"}
        assert ask(port, "/public/a").status == 200
    reasons = [line["reason"] for line in service.decisions()]
    assert reasons.count("overloaded") == len(late)
    assert len(reasons) == len(first) + len(late) + 1


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/check/orders/7", b"/orders/7"),
        (b"/check/orders?a=/check/b", b"/orders?a=/check/b"),
        (b"/check/", b"/"),
        (b"/check/check/x", b"/check/x"),
        (b"/check//x", b"//x"),
        (b"/check", None),
        (b"/check?x", None),
        (b"/checkout", None),
        (b"/orders", None),
        (b"/", None),
        (b"*", None),
        (b"/CHECK/x", None),
        (b"/%63heck/x", None),
        (b"//check/x", None),
        (b"/a/check/x", None),
        (b"http://shop.example/check/x", None),
    ],
)
def test_the_prefix_is_taken_off_and_a_check_without_it_is_refused(target: bytes, path: bytes | None) -> None:
    asked: list[bytes] = []

    def answer(attributes: AttributeContext) -> HttpAnswer:
        asked.append(attributes.request.http.path)
        return HttpAnswer(200, ())

    with serving(answer, prefix="/check") as at:
        reply = exchange(at, b"GET " + target + b" HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")

    if path is None:
        assert (reply.status, asked) == (400, [])
        assert "request_malformed" in reply.body
    else:
        assert (reply.status, asked) == (200, [path])

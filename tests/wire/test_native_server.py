"""What only the native server has: one thread a front, and threads of their own for checks that wait."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from extauthz.check import wire
from extauthz.check.native_server import WAITING_CHECKS, NativeServer
from extauthz.check.service import KEY_WAIT_S, MAX_WAITING
from extauthz.decide.keyring import IssuerKeys, KeyRing
from tests.builders import check_request, read_answer
from tests.real_service import CONFIG, real_service, token
from tests.wire.grpc_servers import WAIT, call
from tests.wire.raw_grpc import RawConnection, message

pytestmark = pytest.mark.timeout(90)

Begin = Callable[[bytes, float | None], bytes | Callable[[], bytes]]


@contextmanager
def serving(begin: Begin) -> Iterator[tuple[NativeServer, str]]:
    server = NativeServer(begin, ["127.0.0.1:0"])
    address = f"127.0.0.1:{server.start()}"
    try:
        yield server, address
    finally:
        server.drain(0.0)


class Waits:
    """Answers what begins with `w` once it is let, and everything else at once."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()

    def __call__(self, raw: bytes, _left: float | None) -> bytes | Callable[[], bytes]:
        return (lambda: self.finish(raw)) if raw.startswith(b"w") else raw

    def finish(self, raw: bytes) -> bytes:
        self.entered.release()
        assert self.released.wait(WAIT)
        return raw


def test_checks_that_wait_delay_no_other() -> None:
    begin = Waits()
    with serving(begin) as (_, address), RawConnection(address) as client:
        # More than there are threads for.
        waiting = [client.open() for _ in range(WAITING_CHECKS * 4)]
        for number, stream in enumerate(waiting):
            client.send(stream, message(b"w%d" % number))
        assert all(begin.entered.acquire(timeout=WAIT) for _ in range(WAITING_CHECKS))
        assert client.ask(b"x").payload == b"x"
        assert call(address, b"y") == b"y"
        assert not any(client.answers[stream].over for stream in waiting)
        begin.released.set()
        assert [client.answer(each).payload for each in waiting] == [
            b"w%d" % number for number in range(len(waiting))
        ]


def test_a_drain_waits_for_checks_that_wait() -> None:
    begin = Waits()
    with serving(begin) as (server, address), ThreadPoolExecutor(2) as caller:
        answer = caller.submit(call, address, b"w")
        assert begin.entered.acquire(timeout=WAIT)
        drained = caller.submit(server.drain, WAIT, quiet_s=0.0)
        with pytest.raises(TimeoutError):
            drained.result(0.3)
        begin.released.set()
        assert answer.result(WAIT) == b"w"
        assert drained.result(WAIT) is True


def test_a_drain_that_ends_first_ends_their_calls() -> None:
    begin = Waits()
    with serving(begin) as (server, address), ThreadPoolExecutor(1) as caller:
        answer = caller.submit(call, address, b"w")
        assert begin.entered.acquire(timeout=WAIT)
        assert server.drain(0.05) is False
        with pytest.raises(grpc.RpcError):
            answer.result(WAIT)
        begin.released.set()


@pytest.mark.parametrize("error", [RuntimeError("x"), MemoryError()])
def test_an_exception_after_waiting_is_a_denial(error: Exception) -> None:
    def fails() -> bytes:
        raise error

    with serving(lambda _raw, _left: fails) as (_, address):
        for _ in range(WAITING_CHECKS * 2):
            assert call(address) == wire.internal_error()


@pytest.mark.parametrize("answer", [None, "text", 7])
def test_what_is_no_answer_is_a_denial_and_ends_no_other_call(answer: object) -> None:
    def begin(raw: bytes, _left: float | None) -> bytes:
        return raw if raw == b"x" else answer  # type: ignore[return-value]

    with serving(begin) as (_, address):
        assert call(address, b"bad") == wire.internal_error()
        assert call(address) == b"x"


class UnansweredKeys:
    """An identity provider whose keys were never fetched and that does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def current(self) -> KeyRing:
        return KeyRing.of([IssuerKeys(CONFIG)])

    def ensure(self, issuer: str, kid: str | None) -> "Future[None]":
        self.asked += 1
        return Future()


def test_a_flood_that_waits_for_keys_is_bounded(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    with real_service(tmp_path, {}, keys=UnansweredKeys()) as running:
        waiting = [running.service.begin(raw, None) for _ in range(MAX_WAITING)]
        assert all(callable(each) for each in waiting)
        refused = running.service.begin(raw, None)
        assert isinstance(refused, bytes)
        assert not read_answer(refused).allowed
        first = waiting[0]
        assert callable(first)
        assert not read_answer(first()).allowed
        assert callable(running.service.begin(raw, None))
        reasons = [line["reason"] for line in running.decisions()]
    assert reasons == ["overloaded", "keys_unavailable"]


def test_a_deadline_that_passes_before_a_wait_begins_is_a_denial(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    keys = UnansweredKeys()
    with real_service(tmp_path, {}, keys=keys) as running:
        finish = running.service.begin(raw, 0.05)
        assert callable(finish)
        passed = time.perf_counter() + 0.05
        while time.perf_counter() < passed:
            pass
        assert not read_answer(finish()).allowed
        (line,) = running.decisions()
    assert line["reason"] == "deadline"
    assert keys.asked == 0


def test_the_wait_for_keys_is_counted_from_the_start_of_the_check(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    keys = UnansweredKeys()
    with real_service(tmp_path, {}, keys=keys) as running:
        finish = running.service.begin(raw, None)
        assert callable(finish)
        passed = time.perf_counter() + KEY_WAIT_S
        while time.perf_counter() < passed:
            pass
        assert not read_answer(finish()).allowed
        (line,) = running.decisions()
    assert line["reason"] == "keys_unavailable"
    assert keys.asked == 0

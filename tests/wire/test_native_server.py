"""Properties of the native server alone: one thread for each listener, and threads for checks that wait."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from extauthz.check import envoy_response
from extauthz.check.bounds import MAX_WAIT_S
from extauthz.check.native_server import WAITING_CHECKS, NativeServer
from extauthz.check.service import KEY_WAIT_S, MAX_WAITING, Later
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from tests.builders import check_request, read_answer
from tests.real_service import CONFIG, RealService, real_service, token
from tests.wire.grpc_servers import WAIT, call
from tests.wire.raw_grpc import RawConnection, message

pytestmark = pytest.mark.timeout(90)

Begin = Callable[[bytes, float | None], bytes | Later]


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

    def __call__(self, raw: bytes, _left: float | None) -> bytes | Later:
        return Later(lambda: self.finish(raw), waits=True) if raw.startswith(b"w") else raw

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

    with serving(lambda _raw, _left: Later(fails, waits=True)) as (_, address):
        for _ in range(WAITING_CHECKS * 2):
            assert call(address) == envoy_response.internal_error()


@pytest.mark.parametrize("answer", [None, "text", 7])
def test_an_invalid_answer_becomes_a_denial_and_ends_no_other_call(answer: Any) -> None:
    def begin(raw: bytes, _left: float | None) -> bytes:
        return raw if raw == b"x" else answer

    with serving(begin) as (_, address):
        assert call(address, b"bad") == envoy_response.internal_error()
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


def later(answer: bytes | Later) -> Later:
    assert isinstance(answer, Later)
    return answer


def answered(answer: bytes | Later) -> bytes:
    assert isinstance(answer, bytes)
    return answer


def key_wait(running: RealService, raw: bytes, time_left: float | None = None) -> Later:
    """Begin a check of a token that is seen first, and go on until it waits for keys."""
    first_seen = later(running.service.begin(raw, time_left))
    assert not first_seen.waits
    waits = later(first_seen.finish())
    assert waits.waits
    return waits


def test_a_first_seen_token_is_verified_after_the_calls_of_its_batch(tmp_path: Path) -> None:
    known, first_seen = (
        check_request(headers={"authorization": f"Bearer {token(subject)}"}) for subject in ("a", "b")
    )
    with real_service(tmp_path, {}) as running:
        later(running.service.begin(known, None)).finish()
        begun = [running.service.begin(raw, None) for raw in (first_seen, known)]
        assert [isinstance(each, Later) for each in begun] == [True, False]
        later(begun[0]).finish()
        assert isinstance(running.service.begin(first_seen, None), bytes)
        subjects = [line["subject"] for line in running.decisions()]
    assert subjects == ["a", "a", "b", "b"]


def test_a_verification_that_waited_too_long_is_overload(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    with real_service(tmp_path, {}) as running:
        waits = later(running.service.begin(raw, 3.0))
        passed = time.perf_counter() + MAX_WAIT_S
        while time.perf_counter() < passed:
            pass
        assert not read_answer(answered(waits.finish())).allowed
        assert len(running.service.tokens) == 0
        (line,) = running.decisions()
    assert line["reason"] == "overloaded"


def test_a_flood_that_waits_for_keys_is_bounded(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    with real_service(tmp_path, {}, keys=UnansweredKeys()) as running:
        waiting = [key_wait(running, raw) for _ in range(MAX_WAITING)]
        refused = later(running.service.begin(raw, None)).finish()
        assert not read_answer(answered(refused)).allowed
        assert not read_answer(answered(waiting[0].finish())).allowed
        assert key_wait(running, raw).waits
        reasons = [line["reason"] for line in running.decisions()]
    assert reasons == ["overloaded", "keys_unavailable"]


def test_a_deadline_that_passes_before_a_wait_begins_is_a_denial(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    keys = UnansweredKeys()
    with real_service(tmp_path, {}, keys=keys) as running:
        waits = key_wait(running, raw, 0.05)
        passed = time.perf_counter() + 0.05
        while time.perf_counter() < passed:
            pass
        assert not read_answer(answered(waits.finish())).allowed
        (line,) = running.decisions()
    assert line["reason"] == "deadline"
    assert keys.asked == 0


def test_the_wait_for_keys_is_counted_from_the_start_of_the_check(tmp_path: Path) -> None:
    raw = check_request(headers={"authorization": f"Bearer {token()}"})
    keys = UnansweredKeys()
    with real_service(tmp_path, {}, keys=keys) as running:
        waits = key_wait(running, raw)
        passed = time.perf_counter() + KEY_WAIT_S
        while time.perf_counter() < passed:
            pass
        assert not read_answer(answered(waits.finish())).allowed
        (line,) = running.decisions()
    assert line["reason"] == "keys_unavailable"
    assert keys.asked == 0

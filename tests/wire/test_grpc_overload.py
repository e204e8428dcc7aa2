"""A gRPC server with more checks than it can answer in time: the same tests for both servers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.check.bounds import MAX_WAIT_S, is_overloaded
from tests.builders import check_request, read_answer
from tests.real_service import RealService, real_service
from tests.wire.grpc_servers import (
    DEADLINE_EXCEEDED,
    OK,
    THREADS,
    WAIT,
    call,
    serving,
)
from tests.wire.raw_grpc import CHECK_PATH, RawConnection, message

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize(
    ("waited_s", "time_left", "overloaded"),
    [
        (0.0, None, False),
        (MAX_WAIT_S, None, False),
        (MAX_WAIT_S + 0.01, None, True),
        (0.13, 0.07, False),
        (0.14, 0.06, True),
        (0.9, 30.0, False),
        (1.1, 30.0, True),
        # Denied for its deadline.
        (0.2, 0.0, False),
        (5.0, -1.0, False),
    ],
)
def test_a_check_that_waited_too_long_is_overloaded(
    waited_s: float, time_left: float | None, overloaded: bool
) -> None:
    assert is_overloaded(waited_s, time_left) is overloaded


@dataclass(frozen=True)
class Busy:
    """A server of which every thread is taken until `released` is set, and a client of it."""

    running: RealService
    address: str
    client: RawConnection
    first: list[int]
    released: threading.Event


@contextmanager
def busy(kind: str, folder: Path) -> Iterator[Busy]:
    """Serve the real service, and send one check to each thread, which waits for its release."""
    entered, released = threading.Semaphore(0), threading.Event()
    with real_service(folder, {}) as running:

        def answer(raw: bytes, left: float | None) -> bytes:
            if raw == b"first":
                entered.release()
                assert released.wait(WAIT)
            return running.service.answer(raw, left)

        with (
            serving(kind, answer, refuse=running.service.refuse) as (_, address),
            RawConnection(address) as client,
        ):
            first = [client.open() for _ in range(THREADS[kind])]
            for stream in first:
                client.send(stream, message(b"first"))
            assert all(entered.acquire(timeout=WAIT) for _ in first)
            yield Busy(running, address, client, first, released)


def test_overload_is_denied_early_is_logged_and_ends_by_itself(kind: str, tmp_path: Path) -> None:
    with busy(kind, tmp_path) as server:
        client = server.client
        # The first checks take all threads for longer than any check may wait.
        late = [client.open(CHECK_PATH, ("grpc-timeout", "30S")) for _ in range(20)]
        for stream in late:
            client.send(stream, message(check_request()))
        client.ping()
        client.until(lambda: client.pings == 1)
        with pytest.raises(TimeoutError):
            client.until(lambda: client.answers[late[0]].over, MAX_WAIT_S + 0.1)
        server.released.set()
        for stream in late:
            denied = read_answer(client.answer(stream).payload)
            assert (denied.allowed, denied.metadata["reason"]) == (False, "overloaded")
        for _ in range(3):
            assert read_answer(call(server.address, check_request())).metadata["reason"] != "overloaded"
    reasons = [line["reason"] for line in server.running.decisions()]
    assert reasons.count("overloaded") == len(late)
    assert len(reasons) == len(server.first) + len(late) + 3


def test_a_check_whose_deadline_passed_while_it_waited_is_logged_as_that(kind: str, tmp_path: Path) -> None:
    with busy(kind, tmp_path) as server:
        client = server.client
        late = client.open(CHECK_PATH, ("grpc-timeout", "100m"))
        client.send(late, message(check_request()))
        with pytest.raises(TimeoutError):
            client.until(lambda: client.answers[server.first[0]].over, 0.3)
        server.released.set()
        assert not read_answer(call(server.address, check_request())).allowed
        assert client.answer(late).status in {OK, DEADLINE_EXCEEDED}
    reasons = [line["reason"] for line in server.running.decisions()]
    assert reasons.count("deadline") == 1
    assert len(reasons) == len(server.first) + 2


def test_a_check_behind_a_long_one_that_did_not_wait_is_answered(kind: str) -> None:
    def answer(raw: bytes, _left: float | None) -> bytes:
        if raw == b"long":
            until = time.monotonic() + MAX_WAIT_S + 0.1
            while time.monotonic() < until:
                pass
        return raw

    with serving(kind, answer, refuse=lambda _: b"overloaded") as (server, address):
        assert call(address, b"long") == b"long"
        while server.stalled_s() > 0.1:
            pass
        # Only what arrives after the server has looked for calls again is known not to have waited.
        call(address, b"between")
        assert call(address, b"x") == b"x"

"""The threads of the grpcio server: in order, replaced while they wait for messages, known to be stuck."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from extauthz.check.check_threads import MOST_THREADS, CheckThreads
from tests.waiting import await_true

WAIT = 10.0

pytestmark = pytest.mark.timeout(60)


class Blocked:
    """Tasks that end when they are let."""

    def __init__(self, threads: CheckThreads, number: int) -> None:
        self._entered = threading.Semaphore(0)
        self._released = threading.Event()
        self.futures = [threads.submit(self._run) for _ in range(number)]

    def _run(self) -> None:
        self._entered.release()
        assert self._released.wait(WAIT)

    def until_entered(self, number: int) -> None:
        assert all(self._entered.acquire(timeout=WAIT) for _ in range(number))

    def release(self) -> None:
        self._released.set()


class Unfinished:
    """A call whose message does not come before it is cancelled."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        assert self._over.wait(WAIT)
        yield from ()

    def cancel(self) -> None:
        self._over.set()


def running(before: set[threading.Thread]) -> int:
    """Return how many threads have been started since `before` and have not ended."""
    return len(set(threading.enumerate()) - before)


@contextmanager
def threads_of(number: int, receive_s: float = WAIT) -> Iterator[CheckThreads]:
    before = set(threading.enumerate())
    threads = CheckThreads(number, receive_s=receive_s)
    try:
        yield threads
    finally:
        threads.shutdown()
    await_true(lambda: running(before) == 0)


def test_tasks_run_in_the_order_of_their_arrival() -> None:
    with threads_of(1) as threads:
        first = Blocked(threads, 1)
        first.until_entered(1)
        order: list[int] = []
        futures = [threads.submit(order.append, number) for number in range(20)]
        assert threads.waiting == 20
        first.release()
        assert [each.result(WAIT) for each in futures] == [None] * 20
    assert order == list(range(20))


def test_results_and_errors_reach_the_caller_of_submit() -> None:
    def fail() -> None:
        raise KeyError("x")

    with threads_of(1) as threads:
        assert threads.submit(str.upper, "a").result(WAIT) == "A"
        assert isinstance(threads.submit(fail).exception(WAIT), KeyError)
        assert threads.submit(str.upper, "b").result(WAIT) == "B"


def test_many_callers_at_once_lose_no_task() -> None:
    with threads_of(4) as threads, ThreadPoolExecutor(8) as callers:

        def use(_: int) -> int:
            futures: list[Future[int]] = [threads.submit(int, number) for number in range(300)]
            return sum(future.result(WAIT) for future in futures)

        assert list(callers.map(use, range(8))) == [sum(range(300))] * 8
        assert threads.waiting == 0


def test_a_task_knows_how_long_it_has_waited() -> None:
    with threads_of(1) as threads:
        assert threads.submit(lambda: threads.waited_s).result(WAIT) < WAIT / 2
        first = Blocked(threads, 1)
        first.until_entered(1)
        began = time.monotonic()
        late = threads.submit(lambda: threads.waited_s)
        await_true(lambda: time.monotonic() - began > 0.2)
        first.release()
        assert 0.2 < late.result(WAIT) <= time.monotonic() - began


def test_threads_without_work_are_not_stalled() -> None:
    with threads_of(2) as threads:
        for _ in range(3):
            assert threads.stalled_s() < 0.1
            await_true(lambda: threads.waiting == 0)


def test_threads_are_stalled_while_all_are_stuck_and_no_longer() -> None:
    with threads_of(2) as threads:
        stuck = Blocked(threads, 1)
        stuck.until_entered(1)
        threads.stalled_s()
        await_true(lambda: threads.stalled_s() == 0.0)
        more = Blocked(threads, 1)
        more.until_entered(1)
        await_true(lambda: threads.stalled_s() > 0.3)
        stuck.release()
        await_true(lambda: threads.stalled_s() < 0.1)
        more.release()


def test_calls_that_are_never_finished_leave_threads_for_others() -> None:
    with threads_of(2) as threads:
        calls = [Unfinished() for _ in range(60)]
        for each in calls:
            threads.submit(threads.message, iter(each), each, b"")
        # No call has been cancelled: other threads took their place.
        assert threads.submit(str.upper, "a").result(WAIT) == "A"
        for each in calls:
            each.cancel()


def test_threads_in_place_of_others_end_when_they_are_not_needed() -> None:
    before = set(threading.enumerate())
    with threads_of(2) as threads:
        usual = running(before)
        calls = [Unfinished() for _ in range(8)]
        ended = [threads.submit(threads.message, iter(each), each, b"") for each in calls]
        await_true(lambda: running(before) >= usual + 8)
        for each in calls:
            each.cancel()
        assert [each.result(WAIT) for each in ended] == [b""] * 8
        await_true(lambda: running(before) == usual)
        assert threads.submit(str.upper, "a").result(WAIT) == "A"


def test_there_are_never_more_threads_than_the_bound() -> None:
    before = set(threading.enumerate())
    with threads_of(2, receive_s=2.0) as threads:
        calls = [Unfinished() for _ in range(MOST_THREADS + 40)]
        ended = [threads.submit(threads.message, iter(each), each, b"") for each in calls]
        await_true(lambda: running(before) > MOST_THREADS)
        assert running(before) == MOST_THREADS + 1
        # Those beyond the bound have to wait until the first are cancelled.
        assert [each.result(WAIT) for each in ended] == [b""] * len(calls)


def test_a_call_whose_message_takes_too_long_is_cancelled() -> None:
    with threads_of(1, receive_s=0.05) as threads:
        call = Unfinished()
        assert threads.submit(threads.message, iter(call), call, b"none").result(WAIT) == b"none"


def test_checks_submitted_before_the_end_are_done_and_later_ones_are_not() -> None:
    with threads_of(1) as threads:
        first = Blocked(threads, 1)
        first.until_entered(1)
        second = threads.submit(str.upper, "a")
        threads.shutdown()
        first.release()
        assert second.result(WAIT) == "A"
        with pytest.raises(RuntimeError):
            threads.submit(str.upper, "b")

"""Connections take turns, each with one call computing, and nobody's wait is another's queue."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from extauthz.check.fair_threads import FairThreads

WAIT = 10.0


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class WatchedClock(Clock):
    """It knows which threads have read it since it was told to forget them."""

    def __init__(self) -> None:
        super().__init__()
        self._read = threading.Condition()
        self._readers: set[int] = set()

    def __call__(self) -> float:
        with self._read:
            self._readers.add(threading.get_ident())
            self._read.notify_all()
        return super().__call__()

    def forget_readers(self) -> None:
        with self._read:
            self._readers.clear()

    def wait_for_readers(self, count: int) -> None:
        with self._read:
            assert self._read.wait_for(lambda: len(self._readers) >= count, WAIT)


class Calls:
    """Tasks that say that they have started and end when told to; `started` is the order they started in."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self._ends: dict[str, threading.Event] = {}
        self._changed = threading.Condition()
        self.started: list[str] = []

    def submit(self, connection: str, *names: str) -> None:
        for name in names:
            self._ends[name] = threading.Event()
            self._threads.submit(self._run, connection, name)

    def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()

    def end_all(self) -> None:
        self.end(*self._ends)

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.started) >= count, WAIT), self.started
            return list(self.started)

    def _run(self, _connection: str, name: str) -> None:
        with self._changed:
            self.started.append(name)
            self._changed.notify_all()
        if name.endswith("-large"):
            self._threads.rest_after()
        assert self._ends[name].wait(WAIT)


@contextmanager
def calls(number: int) -> Iterator[tuple[Calls, FairThreads, Clock]]:
    clock = Clock()
    threads = FairThreads(number, name="test", connection_of=lambda arguments: str(arguments[0]), clock=clock)
    made = Calls(threads)
    try:
        yield made, threads, clock
    finally:
        made.end_all()
        threads.end()


def test_a_connection_that_is_alone_has_all_threads() -> None:
    with calls(3) as (made, threads, _):
        made.submit("a", "a1", "a2", "a3", "a4")
        assert set(made.wait_for(3)) == {"a1", "a2", "a3"}
        assert threads.waiting == 1


def test_connections_take_turns_and_a_long_queue_delays_only_its_own() -> None:
    with calls(1) as (made, _, _):
        made.submit("a", "a1")
        made.wait_for(1)
        made.submit("a", "a2", "a3", "a4")
        made.submit("b", "b1", "b2")
        made.submit("c", "c1")
        made.end_all()
        assert made.wait_for(7) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_beside_others_a_connection_has_one_call_computing() -> None:
    with calls(4) as (made, threads, _):
        made.submit("b", "b1")
        made.wait_for(1)
        made.submit("a", "a1", "a2", "a3")
        assert made.wait_for(2) == ["b1", "a1"]
        made.submit("b", "b2")
        made.submit("c", "c1")
        # A thread was free for a2 and for b2 before it was for c1.
        assert made.wait_for(3) == ["b1", "a1", "c1"]
        assert threads.waiting == 3
        made.end("a1")
        assert made.wait_for(4)[3] == "a2"


def test_a_call_that_waits_for_something_else_does_not_hold_up_its_connection() -> None:
    with calls(3) as (made, _, clock):
        made.submit("b", "b1")
        made.wait_for(1)
        made.submit("a", "a1", "a2")
        assert made.wait_for(2) == ["b1", "a1"]
        clock.now += 0.02
        assert made.wait_for(3) == ["b1", "a1", "a2"]


def test_after_a_large_call_a_connection_rests_as_long_as_that_took() -> None:
    with calls(1) as (made, threads, clock):
        made.submit("a", "a1-large")
        made.wait_for(1)
        made.submit("a", "a2", "a3")
        made.submit("b", "b1", "b2")
        clock.now += 0.004
        made.end_all()
        assert made.wait_for(3) == ["a1-large", "b1", "b2"]
        assert threads.waiting == 2
        clock.now += 0.004
        assert made.wait_for(5)[3:] == ["a2", "a3"]


def test_what_a_large_call_waited_for_does_not_prolong_the_rest() -> None:
    with calls(1) as (made, threads, clock):
        made.submit("a", "a1-large")
        made.wait_for(1)
        made.submit("a", "a2")
        made.submit("b", "b1")
        clock.now += 0.15
        made.end_all()
        assert made.wait_for(2) == ["a1-large", "b1"]
        assert threads.waiting == 1
        clock.now += 0.011
        assert made.wait_for(3)[2] == "a2"


def test_a_connection_that_is_alone_does_not_rest() -> None:
    with calls(1) as (made, _, clock):
        made.submit("a", "a1-large")
        made.wait_for(1)
        made.submit("a", "a2-large", "a3")
        clock.now += 0.004
        made.end_all()
        assert made.wait_for(3) == ["a1-large", "a2-large", "a3"]


def test_a_connection_nobody_uses_any_more_takes_no_share() -> None:
    with calls(3) as (made, _, clock):
        made.submit("b", "b1")
        made.wait_for(1)
        made.end("b1")
        clock.now += 1.0
        made.submit("a", "a1", "a2", "a3")
        assert set(made.wait_for(4)) == {"b1", "a1", "a2", "a3"}


def test_results_and_errors_reach_who_submitted() -> None:
    def fail(_connection: str) -> None:
        raise KeyError("x")

    with calls(1) as (_, threads, _):
        assert threads.submit(str.upper, "a").result(WAIT) == "A"
        assert isinstance(threads.submit(fail, "a").exception(WAIT), KeyError)
        assert threads.submit(str.upper, "b").result(WAIT) == "B"


def test_many_connections_at_once_lose_no_call() -> None:
    threads = FairThreads(4, name="test", connection_of=lambda arguments: arguments[0])

    def use(connection: int) -> int:
        futures = [threads.submit(lambda _, number: number, connection, number) for number in range(300)]
        return sum(future.result(WAIT) for future in futures)

    with ThreadPoolExecutor(8) as users:
        assert list(users.map(use, range(8))) == [sum(range(300))] * 8
    assert threads.waiting == 0
    threads.end()


def test_what_was_submitted_before_the_end_is_done_and_nothing_after_it() -> None:
    with calls(1) as (made, threads, _):
        made.submit("a", "a1", "a2")
        made.wait_for(1)
        threads.end()
        made.end_all()
        assert made.wait_for(2) == ["a1", "a2"]
        with pytest.raises(RuntimeError):
            threads.submit(str.upper, "a")


def test_all_threads_end_also_those_that_were_idle_while_calls_waited() -> None:
    clock = WatchedClock()
    before = set(threading.enumerate())
    threads = FairThreads(3, name="test", connection_of=lambda arguments: str(arguments[0]), clock=clock)
    started = set(threading.enumerate()) - before
    assert len(started) == 3
    made = Calls(threads)
    made.submit("b", "b1")
    made.end("b1")
    made.wait_for(1)
    made.submit("a", "a1", "a2")
    made.wait_for(2)
    clock.forget_readers()
    threads.end()
    # The other two find that a2 may not start yet, and sleep again.
    clock.wait_for_readers(2)
    made.end_all()
    for thread in started:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_threads_are_stalled_while_calls_wait_and_none_starts_or_ends() -> None:
    with calls(2) as (made, threads, clock):
        assert threads.stalled_s() == 0.0
        made.submit("a", "a1", "a2")
        made.wait_for(2)
        clock.now += 60
        # Long calls are no stall while none waits for them.
        assert threads.stalled_s() == 0.0
        made.submit("a", "a3", "a4")
        assert threads.stalled_s() == 0.0
        clock.now += 5
        assert threads.stalled_s() == 5.0
        made.end("a1")
        made.wait_for(3)
        assert threads.stalled_s() == 0.0
        clock.now += 2
        assert threads.stalled_s() == 2.0

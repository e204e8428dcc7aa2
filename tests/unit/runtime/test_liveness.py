"""When a supervisor considers a worker hung, and when it does not."""

from __future__ import annotations

import pytest

from extauthz.runtime.liveness import (
    HUNG_S,
    LONGEST_BUSY_S,
    LONGEST_END_S,
    LONGEST_START_S,
    TICK_S,
    Liveness,
    Stall,
)


class Watched:
    """A worker that is looked at every tick."""

    def __init__(self, attempts: int = 0) -> None:
        self.liveness = Liveness(attempts)
        self.now = 100.0
        self.cpu_s: float | None = 0.0
        self.cause = self.liveness.tick(self.now, self.cpu_s)

    def reported(self, *, busy: bool = False) -> Watched:
        self.liveness.heard(busy=busy)
        return self

    def passes(self, seconds: float, *, cpu_share: float = 0.0, tick_s: float = TICK_S) -> Watched:
        ends = self.now + seconds
        while self.cause is None and self.now < ends:
            self.now += tick_s
            if self.cpu_s is not None:
                self.cpu_s += cpu_share * tick_s
            self.cause = self.liveness.tick(self.now, self.cpu_s)
        return self

    def hung_after(self, **how: float) -> float:
        began = self.now
        self.passes(10_000, **how)
        assert self.cause is not None
        return self.now - began


@pytest.mark.parametrize("cpu_share", [0.0, 1.0])
def test_a_worker_that_does_not_report_for_three_seconds_is_hung(cpu_share: float) -> None:
    assert Watched().reported().hung_after(cpu_share=cpu_share) == HUNG_S == 3.0


def test_a_worker_that_reports_late_is_not_hung_but_is_not_ready_meanwhile() -> None:
    watched = Watched()
    late = []
    for _ in range(20):
        watched.reported()
        for silent_s in (0.0, 1.0, 1.5):
            watched.passes(silent_s)
            late.append(watched.liveness.late)
    assert late == [False, False, True] * 20
    assert watched.cause is None


def test_a_worker_that_loads_may_be_silent_while_it_computes() -> None:
    watched = Watched().reported(busy=True)

    assert watched.passes(LONGEST_BUSY_S - 1, cpu_share=0.5).cause is None
    assert watched.reported(busy=False).hung_after(cpu_share=0.5) == HUNG_S


def test_a_worker_that_loads_and_does_not_compute_is_hung() -> None:
    assert Watched().reported(busy=True).hung_after() == HUNG_S
    assert Watched().reported(busy=True).hung_after(cpu_share=1.0) == LONGEST_BUSY_S


def test_a_start_may_compute_for_a_long_but_bounded_time() -> None:
    assert Watched().hung_after(cpu_share=0.1) == LONGEST_START_S
    assert Watched().hung_after() == HUNG_S


@pytest.mark.parametrize("reported", [False, True])
def test_pending_timers_do_not_count_as_work(*, reported: bool) -> None:
    watched = Watched()
    if reported:
        watched.reported(busy=True)

    assert watched.hung_after(cpu_share=0.005) <= HUNG_S * 1.2


def test_a_start_with_little_cpu_time_is_not_ended() -> None:
    watched = Watched()
    for _ in range(10):
        watched.passes(2.5)
        watched.passes(0.5, cpu_share=0.5)

    assert watched.cause is None


def test_a_failed_start_gets_more_time_the_next_time() -> None:
    assert [Watched(attempts).hung_after() for attempts in (0, 1, 2, 3, 9)] == [3.0, 6.0, 12.0, 24.0, 24.0]


def test_without_knowledge_of_cpu_time_only_silence_counts() -> None:
    watched = Watched()
    watched.cpu_s = None

    assert watched.hung_after() == HUNG_S


def test_a_supervisor_that_was_stopped_counts_none_of_that_time() -> None:
    watched = Watched().reported().passes(0.5)

    watched.now += 3600.0
    watched.cause = watched.liveness.tick(watched.now, watched.cpu_s)

    assert watched.cause is None
    assert watched.passes(1.25).cause is None
    assert watched.passes(0.25).cause is not None


def test_a_supervisor_that_is_always_late_still_finds_a_hung_worker() -> None:
    assert Watched().reported().hung_after(tick_s=2.0) == 6.0


def test_a_clock_that_stands_still_or_goes_back_adds_nothing() -> None:
    watched = Watched().reported()

    for now in (100.0, 90.0, 90.0):
        assert watched.liveness.tick(now, 0.0) is None
    assert watched.liveness.silent_s == 0.0


def test_the_end_of_a_process_may_take_longer_than_a_report() -> None:
    watched = Watched().reported()
    watched.liveness.ending()

    assert watched.hung_after() == LONGEST_END_S


def test_threads_that_make_no_progress_are_stalled() -> None:
    stall = Stall()

    assert [stall.look(now, now) for now in (0.0, 0.5, 1.0, 1.5, 2.0)] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert stall.look(2.5, 0.2) == 0.2
    assert stall.look(3.0, 0.7) == 0.7
    assert stall.look(3.5, 0.0) == 0.0


def test_a_process_that_stood_still_itself_has_no_stalled_threads() -> None:
    stall = Stall()
    stall.look(0.0, 0.0)

    assert stall.look(30.0, 30.0) == 1.0
    assert stall.look(30.5, 0.1) == 0.1

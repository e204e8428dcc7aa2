"""The answers that the soak accepts while rules change, and the ones on which it fails."""

from collections import Counter

import pytest

from tests.faults.changing_load import Changing, ChangingLoad, Timeline
from tests.faults.load import Tally
from tests.faults.oracle import Verdict
from tests.faults.soak import Findings, grown

TOKENS = dict.fromkeys(("alice", "bob", "forged", "expired", "wrong_audience"), "a token")


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def at(self, seconds: float) -> None:
        self.seconds = seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_during_a_change_both_answers_are_right_and_afterwards_one(clock: Clock) -> None:
    timeline = Timeline(200, now=clock)

    timeline.change(403, lambda: clock.at(101.0))

    assert timeline.right(99.0, 99.9) == {200}
    assert timeline.right(99.0, 100.5) == {200, 403}
    assert timeline.right(102.9, 103.5) == {200, 403}
    assert timeline.right(103.1, 200.0) == {403}


def test_changes_in_a_row_end_with_the_last(clock: Clock) -> None:
    timeline = Timeline(200, now=clock)
    for number in range(20):
        clock.at(100.0 + 10 * number)
        timeline.change((403, 200)[number % 2], lambda: None)

    assert timeline.right(295.0, 300.0) == {200}
    assert timeline.right(285.0, 289.0) == {403}


def test_a_changing_question_is_judged_by_the_time_of_its_request(clock: Clock) -> None:
    timeline = Timeline(200, now=clock)
    load = ChangingLoad(TOKENS, [Changing("a rule", "/x", timeline)])
    asked_before = load[len(load) - 1]
    clock.at(110.0)
    timeline.change(403, lambda: None)
    clock.at(120.0)
    asked_after = load[len(load) - 1]

    assert asked_before.judge(200) is Verdict.RIGHT
    assert asked_after.judge(403) is Verdict.RIGHT
    assert asked_after.judge(200) is Verdict.WRONG_ALLOW
    assert asked_after.judge(503) is Verdict.UNAVAILABLE
    assert asked_after.judge(401) is Verdict.WRONG_DENY


def test_renewed_tokens_are_in_the_next_requests() -> None:
    load = ChangingLoad(TOKENS, [Changing("a rule", "/x", Timeline(200))])

    load.renew(TOKENS | {"bob": "bob's second"})
    load.renew_alice("alice's third")

    assert {each.token for each in load if each.name == "bob has no role"} == {"bob's second"}
    assert load[len(load) - 1].token == "alice's third"


@pytest.mark.parametrize(
    ("ended_s", "rotated_s", "reason"),
    [(1.0, 60.0, "the end of a worker"), (60.0, 1.0, "new keys"), (60.0, 60.0, "nothing")],
)
def test_unavailable_answers_need_a_reason(ended_s: float, rotated_s: float, reason: str) -> None:
    found = Findings()
    tally = Tally(Counter({Verdict.UNAVAILABLE: 3}), Counter({("x", 200, 503): 2, ("x", 200, 0): 1}))

    found.add(tally, ended_s=ended_s, rotated_s=rotated_s)

    assert found.unavailable == {reason: 2}
    assert (found.unexplained, found.not_answered) == (2 if reason == "nothing" else 0, 1)


@pytest.mark.parametrize(
    ("values", "growth"),
    [([100] * 40, 0.0), ([100] * 20 + [110] * 20, 0.1), ([110] * 20 + [99] * 20, -0.1), ([1, 2, 3], None)],
)
def test_growth_is_from_the_first_tenth_to_the_last(values: list[int], growth: float | None) -> None:
    assert grown(values) == growth

"""Uses of service keys in the mesh: each is reported in time, none twice, and their number is bounded."""

from __future__ import annotations

import threading

from extauthz.check import used_keys
from extauthz.check.used_keys import MAX_KEYS, TELL_EVERY_S, LastUse, UsedKeys


def test_a_first_use_is_reported_at_once_and_later_uses_seldom() -> None:
    used = UsedKeys()
    told = []
    for second in range(100):
        used.note("acme", "sak_1", float(second))
        told += [use.at for use in used.take(float(second), limit=10)]

    assert told == [0.0, 20.0, 40.0, 60.0, 80.0]


def test_the_last_use_is_reported_without_a_later_one() -> None:
    used = UsedKeys()
    used.note("acme", "sak_1", 100.0)
    assert used.take(100.0, limit=10) == [LastUse("acme", "sak_1", 100.0)]

    used.note("acme", "sak_1", 101.0)
    used.note("acme", "sak_1", 102.0)

    assert used.take(100.0 + TELL_EVERY_S - 0.1, limit=10) == []
    assert used.take(100.0 + TELL_EVERY_S, limit=10) == [LastUse("acme", "sak_1", 102.0)]
    assert used.take(500.0, limit=10) == []


def test_all_uses_are_reported_at_the_end() -> None:
    used = UsedKeys()
    used.note("acme", "sak_1", 100.0)
    used.take(100.0, limit=10)
    used.note("acme", "sak_1", 101.0)
    used.note("globex", "sak_2", 101.0)

    assert used.take(101.0, limit=10, all_of_them=True) == [
        LastUse("acme", "sak_1", 101.0),
        LastUse("globex", "sak_2", 101.0),
    ]
    assert used.take(101.0, limit=10, all_of_them=True) == []


def test_uses_above_the_limit_are_reported_the_next_time() -> None:
    used = UsedKeys()
    for number in range(5):
        used.note("acme", f"sak_{number}", 100.0)

    told = [used.take(100.0, limit=2) for _ in range(4)]

    assert [len(each) for each in told] == [2, 2, 1, 0]
    assert {use.key_id for each in told for use in each} == {f"sak_{number}" for number in range(5)}


def test_keys_are_bounded_and_make_room_when_they_rest() -> None:
    used = UsedKeys()
    for number in range(MAX_KEYS + 10):
        used.note("acme", f"sak_{number}", 100.0)
    assert len(used.take(100.0, limit=10 * MAX_KEYS)) == MAX_KEYS

    used.take(100.0 + TELL_EVERY_S, limit=10)
    used.note("acme", "sak_new", 150.0)

    assert used.take(150.0, limit=10) == [LastUse("acme", "sak_new", 150.0)]


def test_a_clock_that_was_put_back_silences_no_key() -> None:
    used = UsedKeys()
    used.note("acme", "sak_1", 1000.0)
    used.take(1000.0, limit=10)

    used.note("acme", "sak_1", 10.0)

    assert used.take(10.0, limit=10) == [LastUse("acme", "sak_1", 10.0)]


def test_uses_of_many_threads_are_all_reported() -> None:
    used = UsedKeys()

    def note_many(tenant: str) -> None:
        for number in range(200):
            used.note(tenant, f"sak_{number}", 1.0)

    threads = [threading.Thread(target=note_many, args=(f"t{number}",)) for number in range(8)]
    told: list[LastUse] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        told += used.take(1.0, limit=50)
    told += used.take(1.0, limit=10_000)

    assert len(told) == len(set(told)) == 8 * 200
    assert used_keys.MAX_KEYS >= 1600

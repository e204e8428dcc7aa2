"""The bounded cache: its bounds hold, entries used twice stay, floods replace only each other."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from extauthz.domain.bounded_cache import BoundedCache


def hits(cache: BoundedCache[int, int], keys: range) -> int:
    """Ask for each key, add it where it is missing, and return how many were there."""
    found = 0
    for key in keys:
        if cache.get(key) is None:
            cache.put(key, key)
        else:
            found += 1
    return found


def test_a_bounded_cache_holds_at_most_its_entries() -> None:
    cache = BoundedCache[int, int](1000)
    assert hits(cache, range(1000)) == 0
    assert hits(cache, range(1000)) == 1000
    hits(cache, range(1000, 5000))
    assert len(cache) == 1000


def test_nine_tenths_of_a_full_cache_in_turn_are_all_found() -> None:
    cache = BoundedCache[int, int](50_000)
    hits(cache, range(45_000))
    assert hits(cache, range(45_000)) == 45_000


def test_a_working_set_larger_than_the_cache_keeps_the_part_that_fits() -> None:
    cache = BoundedCache[int, int](20_000)
    for _ in range(3):
        hits(cache, range(30_000))
    assert hits(cache, range(30_000)) >= 17_000


def test_a_flood_of_single_entries_does_not_evict_the_working_set() -> None:
    cache = BoundedCache[int, int](1000)
    working = range(500)
    hits(cache, working)
    hits(cache, working)
    for flood in range(1000, 100_000, 500):
        hits(cache, range(flood, flood + 500))
        assert hits(cache, working) == len(working)


def test_a_working_set_that_comes_during_a_flood_gets_in() -> None:
    cache = BoundedCache[int, int](1000)
    hits(cache, range(10_000, 20_000))
    found = []
    for flood in range(20_000, 40_000, 50):
        hits(cache, range(flood, flood + 50))
        found.append(hits(cache, range(40)))
    assert found[-1] == 40


def test_another_working_set_replaces_the_first() -> None:
    cache = BoundedCache[int, int](1000)
    for _ in range(3):
        hits(cache, range(900))
    for _ in range(60):
        for start in range(1000, 1900, 45):
            hits(cache, range(start, start + 45))
            hits(cache, range(start, start + 45))
    assert hits(cache, range(1000, 1900)) >= 800


def test_bytes_are_bounded_and_counted() -> None:
    cache = BoundedCache[int, str](1000, max_bytes=10_000)
    for key in range(500):
        cache.put(key, "x", weight=90)
        assert cache.weight <= 10_000
        assert cache.weight == 90 * len(cache)
    assert 100 <= len(cache) <= 111
    cache.put(1, "too heavy", weight=10_001)
    assert cache.get(1) is None


def test_an_entry_is_replaced_and_discarded() -> None:
    cache = BoundedCache[str, int](2, max_bytes=100)
    cache.put("a", 1, weight=60)
    cache.put("a", 2, weight=70)
    assert (cache.get("a"), len(cache), cache.weight) == (2, 1, 70)
    cache.discard("a")
    cache.discard("a")
    assert (cache.get("a"), len(cache), cache.weight) == (None, 0, 0)


@pytest.mark.parametrize("bound", [0, 1])
def test_a_cache_of_zero_or_one_entry_keeps_to_its_bound(bound: int) -> None:
    cache = BoundedCache[int, int](bound)
    for key in range(10):
        cache.put(key, key)
        assert len(cache) == bound
        assert cache.get(key) in ({None, key} if bound else {None})


def test_threads_share_it_without_losing_its_bounds() -> None:
    cache = BoundedCache[int, int](100, max_bytes=100_000)

    def use(seed: int) -> bool:
        for step in range(3000):
            key = (step * seed) % 311
            found = cache.get(key)
            if found is None:
                cache.put(key, key, weight=key)
            elif found != key:
                return False
            if step % 7 == 0:
                cache.discard(key)
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, (3, 5, 7, 11)))
    assert len(cache) <= 100
    assert cache.weight <= 100_000

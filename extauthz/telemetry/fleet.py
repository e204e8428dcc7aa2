"""The merged counts of several processes: counters are summed, and do not decrease when a process ends.

Input: `CountTotals`s of processes. Output: one `CountTotals`.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from extauthz.telemetry.counts import MAX_SHADOW_RULES, OTHER_RULES, Counts, CountTotals

_Number = TypeVar("_Number", int, float)


class Fleet:
    """The last snapshot of every running process, and the counters of ended ones.

    Any thread may read; only one thread may write.
    """

    def __init__(self) -> None:
        # One reference to both, so that no reader sees a process in both maps or in none.
        self._state: tuple[Mapping[str, CountTotals], Mapping[str, CountTotals]] = ({}, {})

    def update(self, snapshot: CountTotals) -> None:
        """Store the latest snapshot of a process. One that arrives after `retire` is ignored."""
        live, retired = self._state
        if snapshot["instance"] not in retired:
            self._state = ({**live, snapshot["instance"]: snapshot}, retired)

    def retire(self, instance: str) -> None:
        """Keep the counters of an ended process, and drop its gauges."""
        live, retired = self._state
        if instance in live:
            rest = {name: snapshot for name, snapshot in live.items() if name != instance}
            self._state = (rest, {**retired, instance: _counters_only(live[instance])})

    def merged(self) -> CountTotals:
        """Return the counts of all processes as one snapshot."""
        live, retired = self._state
        return merge([*live.values(), *retired.values()])


def merge(snapshots: Iterable[CountTotals]) -> CountTotals:
    """Return the sums of counters and of checks in flight, the highest ages, and the lowest revision.

    A gauge that no snapshot has is None. Without snapshots all counters are 0.
    """
    total = Counts("").snapshot()
    for one in snapshots:
        total = _added(total, one)
    return total


def _added(one: CountTotals, other: CountTotals) -> CountTotals:
    return {
        "instance": "",
        "decisions": _sums(one["decisions"], other["decisions"]),
        "duration_counts": [
            a + b for a, b in zip(one["duration_counts"], other["duration_counts"], strict=True)
        ],
        "duration_sum_us": one["duration_sum_us"] + other["duration_sum_us"],
        "checks_in_flight": one["checks_in_flight"] + other["checks_in_flight"],
        "deadline_exceeded": one["deadline_exceeded"] + other["deadline_exceeded"],
        "shadow_disagreements": _of_rules(_sums(one["shadow_disagreements"], other["shadow_disagreements"])),
        "token_cache_hits": one["token_cache_hits"] + other["token_cache_hits"],
        "token_cache_misses": one["token_cache_misses"] + other["token_cache_misses"],
        "decisions_lost": one["decisions_lost"] + other["decisions_lost"],
        "recordings_lost": one["recordings_lost"] + other["recordings_lost"],
        "change_guard_overrides": one["change_guard_overrides"] + other["change_guard_overrides"],
        "policy_refresh_failures": one["policy_refresh_failures"] + other["policy_refresh_failures"],
        "policy_heads_refused": _sums(one["policy_heads_refused"], other["policy_heads_refused"]),
        "control_plane_reports": _sums(one["control_plane_reports"], other["control_plane_reports"]),
        "key_uses_lost": one["key_uses_lost"] + other["key_uses_lost"],
        "jwks_fetches": _sums(one["jwks_fetches"], other["jwks_fetches"]),
        "introspections": _sums(one["introspections"], other["introspections"]),
        "introspection_cache_hits": one["introspection_cache_hits"] + other["introspection_cache_hits"],
        "rest_requests": _sums(one["rest_requests"], other["rest_requests"]),
        "rest_durations": _sums_of_lists(one["rest_durations"], other["rest_durations"]),
        "spans_exported": one["spans_exported"] + other["spans_exported"],
        "spans_lost": one["spans_lost"] + other["spans_lost"],
        "policy_revision": min(_known(one["policy_revision"], other["policy_revision"]), default=None),
        "policy_age_s": max(_known(one["policy_age_s"], other["policy_age_s"]), default=None),
        "jwks_age_s": max(_known(one["jwks_age_s"], other["jwks_age_s"]), default=None),
    }


def _sums(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


def _sums_of_lists(one: dict[str, list[int]], other: dict[str, list[int]]) -> dict[str, list[int]]:
    found = {**one, **other}
    for key in one.keys() & other.keys():
        found[key] = [a + b for a, b in zip(one[key], other[key], strict=True)]
    return found


def _of_rules(counted: dict[str, int]) -> dict[str, int]:
    """Return the counts of the lowest `MAX_SHADOW_RULES` rule ids, and the sum of all others."""
    if len(counted) <= MAX_SHADOW_RULES + 1:
        return counted
    named = sorted(counted.keys() - {OTHER_RULES})[:MAX_SHADOW_RULES]
    kept = {rule_id: counted[rule_id] for rule_id in named}
    return {OTHER_RULES: sum(counted.values()) - sum(kept.values()), **kept}


def _known(*values: _Number | None) -> list[_Number]:
    return [value for value in values if value is not None]


def _counters_only(snapshot: CountTotals) -> CountTotals:
    return {
        **snapshot,
        "checks_in_flight": 0,
        "policy_revision": None,
        "policy_age_s": None,
        "jwks_age_s": None,
    }

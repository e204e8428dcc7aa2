"""Counting, merging the counts of processes, and the text that Prometheus reads."""

import json
import sys
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import ShadowOutcome, Verdict
from extauthz.telemetry.counts import (
    DURATION_BUCKETS_US,
    MAX_SHADOW_RULES,
    Counts,
    CountTotals,
    FetchOutcome,
    IntrospectionOutcome,
)
from extauthz.telemetry.exposition import CONTENT_TYPE, render
from extauthz.telemetry.fleet import Fleet, merge
from tests.builders import allowed, denied

ALLOW = allowed()

CONTRACT = {
    "extauthz_decisions": "counter",
    "extauthz_decision_duration_seconds": "histogram",
    "extauthz_checks_in_flight": "gauge",
    "extauthz_deadline_exceeded": "counter",
    "extauthz_policy_revision": "gauge",
    "extauthz_policy_age_seconds": "gauge",
    "extauthz_policy_refresh_failures": "counter",
    "extauthz_policy_heads_refused": "counter",
    "extauthz_control_plane_reports": "counter",
    "extauthz_key_uses_lost": "counter",
    "extauthz_jwks_fetch": "counter",
    "extauthz_introspections": "counter",
    "extauthz_introspection_cache_hits": "counter",
    "extauthz_jwks_age_seconds": "gauge",
    "extauthz_token_cache_hits": "counter",
    "extauthz_token_cache_misses": "counter",
    "extauthz_decisions_lost": "counter",
    "extauthz_recordings_lost": "counter",
    "extauthz_change_guard_overrides": "counter",
    "extauthz_shadow_disagreements": "counter",
    "extauthz_rest_requests": "counter",
    "extauthz_rest_request_duration_seconds": "histogram",
    "extauthz_spans_exported": "counter",
    "extauthz_spans_lost": "counter",
}


def decide(counts: Counts, verdict: Verdict, *, entrance: str = "grpc", duration_us: int = 33) -> None:
    counts.began()
    counts.decided(verdict, entrance=entrance, duration_us=duration_us)


def samples(text: bytes) -> dict[str, float]:
    """Read the exposition as `name{label="value"} -> value`."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.decode().splitlines()
        if not line.startswith("#")
    }


def test_the_names_and_types_are_those_of_the_contract() -> None:
    families = text_string_to_metric_families(render(Counts("a").snapshot()).decode())
    assert {family.name: family.type for family in families} == CONTRACT
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("ready", [True, False])
def test_readiness_is_a_series_where_it_is_known(*, ready: bool) -> None:
    found = samples(render(Counts("a").snapshot(), ready=ready))
    assert found["extauthz_ready"] == ready
    assert "extauthz_ready" not in samples(render(Counts("a").snapshot()))


def test_every_metric_has_its_help_and_type() -> None:
    text = render(Counts("a").snapshot()).decode()
    for name, kind in CONTRACT.items():
        full = f"{name}_total" if kind == "counter" else name
        assert f"# TYPE {full} {kind}\n" in text
        assert f"# HELP {full} " in text


def test_every_counter_exists_from_the_start_with_zero() -> None:
    found = samples(render(Counts("a").snapshot()))
    assert set(found.values()) == {0.0}
    for name, kind in CONTRACT.items():
        # Which routes and statuses there are is known when they are answered.
        if kind == "counter" and name != "extauthz_rest_requests":
            assert any(key.startswith(f"{name}_total") for key in found)
    for reason in Reason:
        for entrance in ("grpc", "http", "rest"):
            label = f'decision="deny",entrance="{entrance}",reason="{reason}"'
            assert f"extauthz_decisions_total{{{label}}}" in found


def test_gauges_that_do_not_apply_have_no_sample() -> None:
    found = samples(render(Counts("a").snapshot()))
    assert "extauthz_policy_revision" not in found
    found = samples(render(Counts("a").snapshot(policy_revision=7, policy_age_s=1.5, jwks_age_s=60.0)))
    assert found["extauthz_policy_revision"] == 7
    assert found["extauthz_policy_age_seconds"] == 1.5
    assert found["extauthz_jwks_age_seconds"] == 60


def test_each_thing_that_happens_is_counted_under_its_name() -> None:
    counts = Counts("a")
    counts.began()
    decide(counts, ALLOW)
    decide(counts, denied(Reason.DEADLINE), entrance="http")
    shadow = (
        ShadowOutcome("s", Effect.DENY),
        ShadowOutcome("t", Effect.ALLOW),
        ShadowOutcome("u", Effect.DENY),
    )
    decide(counts, ALLOW._replace(shadow=shadow), entrance="rest")
    counts.token_cache_hit()
    counts.token_cache_miss()
    counts.token_cache_miss()
    counts.lost(5)
    counts.jwks_fetched(FetchOutcome.UNREACHABLE)
    counts.introspected(IntrospectionOutcome.CLIENT_REFUSED)
    counts.policy_refresh_failed()
    found = {
        key: value
        for key, value in samples(render(counts.snapshot())).items()
        if value and "duration" not in key
    }
    assert found == {
        'extauthz_decisions_total{decision="allow",entrance="grpc",reason="rule_matched"}': 1,
        'extauthz_decisions_total{decision="allow",entrance="rest",reason="rule_matched"}': 1,
        'extauthz_decisions_total{decision="deny",entrance="http",reason="deadline"}': 1,
        "extauthz_checks_in_flight": 1,
        "extauthz_deadline_exceeded_total": 1,
        'extauthz_shadow_disagreements_total{rule_id="s"}': 1,
        'extauthz_shadow_disagreements_total{rule_id="u"}': 1,
        "extauthz_token_cache_hits_total": 1,
        "extauthz_token_cache_misses_total": 2,
        "extauthz_decisions_lost_total": 5,
        'extauthz_jwks_fetch_total{outcome="unreachable"}': 1,
        'extauthz_introspections_total{outcome="client_refused"}': 1,
        "extauthz_policy_refresh_failures_total": 1,
    }


def disagreements(snapshot: CountTotals) -> dict[str, float]:
    prefix = 'extauthz_shadow_disagreements_total{rule_id="'
    found = samples(render(snapshot)).items()
    return {name[len(prefix) : -2]: value for name, value in found if name.startswith(prefix)}


def test_shadow_disagreements_name_a_bounded_number_of_rules() -> None:
    def disagreeing(counts: Counts, *rules: int) -> None:
        for rule in rules:
            shadow = (ShadowOutcome(f"rule-{rule:04}", Effect.DENY),)
            decide(counts, ALLOW._replace(shadow=shadow))

    one, other = Counts("a"), Counts("b")
    disagreeing(one, *range(150), 3, 120)
    found = disagreements(one.snapshot())
    assert len(found) == MAX_SHADOW_RULES + 1
    assert (found["rule-0003"], found["rule-0099"], found["other"]) == (2, 1, 51)

    disagreeing(other, *range(90, 250))
    both = disagreements(merge([one.snapshot(), other.snapshot()]))
    assert len(both) == MAX_SHADOW_RULES + 1
    assert (both["rule-0003"], both["rule-0099"]) == (2, 2)
    assert sum(both.values()) == 152 + 160


def test_durations_fall_into_cumulative_buckets_with_inclusive_bounds() -> None:
    counts = Counts("a")
    for duration_us in (0, 50, 51, 1_000_000, 1_000_001):
        decide(counts, ALLOW, duration_us=duration_us)
    found = samples(render(counts.snapshot()))
    bucket = 'extauthz_decision_duration_seconds_bucket{{le="{}"}}'.format
    assert found[bucket("5e-05")] == 2
    assert found[bucket("0.0001")] == 3
    assert found[bucket("0.5")] == 3
    assert found[bucket("1.0")] == 4
    assert found[bucket("+Inf")] == found["extauthz_decision_duration_seconds_count"] == 5
    assert found["extauthz_decision_duration_seconds_sum"] == pytest.approx(2.000102)
    assert len([key for key in found if "_bucket" in key]) == len(DURATION_BUCKETS_US) + 1


def test_no_increment_is_lost_between_threads() -> None:
    counts = Counts("a")

    def work() -> None:
        for _ in range(20_000):
            decide(counts, ALLOW)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = counts.snapshot()
    assert snapshot["decisions"]["allow,rule_matched,grpc"] == sum(snapshot["duration_counts"]) == 80_000
    assert snapshot["checks_in_flight"] == 0


def test_counts_do_not_depend_on_whether_they_are_read() -> None:
    counts = Counts("a")
    for _ in range(60_000):
        decide(counts, ALLOW)
    counts.token_cache_hit()
    assert counts.snapshot() == counts.snapshot()
    assert counts.snapshot()["decisions"]["allow,rule_matched,grpc"] == 60_000
    assert counts.snapshot()["token_cache_hits"] == 1


def test_a_counted_decision_is_not_kept() -> None:
    counts, verdict = Counts("a"), ALLOW._replace(decision_id="another")
    before = sys.getrefcount(verdict)
    decide(counts, verdict)
    assert sys.getrefcount(verdict) == before
    assert counts.snapshot()["decisions"]["allow,rule_matched,grpc"] == 1


def test_a_snapshot_travels_as_json() -> None:
    counts = Counts("a")
    decide(counts, ALLOW)
    snapshot = counts.snapshot(policy_revision=3, policy_age_s=0.5)
    assert json.loads(json.dumps(snapshot)) == snapshot


def test_merging_adds_counters_and_takes_the_worst_of_gauges() -> None:
    one, two = Counts("one"), Counts("two")
    one.began()
    two.began()
    decide(one, ALLOW)
    decide(two, ALLOW)
    decide(two, denied(Reason.TOKEN_EXPIRED))
    two.jwks_fetched(FetchOutcome.OK)
    one.introspected(IntrospectionOutcome.ACTIVE)
    two.introspected(IntrospectionOutcome.ACTIVE)
    merged = merge(
        [
            one.snapshot(policy_revision=7, policy_age_s=1.0, jwks_age_s=3.0),
            two.snapshot(policy_revision=6, policy_age_s=2.0),
        ]
    )
    assert merged["decisions"]["allow,rule_matched,grpc"] == 2
    assert merged["decisions"]["deny,token_expired,grpc"] == 1
    assert merged["checks_in_flight"] == 2
    assert merged["jwks_fetches"]["ok"] == 1
    assert merged["introspections"]["active"] == 2
    assert sum(merged["duration_counts"]) == 3
    assert (merged["policy_revision"], merged["policy_age_s"], merged["jwks_age_s"]) == (6, 2.0, 3.0)


def test_merging_nothing_is_all_zeros() -> None:
    assert merge([]) == {**Counts("").snapshot()}


def test_counters_do_not_go_backwards_when_a_worker_dies_and_is_replaced() -> None:
    fleet = Fleet()
    first, second, successor = Counts("first"), Counts("second"), Counts("successor")
    first.began()
    decide(first, ALLOW)
    decide(second, ALLOW)
    fleet.update(first.snapshot(policy_revision=1, policy_age_s=900.0))
    fleet.update(second.snapshot(policy_revision=2, policy_age_s=1.0))
    assert fleet.merged()["checks_in_flight"] == 1

    fleet.retire("first")
    merged = fleet.merged()
    assert merged["decisions"]["allow,rule_matched,grpc"] == 2
    assert (merged["checks_in_flight"], merged["policy_revision"], merged["policy_age_s"]) == (0, 2, 1.0)

    decide(successor, ALLOW)
    fleet.update(successor.snapshot(policy_revision=2))
    fleet.update(successor.snapshot(policy_revision=2))
    assert fleet.merged()["decisions"]["allow,rule_matched,grpc"] == 3


def test_a_snapshot_that_outlived_its_worker_is_not_counted_twice() -> None:
    fleet = Fleet()
    counts = Counts("one")
    decide(counts, ALLOW)
    fleet.update(counts.snapshot())
    fleet.retire("one")
    fleet.update(counts.snapshot())
    fleet.retire("one")
    fleet.retire("never seen")
    assert fleet.merged()["decisions"]["allow,rule_matched,grpc"] == 1

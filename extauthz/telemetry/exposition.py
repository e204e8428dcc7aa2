"""Metrics in Prometheus' text format (docs/reference/contract.md#metrics).

Input: a `CountTotals`. Output: the body of `/metrics`.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from extauthz.telemetry.counts import DURATION_BUCKETS_US, REST_BUCKETS_US, CountTotals

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


def render(
    snapshot: CountTotals, *, ready: bool | None = None, worker_restarts: Mapping[str, int] | None = None
) -> bytes:
    """Return the body of `/metrics`; its media type is `CONTENT_TYPE`.

    `ready` is the result of `/healthz/ready`; without it there is no `extauthz_ready`. `worker_restarts` is
    the number of replaced workers by reason; without it there is no `extauthz_worker_restarts_total`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(lambda: snapshot, ready=ready, worker_restarts=worker_restarts or {}))
    return generate_latest(registry)


class SnapshotCollector(Collector):
    """A Prometheus collector that reads a snapshot at each scrape. A gauge of None has no sample."""

    def __init__(
        self,
        read: Callable[[], CountTotals],
        *,
        ready: bool | None = None,
        worker_restarts: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._read = read
        self._ready = ready
        self._worker_restarts = worker_restarts

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        counts = self._read()
        yield _decisions(counts)
        yield _durations(counts)
        yield _gauge(
            "checks_in_flight",
            "Checks that have arrived and are not answered yet.",
            counts["checks_in_flight"],
        )
        yield _counter(
            "deadline_exceeded",
            "Checks denied because their deadline came first.",
            counts["deadline_exceeded"],
        )
        yield _gauge(
            "policy_revision", "Revision of the policies that decide (selfhost).", counts["policy_revision"]
        )
        yield _gauge(
            "policy_age_seconds",
            "Time since the policies in use were last confirmed to be current; the worst tenant's.",
            counts["policy_age_s"],
        )
        yield _counter(
            "policy_refresh_failures",
            "Attempts to refresh policies that kept the last good ones.",
            counts["policy_refresh_failures"],
        )
        yield _refused_heads(counts)
        yield _reports(counts)
        yield _counter(
            "key_uses_lost",
            "Uses of service keys that the control plane did not learn of.",
            counts["key_uses_lost"],
        )
        yield _fetches(counts)
        yield _gauge(
            "jwks_age_seconds",
            "Time since the keys in use were last fetched; the worst issuer's.",
            counts["jwks_age_s"],
        )
        yield _counter("token_cache_hits", "Tokens found verified in the cache.", counts["token_cache_hits"])
        yield _counter("token_cache_misses", "Tokens that had to be verified.", counts["token_cache_misses"])
        yield _introspections(counts)
        yield _counter(
            "introspection_cache_hits",
            "Tokens found in the cache of introspections.",
            counts["introspection_cache_hits"],
        )
        yield _counter(
            "decisions_lost", "Decisions without a line in the decision log.", counts["decisions_lost"]
        )
        yield _counter(
            "recordings_lost", "Requests that are missing from the recordings.", counts["recordings_lost"]
        )
        yield _counter(
            "change_guard_overrides",
            "Changes that became live although the change guard of their tenant withheld them.",
            counts["change_guard_overrides"],
        )
        yield _rest_requests(counts)
        yield _rest_durations(counts)
        yield _counter("spans_exported", "Spans that a collector took.", counts["spans_exported"])
        yield _counter("spans_lost", "Spans that no collector has.", counts["spans_lost"])
        yield _shadow_disagreements(counts)
        if self._worker_restarts:
            yield _restarts(self._worker_restarts)
        if self._ready is not None:
            yield _gauge("ready", "1 when /healthz/ready answers 200, 0 when 503.", int(self._ready))


def _decisions(counts: CountTotals) -> Metric:
    labels = ("decision", "reason", "entrance")
    family = CounterMetricFamily("extauthz_decisions", "Decisions made.", labels=labels)
    for key, count in counts["decisions"].items():
        family.add_metric(key.split(","), count)
    return family


def _durations(counts: CountTotals) -> Metric:
    bounds = [*(str(bound / 1_000_000) for bound in DURATION_BUCKETS_US), "+Inf"]
    cumulative = accumulate(counts["duration_counts"])
    return HistogramMetricFamily(
        "extauthz_decision_duration_seconds",
        "Time from a check's arrival to its answer.",
        buckets=list(zip(bounds, cumulative, strict=True)),
        sum_value=counts["duration_sum_us"] / 1_000_000,
    )


def _fetches(counts: CountTotals) -> Metric:
    family = CounterMetricFamily("extauthz_jwks_fetch", "Fetches of an issuer's keys.", labels=("outcome",))
    for outcome, count in counts["jwks_fetches"].items():
        family.add_metric([outcome], count)
    return family


def _refused_heads(counts: CountTotals) -> Metric:
    family = CounterMetricFamily(
        "extauthz_policy_heads_refused", "Signed heads of policies that were not taken.", labels=("reason",)
    )
    for reason, count in counts["policy_heads_refused"].items():
        family.add_metric([reason], count)
    return family


def _reports(counts: CountTotals) -> Metric:
    family = CounterMetricFamily(
        "extauthz_control_plane_reports", "Reports of workers to the control plane.", labels=("outcome",)
    )
    for outcome, count in counts["control_plane_reports"].items():
        family.add_metric([outcome], count)
    return family


def _introspections(counts: CountTotals) -> Metric:
    family = CounterMetricFamily(
        "extauthz_introspections", "Questions to issuers about tokens.", labels=("outcome",)
    )
    for outcome, count in counts["introspections"].items():
        family.add_metric([outcome], count)
    return family


def _rest_requests(counts: CountTotals) -> Metric:
    family = CounterMetricFamily(
        "extauthz_rest_requests",
        "Answers of the REST API, by the template of the route.",
        labels=("method", "route", "status"),
    )
    for key, count in counts["rest_requests"].items():
        family.add_metric(key.split(" "), count)
    return family


def _rest_durations(counts: CountTotals) -> Metric:
    family = HistogramMetricFamily(
        "extauthz_rest_request_duration_seconds",
        "Time from a REST request's arrival to its answer; ?wait and waiting for news are in it.",
        labels=("method", "route"),
    )
    bounds = [*(str(bound / 1_000_000) for bound in REST_BUCKETS_US), "+Inf"]
    for key, (*durations, sum_us) in counts["rest_durations"].items():
        buckets = list(zip(bounds, accumulate(durations), strict=True))
        family.add_metric(key.split(" "), buckets, sum_value=sum_us / 1_000_000)
    return family


def _shadow_disagreements(counts: CountTotals) -> Metric:
    family = CounterMetricFamily(
        "extauthz_shadow_disagreements",
        "Decisions that a shadow policy would have made otherwise, of a hundred policies by their id.",
        labels=("rule_id",),
    )
    for rule_id, count in counts["shadow_disagreements"].items():
        family.add_metric([rule_id], count)
    return family


def _restarts(by_reason: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "extauthz_worker_restarts",
        "Workers that were replaced because they ended or hung.",
        labels=("reason",),
    )
    for reason, number in by_reason.items():
        family.add_metric([reason], number)
    return family


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(f"extauthz_{name}", meaning, value=value)


def _gauge(name: str, meaning: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"extauthz_{name}", meaning, value=value)

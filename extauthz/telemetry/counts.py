"""The counters of one process, and their snapshot for the process that answers `/metrics`.

Input: decisions, cache look-ups, fetches, losses. Output: `CountTotals`, plain JSON values.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from itertools import count, product
from typing import Final, TypedDict

from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import NamedVerdict, ShadowOutcome, Verdict

ENTRANCES: Final = ("grpc", "http", "rest", "authzen")

DURATION_BUCKETS_US: Final = (
    *(50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000),
)
"""Upper bounds of the duration histogram in microseconds, inclusive; the last bucket is everything above."""


REST_BUCKETS_US: Final = (
    *(1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000),
    *(1_000_000, 5_000_000),
)
"""Upper bounds of the histogram of REST requests in microseconds, inclusive."""


class FetchOutcome(StrEnum):
    """How fetching a JWKS ended (label `outcome`)."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    """No response: the name, the address, the connection, TLS or the timeout failed."""
    REFUSED = "refused"
    """A response with a status other than 200."""
    INVALID = "invalid"
    """Too large, or not a JWKS."""


class IntrospectionOutcome(StrEnum):
    """How asking an issuer about a token ended (label `outcome`)."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    """The token is not active, or the answer says something that refuses it."""
    UNREACHABLE = "unreachable"
    """No response: the name, the address, the connection, TLS or the timeout failed."""
    REFUSED = "refused"
    """A response with a status other than 200."""
    CLIENT_REFUSED = "client_refused"
    """The issuer refused this service as a client (401, 403), or its secret or key cannot be used."""
    INVALID = "invalid"
    """Too large, or not a JSON object."""
    OVERLOADED = "overloaded"
    """Not asked: too many questions were open."""


class HeadRejection(StrEnum):
    """Why a signed head, or a body that it names, was not taken (label `reason`)."""

    UNREACHABLE = "unreachable"
    """No answer, an answer with another status than 200, or one that is too large."""
    MALFORMED = "malformed"
    SIGNATURE = "signature"
    TENANT = "tenant"
    SERIAL = "serial"
    """Its serial is smaller than that of the head before, or equal with other content."""
    EXPIRED = "expired"
    """It was signed longer ago than `POLICY_MAX_STALENESS`, or lies more than a minute ahead."""
    DIGEST = "digest"
    """A body is not the one that the head names."""
    BODY = "body"
    """A body that is signed cannot be read."""


class ReportOutcome(StrEnum):
    """How a report to the control plane ended (label `outcome`)."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


MAX_SHADOW_RULES: Final = 100
"""Limit of the series by rule id, independent of how many shadow policies tenants write and delete."""
OTHER_RULES: Final = "other"
_FOLD_AT: Final = 50_000

DecisionKey = tuple[str, str, str]
"""Decision, reason, entrance."""

DECISION_KEYS: Final[tuple[DecisionKey, ...]] = tuple(
    product([Effect.ALLOW.value], [Reason.RULE_MATCHED.value], ENTRANCES)
) + tuple(product([Effect.DENY.value], [reason.value for reason in Reason], ENTRANCES))
"""Every combination of label values, so that each series exists from the start."""


class CountTotals(TypedDict):
    """The counts of one process, or the sum of several; plain JSON values.

    Keys of `decisions` are decision, reason and entrance, joined by commas. `duration_counts` has one number
    per bucket, not cumulative, and one for longer durations. `shadow_disagreements` has up to
    `MAX_SHADOW_RULES` rule ids; the sum of all others is under `OTHER_RULES`. A gauge that does not apply is
    None. Keys of `rest_requests` are method, route and status, those of `rest_durations` method and route,
    joined by a space; a duration has its counts, not cumulative, and at last the sum in microseconds.
    """

    instance: str
    decisions: dict[str, int]
    duration_counts: list[int]
    duration_sum_us: int
    checks_in_flight: int
    deadline_exceeded: int
    shadow_disagreements: dict[str, int]
    token_cache_hits: int
    token_cache_misses: int
    decisions_lost: int
    recordings_lost: int
    change_guard_overrides: int
    policy_refresh_failures: int
    policy_heads_refused: dict[str, int]
    control_plane_reports: dict[str, int]
    key_uses_lost: int
    jwks_fetches: dict[str, int]
    introspections: dict[str, int]
    introspection_cache_hits: int
    rest_requests: dict[str, int]
    rest_durations: dict[str, list[int]]
    spans_exported: int
    spans_lost: int
    policy_revision: int | None
    policy_age_s: float | None
    jwks_age_s: float | None


class _Tally:
    """A counter that threads increment without a lock: `add` is one atomic call in C."""

    __slots__ = ("_read", "add")

    def __init__(self) -> None:
        self.add = count().__next__
        self._read = 0

    def total(self) -> int:
        """Return how often `add` was called; only one thread may call this at a time."""
        # Reading increments the counter too, so the number of reads is subtracted.
        total = self.add() - self._read
        self._read += 1
        return total


class Counts:
    """Thread-safe counters of one process. `instance` identifies its snapshots among those of all processes.

    `began` counts a check that has arrived (exactly one `decided` follows); `token_cache_hit` and
    `token_cache_miss` count a look-up in the cache of verified tokens. Ignore their return values.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._lock = threading.Lock()
        self._began, self._hits, self._misses = _Tally(), _Tally(), _Tally()
        self.began = self._began.add
        self.token_cache_hit = self._hits.add
        self.token_cache_miss = self._misses.add
        # Requests only append here; a snapshot does the arithmetic. What is appended is what is counted, not
        # the verdict: kept until the next snapshot, its memory would not be in the caches when used again.
        self._recent: deque[tuple[Effect, Reason, str, int, tuple[ShadowOutcome, ...]]] = deque()
        self._decisions: dict[DecisionKey, int] = dict.fromkeys(DECISION_KEYS, 0)
        self._durations = [0] * (len(DURATION_BUCKETS_US) + 1)
        self._duration_sum_us = 0
        self._shadow_disagreements = {OTHER_RULES: 0}
        self._lost = 0
        self._not_recorded = 0
        self._overrides = 0
        self._refresh_failures = 0
        self._heads_refused = {reason.value: 0 for reason in HeadRejection}
        self._reports = {outcome.value: 0 for outcome in ReportOutcome}
        self._key_uses_lost = 0
        self._fetches = {outcome.value: 0 for outcome in FetchOutcome}
        self._introspections = {outcome.value: 0 for outcome in IntrospectionOutcome}
        self._rest_requests: dict[str, int] = {}
        self._rest_durations: dict[str, list[int]] = {}
        self._spans_exported = 0
        self._spans_lost = 0

    def decided(self, verdict: Verdict | NamedVerdict, entrance: str, duration_us: int) -> None:
        """Count the verdict of a check that `began`; `entrance` is one of `ENTRANCES`."""
        self._recent.append((verdict.effect, verdict.reason, entrance, duration_us, verdict.shadow))
        if len(self._recent) >= _FOLD_AT:
            with self._lock:
                self._fold()

    def lost(self, decisions: int) -> None:
        """Count decisions that are missing from the decision log."""
        with self._lock:
            self._lost += decisions

    def change_guard_overridden(self) -> None:
        """Count one change that became live although a change guard withheld it."""
        with self._lock:
            self._overrides += 1

    def not_recorded(self, requests: int) -> None:
        """Count requests that are missing from the recordings."""
        with self._lock:
            self._not_recorded += requests

    def jwks_fetched(self, outcome: FetchOutcome) -> None:
        """Count one fetch of an issuer's keys."""
        with self._lock:
            self._fetches[outcome] += 1

    def introspected(self, outcome: IntrospectionOutcome) -> None:
        """Count one question to an issuer about a token."""
        with self._lock:
            self._introspections[outcome] += 1

    def policy_refresh_failed(self) -> None:
        """Count one failed attempt to read or compile policies; the last good ones stay in use."""
        with self._lock:
            self._refresh_failures += 1

    def policy_head_refused(self, reason: HeadRejection) -> None:
        """Count one signed head that was not taken; the last good policies stay in use."""
        with self._lock:
            self._heads_refused[reason] += 1

    def reported(self, outcome: ReportOutcome) -> None:
        """Count one report to the control plane."""
        with self._lock:
            self._reports[outcome] += 1

    def key_uses_not_reported(self, uses: int) -> None:
        """Count uses of service keys that the control plane will not learn of."""
        with self._lock:
            self._key_uses_lost += uses

    def rest_answered(self, method: str, route: str, status: int, duration_us: int) -> None:
        """Count one answer of the REST API; `route` is a template, so that there are few."""
        asked = f"{method} {route}"
        key = f"{asked} {status}"
        with self._lock:
            self._rest_requests[key] = self._rest_requests.get(key, 0) + 1
            durations = self._rest_durations.setdefault(asked, [0] * (len(REST_BUCKETS_US) + 2))
            durations[bisect_left(REST_BUCKETS_US, duration_us)] += 1
            durations[-1] += duration_us

    def spans_exported(self, spans: int) -> None:
        """Count spans that a collector took."""
        with self._lock:
            self._spans_exported += spans

    def spans_lost(self, spans: int) -> None:
        """Count spans that no collector has."""
        with self._lock:
            self._spans_lost += spans

    def snapshot(
        self,
        *,
        policy_revision: int | None = None,
        policy_age_s: float | None = None,
        jwks_age_s: float | None = None,
    ) -> CountTotals:
        """Return the current counts, with the gauges that the caller passes.

        `policy_revision` is for selfhost only; ages are in seconds, of the oldest tenant and issuer.
        """
        with self._lock:
            self._fold()
            decided = sum(self._durations)
            return {
                "instance": self._instance,
                "decisions": {",".join(key): number for key, number in self._decisions.items()},
                "duration_counts": list(self._durations),
                "duration_sum_us": self._duration_sum_us,
                "checks_in_flight": self._began.total() - decided,
                "deadline_exceeded": sum(
                    number for (_, reason, _), number in self._decisions.items() if reason == Reason.DEADLINE
                ),
                "shadow_disagreements": dict(self._shadow_disagreements),
                "token_cache_hits": self._hits.total(),
                "token_cache_misses": self._misses.total(),
                "decisions_lost": self._lost,
                "recordings_lost": self._not_recorded,
                "change_guard_overrides": self._overrides,
                "policy_refresh_failures": self._refresh_failures,
                "policy_heads_refused": dict(self._heads_refused),
                "control_plane_reports": dict(self._reports),
                "key_uses_lost": self._key_uses_lost,
                "jwks_fetches": dict(self._fetches),
                "introspections": dict(self._introspections),
                "introspection_cache_hits": 0,
                "rest_requests": dict(self._rest_requests),
                "rest_durations": {key: list(counts) for key, counts in self._rest_durations.items()},
                "spans_exported": self._spans_exported,
                "spans_lost": self._spans_lost,
                "policy_revision": policy_revision,
                "policy_age_s": policy_age_s,
                "jwks_age_s": jwks_age_s,
            }

    def _fold(self) -> None:
        recent = self._recent
        for _ in range(len(recent)):
            effect, reason, entrance, duration_us, shadow = recent.popleft()
            key = (effect, reason, entrance)
            self._decisions[key] = self._decisions.get(key, 0) + 1
            self._durations[bisect_left(DURATION_BUCKETS_US, duration_us)] += 1
            self._duration_sum_us += duration_us
            if shadow:
                self._count_shadow(shadow, effect)

    def _count_shadow(self, shadow: Iterable[ShadowOutcome], effect: Effect) -> None:
        counted = self._shadow_disagreements
        for one in shadow:
            if one.would != effect:
                known = one.rule_id in counted or len(counted) <= MAX_SHADOW_RULES
                rule_id = one.rule_id if known else OTHER_RULES
                counted[rule_id] = counted.get(rule_id, 0) + 1

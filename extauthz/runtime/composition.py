"""Builds the parts that a worker and the control plane share.

Input: `Settings`. Output: `SharedParts`, not started. Errors: `StartRefusedError`.
"""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from extauthz.decide.identity import TokenPolicy
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.destination import Destination
from extauthz.decisionlog.lines import LineForm
from extauthz.decisionlog.log import DecisionLog, Observer
from extauthz.decisionlog.masks import Masks
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.introspector import Introspector
from extauthz.keys.schedule import Schedule
from extauthz.publish.current import CurrentPolicies
from extauthz.recording.bounds import MAX_HELD_OCTETS, MAX_HELD_SHAPES
from extauthz.recording.counter import ShapeCounter
from extauthz.runtime.issuers import Issuers, key_fetcher
from extauthz.runtime.traces import Traces, open_traces
from extauthz.settings import Settings, StaleAction
from extauthz.settings.decision_log_values import OTLP
from extauthz.telemetry.counts import Counts, FetchOutcome
from extauthz.telemetry.otlp import OtlpTarget, Signal, otlp_resource, otlp_target


@dataclass(frozen=True, slots=True)
class SharedParts:
    """Policies, keys, counts and decision log of one process, and the requirements of its settings."""

    instance: uuid.UUID
    current: CurrentPolicies
    fetcher: KeyFetcher
    cache: JwksCache
    introspector: Introspector
    issuers: Issuers
    counts: Counts
    decision_log: DecisionLog
    shapes: ShapeCounter | None
    policy: CheckPolicy
    traces: Traces | None


def shared_parts(
    settings: Settings,
    *,
    worker: int,
    lock_fd: int | None,
    schedule: Schedule,
    wait_for_file: bool = False,
    on_fetch: Callable[[], None] = lambda: None,
    record: bool = False,
) -> SharedParts:
    """Build the parts of one process.

    `worker` is its number in the decision log, and `lock_fd` a descriptor that the processes share which
    write to the same log. `wait_for_file`: see `Issuers`. `on_fetch` is called after each fetch of keys.
    `record`: the process answers checks whose shapes have somewhere to go.

    Raises:
        StartRefusedError: OIDC_CA_FILE, IDENTITY_PROVIDERS or a file of OTEL_* cannot be used.
    """
    instance = uuid.uuid4()
    counts = Counts(str(instance))
    traces = open_traces(settings, counts, instance=str(instance), worker=worker)
    tracing = None if traces is None else traces.tracing

    def fetched(outcome: str) -> None:
        counts.jwks_fetched(FetchOutcome(outcome))
        on_fetch()

    fetcher = key_fetcher(settings, tracing)
    cache = JwksCache(fetcher, schedule=schedule, on_fetch=fetched, tracing=tracing)
    introspector = Introspector(fetcher.http, os.urandom(32), on_outcome=counts.introspected, tracing=tracing)
    current = CurrentPolicies()
    shapes = shape_counter(settings, current, counts) if record and settings.record else None
    return SharedParts(
        instance=instance,
        current=current,
        fetcher=fetcher,
        cache=cache,
        introspector=introspector,
        issuers=Issuers(settings, cache, introspector, wait_for_file=wait_for_file),
        counts=counts,
        decision_log=decision_log(settings, worker, instance, lock_fd, counts.lost, shapes),
        shapes=shapes,
        policy=check_policy(settings),
        traces=traces,
    )


def decision_log(
    settings: Settings,
    worker: int,
    instance: uuid.UUID,
    lock_fd: int | None,
    on_loss: Callable[[int], None],
    observer: Observer | None,
) -> DecisionLog:
    """Return the decision log that the settings describe, not started."""
    target = settings.decision_log
    open_with = None
    if target == OTLP:
        sent_to = otlp_target(settings, Signal.LOGS)
        target = f"{OTLP} {sent_to.url}"
        open_with = partial(_collector, settings, sent_to, str(instance), worker)
    return DecisionLog(
        target,
        worker=worker,
        instance=instance,
        on_overflow=settings.decision_log_on_overflow,
        heartbeat_s=settings.decision_log_heartbeat,
        form=line_form(settings),
        lock_fd=lock_fd,
        on_loss=on_loss,
        observer=observer,
        open_with=open_with,
    )


def _collector(settings: Settings, target: OtlpTarget, instance: str, worker: int) -> Destination:
    """Return the destination of DECISION_LOG=otlp. Raises OtlpFileError."""
    from extauthz.decisionlog.otlp import OtlpDestination
    from extauthz.telemetry.otlp_senders import open_sender

    resource = otlp_resource(settings, instance=instance, worker=worker)
    return OtlpDestination(open_sender(target), resource, timeout_s=target.timeout_s)


def line_form(settings: Settings) -> LineForm:
    """Return what the settings demand of the lines of the decision log."""
    masks = settings.decision_log_mask
    return LineForm(
        Masks(masks, settings.decision_log_mask_key) if masks else None,
        settings.decision_log_sample_allows,
        Chain(settings.decision_log_chain_key) if settings.decision_log_chain else None,
    )


def shape_counter(settings: Settings, current: CurrentPolicies, counts: Counts) -> ShapeCounter:
    """Return what counts the shapes of a worker: half of its share of what a sidecar may hold."""
    return ShapeCounter(
        current.current,
        unmapped=settings.unmapped,
        binding=settings.tenant_binding,
        attributes=settings.record_attributes,
        max_shapes=MAX_HELD_SHAPES // settings.workers // 2,
        max_octets=MAX_HELD_OCTETS // settings.workers // 2,
        on_loss=counts.not_recorded,
    )


def check_policy(settings: Settings) -> CheckPolicy:
    """Return the requirements of the settings that apply to every check."""
    return CheckPolicy(
        token=TokenPolicy(
            oidc_enabled=settings.oidc_enabled,
            leeway=settings.token_leeway,
            max_bytes=settings.token_max_bytes,
            max_lifetime=settings.token_max_lifetime,
        ),
        unmapped=settings.unmapped,
        binding=settings.tenant_binding,
        max_staleness=(
            None if settings.policy_stale_action is StaleAction.SERVE else settings.policy_max_staleness
        ),
    )

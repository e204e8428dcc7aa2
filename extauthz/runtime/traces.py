"""Opens the traces of one process: the sampler, the queue, and the thread that exports.

Input: `Settings`. Output: `Traces`, not started; None where nothing is traced. Errors: `StartRefusedError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extauthz.runtime.start_refused import StartRefusedError
from extauthz.telemetry.spans import Tracing

if TYPE_CHECKING:
    from extauthz.settings import Settings
    from extauthz.telemetry.counts import Counts
    from extauthz.telemetry.span_export import SpanExporter


@dataclass(frozen=True, slots=True)
class Traces:
    """What begins spans, and what exports them: it is started, and closed at the end of the process."""

    tracing: Tracing
    exporter: SpanExporter


def open_traces(settings: Settings, counts: Counts, *, instance: str, worker: int) -> Traces | None:
    """Return the traces of a process; None where nothing is traced.

    Raises:
        StartRefusedError: a certificate or key of OTEL_* cannot be used.
    """
    if not settings.traces:
        return None
    # Imported here: a process that traces nothing loads nothing of OpenTelemetry.
    from extauthz.telemetry.otlp import OtlpFileError, Signal, otlp_resource, otlp_target
    from extauthz.telemetry.otlp_senders import open_sender
    from extauthz.telemetry.sampling import Sampling
    from extauthz.telemetry.span_export import SpanExporter

    target = otlp_target(settings, Signal.TRACES)
    try:
        sender = open_sender(target)
    except OtlpFileError as error:
        raise StartRefusedError(str(error)) from error
    tracing = Tracing(
        Sampling(settings.otel_traces_sampler, settings.otel_traces_sampler_arg),
        capacity=settings.otel_bsp_max_queue_size,
        on_loss=counts.spans_lost,
    )
    exporter = SpanExporter(
        tracing,
        sender,
        otlp_resource(settings, instance=instance, worker=worker),
        timeout_s=target.timeout_s,
        every_s=settings.otel_bsp_schedule_delay / 1000,
        batch=settings.otel_bsp_max_export_batch_size,
        on_exported=counts.spans_exported,
        on_loss=counts.spans_lost,
    )
    return Traces(tracing, exporter)

"""Checks across the variables of traces and OTLP.

Input: `Settings`. Output: problems, each with the variables that it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.settings.otel_variables import OtelSettings


def otel_contradictions(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """Yield the names of variables (separated by spaces) and the problem between them, with its fix."""
    certificate = settings.otel_exporter_otlp_client_certificate
    if (certificate is None) != (settings.otel_exporter_otlp_client_key is None):
        yield (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE OTEL_EXPORTER_OTLP_CLIENT_KEY",
            (
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together; "
                "set both or none"
            ),
        )
    if settings.otel_traces_sampler_arg is not None and not settings.otel_traces_sampler.has_ratio:
        yield (
            "OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG",
            (
                f"OTEL_TRACES_SAMPLER_ARG is set and {settings.otel_traces_sampler.value} of "
                "OTEL_TRACES_SAMPLER has no share; use parentbased_traceidratio or traceidratio, or unset it"
            ),
        )
    if settings.otel_bsp_max_export_batch_size > settings.otel_bsp_max_queue_size:
        yield (
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE OTEL_BSP_MAX_QUEUE_SIZE",
            (
                f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE {settings.otel_bsp_max_export_batch_size} exceeds "
                f"OTEL_BSP_MAX_QUEUE_SIZE {settings.otel_bsp_max_queue_size}"
            ),
        )

"""The variables of traces and of OTLP, by OpenTelemetry's own names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.settings.otel_values import (
    OtlpCompression,
    OtlpProtocol,
    Sampler,
    TracesExporter,
    otlp_headers,
    ratio,
    resource_attributes,
)
from extauthz.settings.values import flag, integer, one_of, path, text, url
from extauthz.settings.variable import variable

NOT_READ: Final = frozenset(
    f"OTEL_{name}"
    for name in (
        *("ATTRIBUTE_VALUE_LENGTH_LIMIT", "ATTRIBUTE_COUNT_LIMIT", "BSP_EXPORT_TIMEOUT", "CONFIG_FILE"),
        *("BLRP_SCHEDULE_DELAY", "BLRP_EXPORT_TIMEOUT", "BLRP_MAX_QUEUE_SIZE", "BLRP_MAX_EXPORT_BATCH_SIZE"),
        *(
            "LOG_LEVEL",
            "LOGS_EXPORTER",
            "METRICS_EXPORTER",
            "METRIC_EXPORT_INTERVAL",
            "METRIC_EXPORT_TIMEOUT",
        ),
        *("METRICS_EXEMPLAR_FILTER", "PROPAGATORS", "EXPORTER_OTLP_METRICS_ENDPOINT"),
        *("SPAN_ATTRIBUTE_COUNT_LIMIT", "SPAN_EVENT_COUNT_LIMIT", "SPAN_LINK_COUNT_LIMIT"),
    )
)
"""Names of OpenTelemetry's specification that mean nothing here, and are not misspelt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelSettings:
    """What is sent over OTLP, and where to."""

    otel_sdk_disabled: bool = variable(
        "OTEL_SDK_DISABLED", flag, "false", "true: nothing is traced, whatever the variables below say"
    )
    otel_traces_exporter: TracesExporter | None = variable(
        "OTEL_TRACES_EXPORTER",
        one_of(TracesExporter),
        None,
        "otlp or none; unset: otlp where an endpoint for traces is set, else none",
    )
    otel_exporter_otlp_endpoint: str | None = variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        url,
        None,
        "URL of the collector; /v1/traces is added for http/protobuf. Unset: port 4318 or 4317 of localhost",
    )
    otel_exporter_otlp_traces_endpoint: str | None = variable(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url, None, "URL for traces, used as it is"
    )
    otel_exporter_otlp_logs_endpoint: str | None = variable(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", url, None, "URL for the decision log over OTLP, used as it is"
    )
    otel_exporter_otlp_protocol: OtlpProtocol = variable(
        "OTEL_EXPORTER_OTLP_PROTOCOL", one_of(OtlpProtocol), "http/protobuf", "the transport of OTLP"
    )
    otel_exporter_otlp_headers: tuple[tuple[str, str], ...] | None = variable(
        "OTEL_EXPORTER_OTLP_HEADERS",
        otlp_headers,
        None,
        "headers of every request to the collector, such as its API key",
        secret=True,
    )
    otel_exporter_otlp_certificate: Path | None = variable(
        "OTEL_EXPORTER_OTLP_CERTIFICATE", path, None, "CA of the collector; unset: the system's CAs"
    )
    otel_exporter_otlp_client_certificate: Path | None = variable(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        path,
        None,
        "client certificate for the collector, with its chain",
    )
    otel_exporter_otlp_client_key: Path | None = variable(
        "OTEL_EXPORTER_OTLP_CLIENT_KEY", path, None, "private key of the client certificate"
    )
    otel_exporter_otlp_timeout: int = variable(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        integer(1, 600_000),
        "10000",
        "milliseconds that the collector may take for one request, as a whole",
    )
    otel_exporter_otlp_compression: OtlpCompression = variable(
        "OTEL_EXPORTER_OTLP_COMPRESSION", one_of(OtlpCompression), "none", "coding of requests"
    )
    otel_service_name: str | None = variable(
        "OTEL_SERVICE_NAME",
        text,
        None,
        "service.name of the resource; unset: that of the next variable, else extauthz",
    )
    otel_resource_attributes: tuple[tuple[str, str], ...] = variable(
        "OTEL_RESOURCE_ATTRIBUTES",
        resource_attributes,
        "",
        "further attributes of the resource, such as k8s.pod.name=orders-0",
    )
    otel_traces_sampler: Sampler = variable(
        "OTEL_TRACES_SAMPLER",
        one_of(Sampler),
        "parentbased_always_on",
        "which requests are traced; parentbased: the flag of traceparent decides where there is one",
    )
    otel_traces_sampler_arg: float | None = variable(
        "OTEL_TRACES_SAMPLER_ARG",
        ratio,
        None,
        "the share of traceidratio and parentbased_traceidratio; unset: 1",
    )
    otel_bsp_schedule_delay: int = variable(
        "OTEL_BSP_SCHEDULE_DELAY", integer(10, 300_000), "5000", "milliseconds between exports of spans"
    )
    otel_bsp_max_queue_size: int = variable(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        integer(16, 1_000_000),
        "2048",
        "spans that wait for their export; more are lost, and counted",
    )
    otel_bsp_max_export_batch_size: int = variable(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", integer(1, 100_000), "512", "spans in one export"
    )

    @property
    def traces(self) -> bool:
        """Whether spans are exported."""
        if self.otel_sdk_disabled or self.otel_traces_sampler is Sampler.ALWAYS_OFF:
            return False
        if self.otel_traces_exporter is not None:
            return self.otel_traces_exporter is TracesExporter.OTLP
        return (self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint) is not None

"""The environment variables of the logs: a part of `Settings`."""

from collections.abc import Mapping
from dataclasses import dataclass

from extauthz.settings.decision_log_values import Mask, log_target, masks, share
from extauthz.settings.otel_variables import OtelSettings
from extauthz.settings.values import (
    LogFormat,
    LogLevel,
    OverflowAction,
    admin_key,
    flag,
    one_of,
    seconds_or_none,
)
from extauthz.settings.variable import variable


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(OtelSettings):
    """The settings of the decision log and of the application log, after those of OpenTelemetry."""

    decision_log: str = variable(
        "DECISION_LOG", log_target, "stdout", "stdout, the path of a file, or otlp: a collector (OTEL_...)"
    )
    decision_log_mask: Mapping[str, Mask] = variable(
        "DECISION_LOG_MASK",
        masks,
        "",
        "fields to mask, as FIELD:drop or FIELD:hash, separated by commas (docs/decision-log.md)",
    )
    decision_log_mask_key: str | None = variable(
        "DECISION_LOG_MASK_KEY",
        admin_key,
        None,
        "the key of FIELD:hash, 32 bytes or more: the same value has the same hash under the same key",
        secret=True,
    )
    decision_log_sample_allows: float = variable(
        "DECISION_LOG_SAMPLE_ALLOWS",
        share,
        "1",
        "share of allows that get a line, from 0 to 1; the next line counts the others. Denials all get one",
    )
    decision_log_chain: bool = variable(
        "DECISION_LOG_CHAIN",
        flag,
        "off",
        "whether each line has a hash over itself and the hash of the line before it",
    )
    decision_log_chain_key: str | None = variable(
        "DECISION_LOG_CHAIN_KEY",
        admin_key,
        None,
        "makes the hash of DECISION_LOG_CHAIN an HMAC, 32 bytes or more; unset: a hash that anyone can make",
        secret=True,
    )
    decision_log_on_overflow: OverflowAction = variable(
        "DECISION_LOG_ON_OVERFLOW",
        one_of(OverflowAction),
        "drop",
        "while the log is full; drop: decisions are not logged, deny: requests are denied",
    )
    decision_log_heartbeat: float = variable(
        "DECISION_LOG_HEARTBEAT",
        seconds_or_none(0.1, 3600),
        "1",
        "seconds between heartbeat lines of the decision log; 0: none",
    )
    log_level: LogLevel = variable(
        "LOG_LEVEL", one_of(LogLevel), "info", "lowest severity of application logs on stderr"
    )
    log_format: LogFormat = variable(
        "LOG_FORMAT", one_of(LogFormat), "json", "format of application logs on stderr"
    )

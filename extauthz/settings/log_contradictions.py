"""What the settings of the decision log lack or contradict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.settings.decision_log_values import OTLP, Mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.settings.variables import Settings


def log_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what the settings of masks and of the chain lack or contradict."""
    if settings.decision_log == OTLP and settings.otel_sdk_disabled:
        yield (
            "DECISION_LOG OTEL_SDK_DISABLED",
            "DECISION_LOG=otlp and OTEL_SDK_DISABLED=true exclude each other; unset one of them",
        )
    hashes = [field for field, mask in settings.decision_log_mask.items() if mask is Mask.HASH]
    if hashes and settings.decision_log_mask_key is None:
        yield (
            "DECISION_LOG_MASK DECISION_LOG_MASK_KEY",
            (
                f"DECISION_LOG_MASK hashes {', '.join(hashes)} and DECISION_LOG_MASK_KEY is not set; "
                "add a secret of 32 bytes or more, or use drop"
            ),
        )
    if not hashes and settings.decision_log_mask_key is not None:
        yield (
            "DECISION_LOG_MASK DECISION_LOG_MASK_KEY",
            "DECISION_LOG_MASK_KEY is set and DECISION_LOG_MASK hashes no field; set both or none",
        )
    if settings.decision_log_chain_key is not None and not settings.decision_log_chain:
        yield (
            "DECISION_LOG_CHAIN DECISION_LOG_CHAIN_KEY",
            "DECISION_LOG_CHAIN_KEY is set and DECISION_LOG_CHAIN is off; set DECISION_LOG_CHAIN=on",
        )
    if (
        settings.decision_log_chain_key is not None
        and settings.decision_log_chain_key == settings.decision_log_mask_key
    ):
        yield (
            "DECISION_LOG_CHAIN_KEY DECISION_LOG_MASK_KEY",
            (
                "DECISION_LOG_CHAIN_KEY and DECISION_LOG_MASK_KEY are the same secret; "
                "use two: the key that verifies a log should not find masked values"
            ),
        )

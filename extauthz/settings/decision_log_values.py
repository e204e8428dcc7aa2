"""Readers of the settings of the decision log: masks by field, the share of allows, the chain.

Input: text. Output: the value. Errors: `InvalidValueError`, whose text states the valid form.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extauthz.settings.values import InvalidValueError, names

if TYPE_CHECKING:
    from extauthz.settings.variables import Settings


class Mask(StrEnum):
    """What is written in place of a field's value: `drop` nothing, `hash` its HMAC-SHA-256."""

    DROP = "drop"
    HASH = "hash"


MASKABLE: Final = (
    "subject", "domain", "roles", "token_roles", "resource", "action", "method", "host", "path", "path_raw",
    "detail", "source_principal", "source_address", "request_id", "trace_id", "attributes_used",
)  # fmt: skip
"""The fields of a decision that can be masked: those with values that requests and credentials bring.

`tenant` is not among them: readers of a log tell tenants apart by it.
"""
_NO_MASKS: Final[Mapping[str, Mask]] = MappingProxyType({})


def masks(value: str) -> Mapping[str, Mask]:
    """Return the mask of each field, from entries `FIELD:drop` and `FIELD:hash`."""
    found: dict[str, Mask] = {}
    for entry in names(value):
        field, _, kind = (part.strip().lower() for part in entry.partition(":"))
        if field not in MASKABLE:
            raise InvalidValueError(
                f"without {field[:80]!r}; fields that can be masked: {', '.join(MASKABLE)}"
            )
        if kind not in list(Mask):
            raise InvalidValueError(
                f"a list of FIELD:drop and FIELD:hash, separated by commas; {entry[:80]!r} is neither"
            )
        if field in found:
            raise InvalidValueError(f"a list with each field once; {field!r} is there twice")
        found[field] = Mask(kind)
    if value and not found:
        # INVARIANT: a list without fields is not read as unset, which masks nothing.
        raise InvalidValueError("a list of FIELD:drop and FIELD:hash, separated by commas; or unset")
    return MappingProxyType(found) if found else _NO_MASKS


def share(value: str) -> float:
    """Return a share: a decimal number from 0 to 1."""
    text = value.strip()
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12) or float(text) > 1:
        raise InvalidValueError("a share from 0 to 1, such as 0.01 for one of a hundred")
    return float(text)


def log_contradictions(settings: "Settings") -> Iterator[tuple[str, str]]:
    """Yield what the settings of masks and of the chain lack or contradict."""
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
                "use two: those who verify a log need not be able to find masked values"
            ),
        )

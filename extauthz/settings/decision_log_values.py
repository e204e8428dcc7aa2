"""Readers of the settings of the decision log: masks by field, the share of allows, the chain.

Input: text. Output: the value. Errors: `InvalidValueError`, whose text states the valid form.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from extauthz.settings.values import InvalidValueError, names


class Mask(StrEnum):
    """What is written in place of a field's value: `drop` nothing, `hash` its HMAC-SHA-256."""

    DROP = "drop"
    HASH = "hash"


STDOUT: Final = "stdout"
OTLP: Final = "otlp"
"""The value of DECISION_LOG for an OpenTelemetry collector."""

MASKABLE: Final = (
    "subject", "domain", "roles", "token_roles", "resource", "action", "method", "host", "path", "path_raw",
    "detail", "source_principal", "source_address", "request_id", "trace_id", "attributes_used",
    "mcp_method", "mcp_name",
)  # fmt: skip
"""The fields of a decision that can be masked: those with values that requests and credentials bring.

`tenant` is not among them: readers of a log tell tenants apart by it.
"""
_TARGETS: Final = f"{STDOUT}, {OTLP}, or the path of a file, with a folder or a suffix"
_FORM: Final = "a list of FIELD:drop and FIELD:hash, separated by commas"
_NO_MASKS: Final[Mapping[str, Mask]] = MappingProxyType({})


def log_target(value: str) -> str:
    """Return `stdout`, `otlp`, or the path of a file.

    A word that is none of the two is refused: `otel` would be a file that no pipeline reads.
    """
    if not value.isprintable() or not value.strip():
        raise InvalidValueError(_TARGETS)
    word = value.strip().lower()
    if word in {STDOUT, OTLP}:
        return word
    if "/" not in value and "." not in value:
        raise InvalidValueError(_TARGETS)
    return value


def masks(value: str) -> Mapping[str, Mask]:
    """Return the mask of each field, from entries `FIELD:drop` and `FIELD:hash`."""
    found: dict[str, Mask] = {}
    for entry in names(value):
        field, _, kind = (part.strip().lower() for part in entry.partition(":"))
        if ":" not in entry:
            raise InvalidValueError(f"{_FORM}; {entry[:80]!r} is neither")
        if field not in MASKABLE:
            raise InvalidValueError(
                f"without {field[:80]!r}; fields that can be masked: {', '.join(MASKABLE)}"
            )
        if kind not in list(Mask):
            raise InvalidValueError(f"{_FORM}; {entry[:80]!r} is neither")
        if field in found:
            raise InvalidValueError(f"a list with each field once; {field!r} is there twice")
        found[field] = Mask(kind)
    if value and not found:
        # INVARIANT: a list without fields is not read as unset, which masks nothing.
        raise InvalidValueError(f"{_FORM}; or unset")
    return MappingProxyType(found) if found else _NO_MASKS


def share(value: str) -> float:
    """Return a share: a decimal number from 0 to 1."""
    number = value.strip()
    digits = number.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12) or float(number) > 1:
        raise InvalidValueError("a share from 0 to 1, such as 0.01 for one of a hundred")
    return float(number)

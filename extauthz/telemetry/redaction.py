"""Replaces credentials in application logs.

Input: a log event. Output: the event with `REDACTED` in place of values under names of secrets, and of texts
that look like tokens, keys or passwords.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

REDACTED: Final = "[redacted]"
_MAX_DEPTH: Final = 8

_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|secret|authorization|cookie|credential|api[-_]?key(?![-_]?id)|private[-_]?key"
    r"|(?:^|[-_])(?:token|dsn|pgpass)$",
    re.IGNORECASE,
)

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9_])(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9_])eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*"), REDACTED),
    (re.compile(r"(?<![A-Za-z0-9_])(?:sak_live|eas)_[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@"), rf"\1:{REDACTED}@"),
    (
        re.compile(
            r"((?:passw(?:or)?d|passphrase|secret|api[-_]?key|private[-_]?key|(?:access|refresh|id)_token)"
            r"[\"']?\s*[=:]\s*[\"']?)(?!\[redacted\])[^\s\"',;&}]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
)


def redact(_: object, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return a log event without credentials; a structlog processor, the last before the renderer."""
    for name, value in event_dict.items():
        event_dict[name] = _redacted(name, value, _MAX_DEPTH)
    return event_dict


def redact_text(text: str) -> str:
    """Return `text` with tokens, service keys, session ids, PEM blocks and passwords replaced."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _redacted(name: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name) or not depth:
        return REDACTED
    match value:
        case str():
            return redact_text(value)
        case bytes():
            return redact_text(value.decode("utf-8", "backslashreplace"))
        case Mapping():
            return {str(key): _redacted(str(key), member, depth - 1) for key, member in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted("", member, depth - 1) for member in value]
        case _:
            return redact_text(str(value))

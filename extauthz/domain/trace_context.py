"""Reads the header `traceparent` (W3C Trace Context, 3.2) strictly: a malformed one starts a new trace."""

import re
from typing import Final, NamedTuple

# 3.2.2: only versions above 00 may have more behind the flags; ff is forbidden, so are all-zero ids.
_VERSION_00: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LATER: Final = re.compile(rb"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_USUAL: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NOT_SAMPLED: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
_NO_TRACE_ID: Final = b"0" * 32
_NO_PARENT_ID: Final = b"0" * 16
_SAMPLED: Final = 1
MAX_LENGTH: Final = 512
"""In octets: version 00 has 55, and a later one is not read beyond its flags."""


class TraceParent(NamedTuple):
    """The span that a request comes from: ids in hexadecimal, and whether the caller records its trace."""

    trace_id: str
    span_id: str
    sampled: bool


def read_traceparent(value: bytes | None) -> TraceParent | None:
    """Return the parent that a header names; None without one, or where it is malformed."""
    if value is None or len(value) > MAX_LENGTH:
        return None
    match = _VERSION_00.fullmatch(value) or _LATER.fullmatch(value)
    if match is None:
        return None
    trace_id, parent_id, flags = match.groups()
    if trace_id == _NO_TRACE_ID or parent_id == _NO_PARENT_ID:
        return None
    return TraceParent(trace_id.decode("ascii"), parent_id.decode("ascii"), bool(int(flags, 16) & _SAMPLED))


def is_not_sampled(value: str) -> bool:
    """Return whether a header names a parent whose trace is not recorded: quick, and of version 00 only."""
    return _NOT_SAMPLED.fullmatch(value) is not None


def trace_id_of(value: bytes | None) -> str | None:
    """Return the trace id that a header names; None without one, or where it is malformed."""
    if value is None:
        return None
    # On the path of every request, so the usual form has a pattern of its own.
    if _USUAL.fullmatch(value):
        return value[3:35].decode("ascii")
    parent = read_traceparent(value)
    return None if parent is None else parent.trace_id

"""How Envoy changes a client's bytes before a check, and which of them are certain afterwards.

Without `encode_raw_headers` (and always in the HTTP variant) Envoy joins repeated headers with a comma and
writes `!` for each byte that is not UTF-8; in `path` it always does the latter. Some headers it joins in any
case, before any filter. What a client sent is then known only where it can have been nothing else.
"""

import re
from collections.abc import Iterable
from typing import Final

REPLACEMENT: Final = b"!"
JOINT: Final = b","

_WHITESPACE: Final = b" \t"  # RFC 9110 5.6.3 OWS
_JOINT_OF_ENTRIES: Final = re.compile(rb",(?![ \t])")

SINGLE_ENTRY_HEADERS: Final = frozenset(
    {
        "accept", "accept-encoding", "access-control-request-headers",
        "access-control-request-method", "authorization", "cache-control", "connection",
        "content-encoding", "content-length", "content-type", "etag", "expect", "expires",
        "grpc-accept-encoding", "grpc-timeout", "if-match", "if-modified-since", "if-none-match",
        "if-range", "if-unmodified-since", "keep-alive", "origin", "pragma", "proxy-connection",
        "referer", "te", "transfer-encoding", "upgrade", "user-agent", "via", "x-client-trace-id",
        "x-envoy-attempt-count", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host",
        "x-forwarded-port", "x-forwarded-proto", "x-request-id",
    }
)  # fmt: skip
"""The request headers that Envoy 1.40 keeps in one entry: it joins their repeats, and drops empty ones."""

_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")


def replaced(raw: bytes) -> bytes:
    """Return the bytes with `!` for each one that belongs to no UTF-8 sequence (RFC 3629)."""
    # `surrogateescape` stands each such byte for one surrogate, which UTF-8 itself cannot.
    text = raw.decode("utf-8", "surrogateescape")
    return _NOT_UTF8.sub(REPLACEMENT.decode(), text).encode()


def joined(values: Iterable[bytes]) -> bytes:
    """Return one value for the entries of a repeated header, as Envoy sends it when headers are not raw."""
    return replaced(JOINT.join(values))


def is_known(name: str, value: bytes, *, raw: bool) -> bool:
    """Tell whether a header that came as one value can have been sent in no other way.

    `name` is lower-case; `raw` is whether the value is known to be as the client sent it. Text that is not
    UTF-8 is never known, and neither is a value that begins or ends with white space: over HTTP/2 Envoy
    passes it on, and an upstream that removes it (RFC 9110 5.5) reads another value than was compared.
    """
    if not raw and (JOINT in value or REPLACEMENT in value):
        return False
    if value.strip(_WHITESPACE) != value:
        return False
    # Envoy joins without a space, and the text of one header usually has one (`(KHTML, like Gecko)`).
    if raw and name in SINGLE_ENTRY_HEADERS and _JOINT_OF_ENTRIES.search(value):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

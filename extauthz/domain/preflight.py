"""CORS preflights: which requests are one, read from their headers (Fetch, 4.8 "CORS-preflight fetch").

A browser asks with OPTIONS, before the request itself, whether a page of another origin may send it. It sends
no credential and no body. Everything that a browser would not send makes a request something else.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

OPTIONS: Final = "OPTIONS"

_ORIGIN: Final = "origin"
_ASKED: Final = "access-control-request-method"
_LENGTH: Final = "content-length"
_CODING: Final = "transfer-encoding"

# What Fetch calls credentials, apart from those that are read anyway: cookies and authentication entries.
_CREDENTIALS: Final = ("authorization", "proxy-authorization", "cookie", "x-service-api-key")

PREFLIGHT_HEADERS: Final = frozenset((_ORIGIN, _ASKED, _LENGTH, _CODING, *_CREDENTIALS))
"""The lower-case names of the headers that decide whether a request is a preflight."""

_LONGEST: Final = 512
"""In octets, of an origin and of a method."""

# Fetch, "serializing a request origin": `null`, or scheme, host and port of one origin (RFC 6454 6.2).
_ONE_ORIGIN: Final = re.compile(
    rb"null|[A-Za-z][A-Za-z0-9+.\-]*://(?:[A-Za-z0-9._~\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
# RFC 9110 5.6.2 `token`, without `!`, which Envoy may have written for a byte that is not UTF-8.
_METHOD: Final = re.compile(rb"[#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")


def asked_method(headers: Mapping[str, bytes], repeated: Collection[str], *, has_body: bool) -> str | None:
    """Return the method that an OPTIONS request asks about as a preflight; None where it is not one.

    `headers` and `repeated` have lower-case names; `has_body` is whether a body is known from elsewhere.
    """
    origin, asked = headers.get(_ORIGIN), headers.get(_ASKED)
    if origin is None or asked is None or has_body:
        return None
    if not PREFLIGHT_HEADERS.isdisjoint(repeated) or any(name in headers for name in _CREDENTIALS):
        return None
    # RFC 9110 8.6, RFC 9112 6.1: what announces a body.
    if headers.get(_LENGTH, b"0") != b"0" or _CODING in headers:
        return None
    if len(origin) > _LONGEST or _ONE_ORIGIN.fullmatch(origin) is None or _METHOD.fullmatch(asked) is None:
        return None
    return asked.decode("ascii")

"""Reads method, host and path of a request from the fields in which Envoy passes them.

Envoy's `path` has `!` where the client sent a byte that is not UTF-8. With `encode_raw_headers` the bytes
themselves are in the pseudo-header `:path`, and are read from there; without it a `!` can be the client's own
or not, so a path with one is refused and a query with one is unknown. INVARIANT: nothing here raises.
"""

import re
from dataclasses import dataclass
from typing import Final

from extauthz.domain.envoy_text import REPLACEMENT, replaced
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.path import CanonicalPath, PathProblem, PathRejected, parse_target
from extauthz.domain.reasons import Reason

UNREADABLE_QUERY: Final = "%FF"
"""Makes a raw query one that no reader accepts, and stands for one whose bytes are not known."""

MAX_QUERY_FIELDS: Final = 1000
"""More `name=value` fields in a query are refused. PHP (`max_input_vars`) and Tomcat (`maxParameterCount`)
take as many unless told otherwise; a server that drops the rest reads another query than is judged here."""

MAX_QUERY_LENGTH: Final = 64 * 1024
"""In octets; a longer query is refused. Envoy takes heads of 60 KiB unless told otherwise."""

_NOT_TEXT: Final = "replace"
"""Bytes that are not UTF-8 become U+FFFD, which no host and no path may contain."""

# RFC 9110 5.6.2 `token`; methods are case-sensitive (9.1).
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_COMMON_METHODS: Final = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
}

RequestLine = tuple[str, str, CanonicalPath, str | None]
"""Method as received, canonical host, canonical path, and the raw query (None: no question mark)."""


@dataclass(frozen=True, slots=True)
class RequestLineRejected:
    """A request line that cannot be judged: denied for `reason` before any credential is judged."""

    reason: Reason
    detail: str


def read_request_line(
    method: bytes,
    host: bytes,
    path: bytes,
    raw_method: bytes | None = None,
    raw_host: bytes | None = None,
    raw_path: bytes | None = None,
) -> RequestLine | RequestLineRejected:
    """Read Envoy's fields; the `raw_*` are the pseudo-headers as the client sent them, None when missing."""
    method_text = _COMMON_METHODS.get(method)
    if method_text is None:
        if _METHOD.fullmatch(method) is None:
            return _malformed("the method is not a token (RFC 9110 5.6.2)")
        if method == b"CONNECT":
            return _malformed("CONNECT has no path to decide about (RFC 9110 9.3.6)")
        if raw_method is None and REPLACEMENT in method:
            return _malformed("the method has '!', which Envoy also writes for a byte that is not UTF-8")
        method_text = method.decode("ascii")
    if raw_method is not None and raw_method != method:
        return _malformed("the method and the header :method differ")
    host_text = canonical_host(host.decode("utf-8", _NOT_TEXT))
    if isinstance(host_text, HostRejected):
        return _malformed(f"host: {host_text.reason}")
    if raw_host is not None and raw_host != host:
        return _malformed("the host and the header :authority differ")
    if raw_path is not None and raw_path != path:
        if replaced(raw_path) != path:
            return _malformed("the path and the header :path differ")
        path = raw_path
    target = parse_target(path.decode("utf-8", _NOT_TEXT))
    if isinstance(target, PathRejected):
        return RequestLineRejected(Reason.PATH_AMBIGUOUS, f"path: {target.reason}")
    canonical, query = target
    if query is not None:
        if len(path) - path.find(b"?") - 1 > MAX_QUERY_LENGTH:
            return _malformed(f"the query is longer than {MAX_QUERY_LENGTH} octets")
        if query.count("&") >= MAX_QUERY_FIELDS:
            return _malformed(f"the query has more than {MAX_QUERY_FIELDS} fields")
        query = query.replace("\ufffd", UNREADABLE_QUERY)
    if raw_path is None and REPLACEMENT in path:
        if "!" in canonical.text:
            return RequestLineRejected(Reason.PATH_AMBIGUOUS, f"path: {PathProblem.REPLACED_BYTE}")
        query = UNREADABLE_QUERY
    return method_text, host_text, canonical, query


def _malformed(detail: str) -> RequestLineRejected:
    return RequestLineRejected(Reason.REQUEST_MALFORMED, detail)

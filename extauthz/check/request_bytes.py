"""CheckRequest bytes to RequestFacts, once; whatever could mean two things, or nothing, is Malformed.

Read are the fields in extauthz_check.proto and no others. Never read, because clients write them:
`x-forwarded-*`, `x-envoy-original-path`, `source.service`. Host, path and method come from Envoy's own
fields, not from pseudo-headers. No input raises.
"""

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from extauthz.check.client_headers import ClientHeaders, HeadersRejected, client_headers
from extauthz.check.credential_sources import CredentialSources, other_credentials
from extauthz.check.extauthz_check_pb2 import AttributeContext, CheckRequest
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.path import PathRejected, parse_target, split_query
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, Malformed, RequestFacts

MAX_REQUEST_ID_LENGTH: Final = 128
"""In characters; a longer `x-request-id` is cut."""

_NOT_TEXT: Final = "replace"
"""Bytes that are not UTF-8 become U+FFFD, which no host and no path may contain."""

_NO_UTF8_IN_QUERY: Final = "%FF"
"""An escape that is not UTF-8 either makes the query unknown; U+FFFD would pass for the client's own."""

_QUOTED_LENGTH: Final = 512
"""How much of a refused method, host or path is handed on, in characters; the log cuts further."""

# RFC 9110 5.6.2 `token`; methods are case-sensitive (9.1).
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_COMMON_METHODS: Final = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
}
# W3C Trace Context 3.2.2: only versions above 00 may have more behind the flags; ff is forbidden, so are
# all-zero ids.
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_LATER_TRACEPARENT: Final = re.compile(
    rb"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)
_NO_TRACE_ID: Final = b"0" * 32
_NO_PARENT_ID: Final = b"0" * 16
_new: Final = tuple.__new__  # what a named tuple's own constructor calls, at half the cost (ADR 6)
_NO_CONTEXT: Final = ContextTarget()
_context_target: Final = lru_cache(maxsize=256)(ContextTarget)  # as many as the proxies have routes


def read(
    raw: bytes,
    *,
    condition_headers: frozenset[str],
    sources: CredentialSources | None = None,
    longest_credential: int = sys.maxsize,
) -> RequestFacts | Malformed:
    """Read one serialised `envoy.service.auth.v3.CheckRequest`.

    `condition_headers` are the lower-case names that conditions may ask for; of all others only the
    credentials are kept, those in `sources` included, and of what is longer than `longest_credential` octets
    no more than shows that. Envoy's `headers` and `header_map` (`encode_raw_headers`) forms read the same.
    """
    try:
        attributes = CheckRequest.FromString(raw).attributes
    except DecodeError:
        return Malformed(Reason.REQUEST_MALFORMED, "the message is not a CheckRequest")
    return read_attributes(
        attributes,
        condition_headers=condition_headers,
        sources=sources,
        longest_credential=longest_credential,
    )


def read_attributes(
    attributes: AttributeContext,
    *,
    condition_headers: frozenset[str],
    sources: CredentialSources | None = None,
    longest_credential: int = sys.maxsize,
) -> RequestFacts | Malformed:
    """Read the attributes of a check, however they arrived; see `read`."""
    http = attributes.request.http
    headers = client_headers(http, condition_headers, longest_credential)
    if isinstance(headers, HeadersRejected):
        return _malformed(attributes, headers, headers.detail)
    method = _COMMON_METHODS.get(http.method)
    if method is None:
        if not attributes.request.HasField("http"):
            return _malformed(attributes, headers, "the check carries no HTTP attributes")
        if _METHOD.fullmatch(http.method) is None:
            return _malformed(attributes, headers, "the method is not a token (RFC 9110 5.6.2)")
        if http.method == b"CONNECT":
            return _malformed(attributes, headers, "CONNECT has no path to decide about (RFC 9110 9.3.6)")
        method = http.method.decode("ascii")
    host = canonical_host(http.host.decode("utf-8", _NOT_TEXT))
    if isinstance(host, HostRejected):
        return _malformed(attributes, headers, f"host: {host.reason}")
    target = parse_target(http.path.decode("utf-8", _NOT_TEXT))
    if isinstance(target, PathRejected):
        return _malformed(attributes, headers, f"path: {target.reason}", Reason.PATH_AMBIGUOUS)
    path, query = target
    raw_headers, kept, repeated, strip = headers
    peer, context = attributes.source, attributes.context_extensions
    return _new(
        RequestFacts,
        (
            method,
            host,
            path,
            query if query is None else query.replace("\ufffd", _NO_UTF8_IN_QUERY),
            kept,
            repeated,
            _context(context) if context else _NO_CONTEXT,
            peer.address.socket_address.address or None,
            peer.principal or None,
            _request_id(raw_headers.get("x-request-id")),
            _trace_id(raw_headers.get("traceparent")),
            _is_grpc(raw_headers.get("content-type")),
            strip,
            None if sources is None else other_credentials(attributes, raw_headers, sources),
        ),
    )


def _malformed(
    attributes: AttributeContext,
    headers: ClientHeaders | HeadersRejected,
    detail: str,
    reason: Reason = Reason.REQUEST_MALFORMED,
) -> Malformed:
    """Refuse the request, with everything about it that the decision log can still quote."""
    http, peer = attributes.request.http, attributes.source
    raw_path, _ = split_query(_text(http.path))
    host = canonical_host(_text(http.host))
    return Malformed(
        reason,
        detail,
        method=_text(http.method)[:_QUOTED_LENGTH] or None,
        host=(_text(http.host)[:_QUOTED_LENGTH] or None) if isinstance(host, HostRejected) else host,
        path_raw=raw_path[:_QUOTED_LENGTH] or None,
        request_id=_request_id(headers.raw.get("x-request-id")),
        trace_id=_trace_id(headers.raw.get("traceparent")),
        is_grpc=_is_grpc(headers.raw.get("content-type")),
        source_address=peer.address.socket_address.address or None,
        source_principal=peer.principal or None,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", _NOT_TEXT)


def _context(extensions: Mapping[str, str]) -> ContextTarget:
    """Read the trusted target; an empty value is kept, because it names something that does not exist."""
    return _context_target(extensions.get("tenant"), extensions.get("resource"), extensions.get("action"))


def _request_id(value: bytes | None) -> str | None:
    if not value:
        return None
    request_id = value[:MAX_REQUEST_ID_LENGTH].decode("latin-1")
    return request_id if request_id.isascii() and request_id.isprintable() else None


def _trace_id(value: bytes | None) -> str | None:
    if value is None:
        return None
    match = _TRACEPARENT.fullmatch(value) or _LATER_TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    trace_id, parent_id = match.groups()
    if trace_id == _NO_TRACE_ID or parent_id == _NO_PARENT_ID:
        return None
    return trace_id.decode("ascii")


def _is_grpc(value: bytes | None) -> bool:
    """Tell whether the content type is `application/grpc`, with or without a suffix."""
    return value is not None and value.lower().startswith(b"application/grpc")

"""Reads a CheckRequest into facts and credentials; one that is ambiguous or invalid is Malformed.

It reads the fields in extauthz_check.proto and no others. It never reads `x-forwarded-*`,
`x-envoy-original-path` and `source.service`, because clients write them. Host, path and method come from
Envoy's own fields; raw pseudo-headers only tell which bytes of them Envoy replaced. No input raises.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from extauthz.check.checked_body import BODY_HEADERS, CONTENT_TYPE, checked_body
from extauthz.check.credentials import CredentialSources, read_credentials
from extauthz.check.extauthz_check_pb2 import AttributeContext, CheckRequest
from extauthz.check.request_headers import READ_ALWAYS, ClientHeaders, HeadersRejected, client_headers
from extauthz.check.seen_bodies import CONTENT_LENGTH, SeenBodies
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.path import split_query
from extauthz.domain.preflight import OPTIONS, PREFLIGHT_HEADERS, asked_method
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, ContextTarget, Malformed, RequestFacts
from extauthz.domain.request_line import RequestLineRejected, read_request_line
from extauthz.domain.trace_context import MAX_LENGTH, trace_id_of

MAX_REQUEST_ID_LENGTH: Final = 128
"""In characters; a longer `x-request-id` is cut."""

_QUOTED_LENGTH: Final = 512
"""How much of a refused method, host or path is handed on, in characters; the log cuts further."""

_NO_HEADERS: Final[frozenset[str]] = frozenset()
_NO_CONTEXT: Final = ContextTarget()
_OPTIONS: Final = OPTIONS.encode()
_context_target: Final = lru_cache(maxsize=256)(ContextTarget)  # as many as the proxies have routes


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyRequests:
    """Reads checks as the operator wants them read.

    `condition_headers` are the lower-case names that conditions may ask for; no others are kept. `sources`
    are further places of credentials; of `Authorization` and the service key no more than
    `longest_credential` octets are read. `raw_entries` is whether `header_map` is known to have the bytes
    that the client sent, header by header. Other spellings of `claim_headers` are removed by an allow, as
    those of `x-auth-*` are. `preflights` is whether CORS preflights are told from other requests
    (`CORS_PREFLIGHT=policy`). Bodies of up to `longest_body` octets can be read; 0: of no request. `traces`
    is whether the parent of a request's trace is read, and `bodies` notes what was seen of bodies.
    """

    condition_headers: frozenset[str] = frozenset()
    sources: CredentialSources | None = None
    longest_credential: int = sys.maxsize
    raw_entries: bool = True
    claim_headers: frozenset[str] = frozenset()
    preflights: bool = False
    longest_body: int = 0
    traces: bool = False
    bodies: SeenBodies = field(default_factory=SeenBodies)
    read_headers: frozenset[str] = field(init=False)
    """The lower-case names of the headers whose values are looked at."""

    def __post_init__(self) -> None:
        token_headers = _NO_HEADERS if self.sources is None else self.sources.headers
        body_headers = BODY_HEADERS | {CONTENT_LENGTH} if self.longest_body else _NO_HEADERS
        read = READ_ALWAYS | self.condition_headers | token_headers | body_headers
        object.__setattr__(self, "read_headers", read)

    def read(self, raw: bytes) -> CheckedRequest | Malformed:
        """Read one serialised `envoy.service.auth.v3.CheckRequest`.

        Envoy's `headers` and `header_map` (`encode_raw_headers`) forms read the same.
        """
        try:
            attributes = CheckRequest.FromString(raw).attributes
        except DecodeError:
            return Malformed(Reason.REQUEST_MALFORMED, "the message is not a CheckRequest")
        return self.read_attributes(attributes)

    def read_attributes(self, attributes: AttributeContext) -> CheckedRequest | Malformed:
        """Read the attributes of a check, however they arrived."""
        http = attributes.request.http
        read_headers = self.read_headers
        if self.preflights and http.method == _OPTIONS:
            read_headers |= PREFLIGHT_HEADERS
        headers = client_headers(
            http,
            self.condition_headers,
            read_headers,
            raw_entries=self.raw_entries,
            claim_headers=self.claim_headers,
        )
        if isinstance(headers, HeadersRejected):
            return _malformed(attributes, headers, headers.detail)
        raw = headers.raw
        if headers.is_raw:
            pseudo = raw.get(":method"), raw.get(":authority"), raw.get(":path")
            line = read_request_line(http.method, http.host, http.path, *pseudo)
        else:
            line = read_request_line(http.method, http.host, http.path)
        if isinstance(line, RequestLineRejected):
            if not attributes.request.HasField("http"):
                return _malformed(attributes, headers, "the check carries no HTTP attributes")
            return _malformed(attributes, headers, line.detail, line.reason)
        method, host, path, query = line
        peer, context = attributes.source, attributes.context_extensions
        content_type, body, seen = raw.get(CONTENT_TYPE), None, self.bodies
        seen.checked = True
        if content_type is not None and self.longest_body:
            body = checked_body(http, raw, headers.repeated, longest=self.longest_body)
            if not seen.arrived:
                seen.note(http, raw, body)
        traceparent = raw.get("traceparent")
        trace_id = trace_id_of(traceparent)
        # By position: with names it takes twice the time.
        facts = RequestFacts(
            method,
            host,
            path,
            query,
            headers.kept,
            headers.unknown,
            _context(context) if context else _NO_CONTEXT,
            peer.address.socket_address.address or None,
            peer.principal or None,
            _request_id(raw.get("x-request-id")),
            trace_id,
            _is_grpc(content_type),
            headers.strip,
            None,
            body,
            traceparent if self.traces and trace_id is not None else None,
        )
        credentials = read_credentials(
            raw,
            headers.repeated,
            attributes.metadata_context,
            self.sources,
            longest=self.longest_credential,
            joined=not headers.is_raw,
        )
        takes_peers = self.sources is not None and self.sources.workloads
        workload = facts.source_principal if takes_peers else None
        if self.preflights and http.method == _OPTIONS and not credentials and workload is None:
            has_body = http.size > 0 or bool(http.body) or bool(http.raw_body)
            asked = asked_method(raw, headers.repeated, has_body=has_body)
            if asked is not None:
                facts = facts._replace(preflight=asked)
        return CheckedRequest(facts, credentials, workload, peer.certificate)


def _malformed(
    attributes: AttributeContext,
    headers: ClientHeaders | HeadersRejected,
    detail: str,
    reason: Reason = Reason.REQUEST_MALFORMED,
) -> Malformed:
    """Refuse the request, with everything about it that the decision log can still quote."""
    http, peer = attributes.request.http, attributes.source
    # What the client sent, where it is there: Envoy writes `!` for what is not UTF-8.
    raw_path, _ = split_query(_text(headers.raw.get(":path", http.path)))
    host = canonical_host(_text(http.host))
    traceparent = headers.raw.get("traceparent", b"")
    return Malformed(
        reason,
        detail,
        method=_text(http.method)[:_QUOTED_LENGTH] or None,
        host=(_text(http.host)[:_QUOTED_LENGTH] or None) if isinstance(host, HostRejected) else host,
        path_raw=raw_path[:_QUOTED_LENGTH] or None,
        request_id=_request_id(headers.raw.get("x-request-id")),
        trace_id=trace_id_of(traceparent),
        # What is longer is malformed anyway, and would wait for the log.
        traceparent=None if len(traceparent) > MAX_LENGTH else traceparent or None,
        is_grpc=_is_grpc(headers.raw.get("content-type")),
        source_address=peer.address.socket_address.address or None,
        source_principal=peer.principal or None,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _context(extensions: Mapping[str, str]) -> ContextTarget:
    """Read the trusted target; an empty value is kept, because it names something that does not exist."""
    return _context_target(extensions.get("tenant"), extensions.get("resource"), extensions.get("action"))


def _request_id(value: bytes | None) -> str | None:
    if not value:
        return None
    request_id = value[:MAX_REQUEST_ID_LENGTH].decode("latin-1")
    return request_id if request_id.isascii() and request_id.isprintable() else None


def _is_grpc(value: bytes | None) -> bool:
    """Tell whether the content type is `application/grpc`, with or without a suffix."""
    return value is not None and value.lower().startswith(b"application/grpc")

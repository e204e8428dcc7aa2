"""The facts of one request, read once from Envoy's message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from extauthz.domain.credential import Credential
from extauthz.domain.mcp import McpMessage
from extauthz.domain.path import CanonicalPath
from extauthz.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class ContextTarget:
    """`context_extensions` of the route in Envoy: trusted configuration that may name the target."""

    tenant: str | None = None
    resource: str | None = None
    action: str | None = None


class RequestBody(Protocol):
    """The body of a request, which is read when a rule asks for a part of it."""

    def value(self, path: str) -> object:
        """Return the value at a path, or what stands for an unknown one."""

    def exists(self, path: str) -> bool | None:
        """Tell whether a value is at the path; None where it is not known."""

    def message(self) -> McpMessage | None:
        """Return the message of the Model Context Protocol that the body is; None where it is not one."""

    def release(self) -> None:
        """Forget the body: no rule asks any more."""


class RequestFacts(NamedTuple):
    """The facts of one check request, without its credentials (`domain.credential`).

    `method` is as received (HEAD stays HEAD), `host` canonical, `query` raw without the question mark
    (None: no question mark; unreadable where its bytes are not known). `headers` has those that conditions
    may ask for, by lower-case name, and never a credential; in `unknown_headers` are those whose value is
    not known: seen as several entries, not UTF-8, or possibly joined or replaced by the proxy.
    `source_address` is the textual peer address as Envoy verified it, `source_principal` the verified peer
    identity. `strip_headers` names the `x-auth-*` headers, in any spelling, that the client sent and an allow
    must remove. `preflight` is the method that a CORS preflight asks about, None for every other request.
    `body` is None where the request has none that conditions can read.
    `traceparent` is the valid header that `trace_id` is of, where requests are traced; `span_id` is the span
    of a traced check, and `trace_id` then that of its trace.
    """

    method: str
    host: str
    path: CanonicalPath
    query: str | None
    headers: Mapping[str, str]
    unknown_headers: frozenset[str]
    context: ContextTarget
    source_address: str | None
    source_principal: str | None
    request_id: str | None
    trace_id: str | None
    is_grpc: bool
    strip_headers: tuple[str, ...] = ()
    preflight: str | None = None
    body: RequestBody | None = None
    traceparent: bytes | None = None
    span_id: str | None = None


class CheckedRequest(NamedTuple):
    """What a check is about, and the credentials of the caller.

    `peer` is the workload that the proxy verified, where the operator lets a peer be a principal.
    `certificate` is the peer's as Envoy passes it, PEM in URL encoding; empty without one.
    """

    facts: RequestFacts
    credentials: Sequence[Credential]
    peer: str | None = None
    certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request that is ambiguous, invalid or too large: denied for every caller.

    `path_raw` is what the decision log may quote, escaped and cut by the log.
    """

    reason: Reason
    detail: str
    method: str | None = None
    host: str | None = None
    path_raw: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    traceparent: bytes | None = None
    span_id: str | None = None
    is_grpc: bool = False
    source_address: str | None = None
    source_principal: str | None = None

"""The trace of one check: time stamps while it runs, spans of them when they are exported.

    extauthz.check                 kind SERVER, the child of the proxy's span
      extauthz.read                the message, its headers and the request line
      extauthz.identify            credentials to a principal
      extauthz.wait                for keys, an introspection, or the turn of a token that is seen first
      extauthz.decide              the rules
      extauthz.write               the answer

INVARIANT: no span has a token, a secret, a query, a path, a subject, or text that a client wrote, other than
the canonical host.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import CheckedRequest, Malformed, RequestFacts
from extauthz.domain.trace_context import is_not_sampled, read_traceparent
from extauthz.domain.verdict import Allowed, Denied, NamedVerdict, Preflight, Verdict
from extauthz.telemetry.spans import EndedSpan, OpenSpan, SpanAttribute, SpanAttributes, SpanKind, Tracing

READ: Final = "extauthz.read"
IDENTIFY: Final = "extauthz.identify"
WAIT: Final = "extauthz.wait"
DECIDE: Final = "extauthz.decide"
WRITE: Final = "extauthz.write"

CHECK: Final = "extauthz.check"
_GRPC_ATTRIBUTES: Final[SpanAttributes] = {
    "rpc.system": "grpc",
    "rpc.service": "envoy.service.auth.v3.Authorization",
    "rpc.method": "Check",
    "rpc.grpc.status_code": 0,
}
CallMetadata = tuple[tuple[str, str | bytes], ...]
"""The metadata of a gRPC call."""

_TRACEPARENT: Final = "traceparent"
_MAX_TEXT: Final = 256
_FLAGS: Final = 54
"""Where a `traceparent` has the lower digit of its flags; its lowest bit says that the trace is recorded."""
_SAMPLED_DIGITS: Final = frozenset(b"13579bdf")
_KNOWN_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
)
_NS: Final = 1_000_000_000


@dataclass(slots=True, eq=False)
class CheckTrace:
    """The time stamps of a check that is traced; a mark is the end of a phase, and the begin of the next."""

    tracing: Tracing
    trace_id: str
    span_id: str
    parent_id: str | None
    now: float
    started: float
    marks: list[tuple[str, float]] = field(default_factory=list)
    entrance: str = ""
    verdict: Verdict | None = None

    def mark(self, phase: str) -> None:
        """Note that a phase has ended."""
        self.marks.append((phase, time.perf_counter()))

    def identified(self) -> None:
        """Note that the credentials have been judged."""
        self.marks.append((IDENTIFY, time.perf_counter()))

    def as_parent(self) -> OpenSpan:
        """Return the check as the parent of spans of other threads and tasks; it is not ended by them."""
        start_ns = int(self.now * _NS)
        kind = SpanKind.SERVER
        return OpenSpan(self.tracing, self.trace_id, self.span_id, self.parent_id, CHECK, kind, start_ns)

    def end(self, verdict: Verdict, entrance: str) -> None:
        """Note that the answer has been written, and hand the trace over."""
        self.mark(WRITE)
        self.verdict, self.entrance = verdict, entrance
        self.tracing.hand_over(self)

    @property
    def number(self) -> int:
        """The check, and its phases."""
        return 1 + len(self.marks)

    def ended(self, new_id: Callable[[], str]) -> list[EndedSpan]:
        """Return the spans."""
        assert self.verdict is not None
        began_ns = int(self.now * _NS)

        def at(moment: float) -> int:
            return began_ns + max(0, int((moment - self.started) * _NS))

        found, begin_ns = [], began_ns
        for phase, moment in self.marks:
            end_ns = max(begin_ns, at(moment))
            found.append(
                EndedSpan(
                    self.trace_id, new_id(), self.span_id, phase, SpanKind.INTERNAL, begin_ns, end_ns, {}
                )
            )
            begin_ns = end_ns
        check = EndedSpan(
            self.trace_id,
            self.span_id,
            self.parent_id,
            CHECK,
            SpanKind.SERVER,
            began_ns,
            begin_ns,
            _attributes(self.verdict, self.entrance),
            _error(self.verdict),
        )
        return [check, *found]


class Traceable(Protocol):
    """A check that may be traced: when it began, in POSIX seconds and by the performance counter."""

    now: float
    started: float
    trace: CheckTrace | None


_Message = TypeVar("_Message")


class CheckTracing:
    """Decides which checks are traced; for any thread."""

    def __init__(self, tracing: Tracing) -> None:
        """Hand what has ended over to `tracing`."""
        self._tracing = tracing

    def reader(
        self, read: Callable[[_Message], CheckedRequest | Malformed]
    ) -> Callable[[_Message, Traceable, CallMetadata | None], CheckedRequest | Malformed]:
        """Return what reads a request, and begins the trace of its check where it is sampled.

        The parent is the proxy's span of the call, by its metadata; without one that of the request.
        """
        # A closure: all of this is on the path of every request.
        sampling, begin, under = self._tracing.sampling, self._begin, self._under
        new_id, asks_parent = sampling.new_trace_id, sampling.asks_parent

        def traced(
            message: _Message, check: Traceable, metadata: CallMetadata | None
        ) -> CheckedRequest | Malformed:
            request = read(message)
            if metadata is not None:
                for name, given in metadata:
                    if name == _TRACEPARENT:
                        if asks_parent and isinstance(given, str) and is_not_sampled(given):
                            return request
                        return under(request, check, given, metadata)
            if isinstance(request, Malformed):
                value = request.traceparent
            else:
                value = request.facts.traceparent
                # It is valid: the flags are where they have to be.
                if value is not None and asks_parent and value[_FLAGS] not in _SAMPLED_DIGITS:
                    return request
            if value is not None:
                return under(request, check, value, None)
            trace_id = new_id()
            return request if trace_id is None else begin(request, check, trace_id, None)

        return traced

    def _under(
        self,
        request: CheckedRequest | Malformed,
        check: Traceable,
        value: bytes | str,
        metadata: CallMetadata | None,
    ) -> CheckedRequest | Malformed:
        sampling = self._tracing.sampling
        parent = read_traceparent(value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
        if parent is not None and metadata is not None and [n for n, _ in metadata].count(_TRACEPARENT) > 1:
            parent = None
        trace_id = sampling.trace_id(parent)
        if trace_id is None:
            return request
        return self._begin(request, check, trace_id, None if parent is None else parent.span_id)

    def _begin(
        self, request: CheckedRequest | Malformed, check: Traceable, trace_id: str, parent_id: str | None
    ) -> CheckedRequest | Malformed:
        span_id = self._tracing.sampling.span_id()
        trace = CheckTrace(self._tracing, trace_id, span_id, parent_id, check.now, check.started)
        trace.mark(READ)
        check.trace = trace
        return with_trace(request, trace_id, span_id)


def with_trace(
    request: CheckedRequest | Malformed, trace_id: str, span_id: str
) -> CheckedRequest | Malformed:
    """Return the request with the ids of its trace and span, which the decision log has."""
    if isinstance(request, CheckedRequest):
        return request._replace(facts=request.facts._replace(trace_id=trace_id, span_id=span_id))
    return replace(request, trace_id=trace_id, span_id=span_id)


def decision_attributes(verdict: Verdict | NamedVerdict, entrance: str) -> dict[str, SpanAttribute]:
    """Return what a span says about a decision."""
    found: dict[str, SpanAttribute | None] = {
        "extauthz.entrance": entrance,
        "extauthz.decision": verdict.effect.value,
        "extauthz.decision_id": verdict.decision_id,
        "extauthz.reason": verdict.reason.value,
        "extauthz.tenant": verdict.tenant,
        "extauthz.policy_revision": verdict.policies.revision,
    }
    if verdict.rule is not None:
        found["extauthz.matched_rule_id"] = verdict.rule.id
        found["extauthz.matched_rule_kind"] = verdict.rule.kind.value
    if verdict.target is not None:
        found["extauthz.action"] = verdict.target.action
        # With UNMAPPED=path the name of a resource that is not registered is a path.
        found["extauthz.resource"] = None if verdict.target.service is None else verdict.target.resource
    if verdict.principal is not None:
        found["extauthz.authentication"] = verdict.principal.authentication.value
        found["extauthz.principal_kind"] = verdict.principal.kind.value
    return _known(found)


def _attributes(verdict: Verdict, entrance: str) -> dict[str, SpanAttribute]:
    status = 200 if isinstance(verdict, Allowed | Preflight) else verdict.reason.http_status
    found: dict[str, SpanAttribute | None] = {
        "http.response.status_code": 403 if status == 503 and entrance == "http" else status
    }
    if verdict.target is not None:
        found["http.route"] = verdict.target.template
    request = verdict.request
    if request is not None:
        # OpenTelemetry's conventions for HTTP: another method is `_OTHER`.
        found["http.request.method"] = request.method if request.method in _KNOWN_METHODS else "_OTHER"
    if isinstance(request, RequestFacts):
        found["server.address"] = request.host
    call = _GRPC_ATTRIBUTES if entrance == "grpc" else {}
    return {**call, **decision_attributes(verdict, entrance), **_known(found)}


def _known(attributes: Mapping[str, SpanAttribute | None]) -> dict[str, SpanAttribute]:
    return {
        name: value[:_MAX_TEXT] if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }


def _error(verdict: Verdict) -> str | None:
    """Return why the check failed: a denial by rules or for a credential is an answer like another."""
    if isinstance(verdict, Denied) and verdict.effect is Effect.DENY:
        failed = verdict.reason is Reason.INTERNAL_ERROR or verdict.reason.http_status == 503
        return verdict.reason.value if failed else None
    return None

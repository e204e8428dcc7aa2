"""The thread of one process that exports spans, in batches.

Input: `Tracing`, a `Sender`. Output: OTLP requests. What cannot be delivered is counted as lost and logged
with its cause, at most once in `LOG_EVERY_S`; nothing that answers requests waits for it.

A batch that the collector may take later is sent again, after a pause that doubles, for `GIVE_UP_S` seconds.
What ends meanwhile waits in the bounded queue of `Tracing`.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from extauthz import __version__
from extauthz.telemetry.otlp import NotSent, Sender, Sent
from extauthz.telemetry.spans import EndedSpan, SpanAttribute, Tracing

LOG_EVERY_S: Final = 30.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
GIVE_UP_S: Final = 60.0
LAST_EXPORT_S: Final = 1.0
"""What the end of a process allows for the last batches."""
_LOOK_S: Final = 0.25
_STEP: Final = 16
"""Spans that are made without a pause: a fifth of a millisecond."""
_END: Final = "the process ends"
_SCOPE: Final = InstrumentationScope(name="extauthz", version=__version__)
# W3C 3.2.2.5, and OTLP's bit for a parent whose place is known (remote or not is not said).
_SAMPLED_FLAG: Final = 1

_log = structlog.get_logger("extauthz.traces")


class SpanExporter:
    """Exports until it is closed. `on_exported` and `on_loss` are called with numbers of spans."""

    def __init__(
        self,
        tracing: Tracing,
        sender: Sender,
        resource: Resource,
        *,
        timeout_s: float,
        every_s: float,
        batch: int,
        on_exported: Callable[[int], None],
        on_loss: Callable[[int], None],
    ) -> None:
        """Take what to export and how; one request may take `timeout_s` seconds."""
        self._tracing = tracing
        self._sender = sender
        self._resource = resource
        self._timeout_s = timeout_s
        self._every_s = every_s
        self._batch = batch
        self._on_exported = on_exported
        self._on_loss = on_loss
        self._closing = threading.Event()
        self._ends_at = float("inf")
        self._failing_since: float | None = None
        self._logged_at = float("-inf")
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, within_s: float = LAST_EXPORT_S) -> bool:
        """Export what waits, for `within_s` seconds at most; the rest is lost. Return whether none was."""
        lost = self._lost
        self._ends_at = time.monotonic() + within_s
        self._closing.set()
        self._thread.join(within_s)
        # A request that is under way ends by this.
        self._sender.close()
        self._thread.join(_LOOK_S)
        self._tracing.close()
        left = len(self._tracing.take(self._tracing.waiting))
        if left:
            self._lose(left, _END)
        if self._lost == lost:
            return True
        _log.warning("spans_not_exported", cause=_END, spans_lost=self._lost)
        return False

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wait()
            self._export()
        self._export()

    def _wait(self) -> None:
        """Wait for the next export: for its time, or for a whole batch."""
        until = time.monotonic() + self._every_s
        while (left := until - time.monotonic()) > 0 and self._tracing.waiting < self._batch:
            if self._closing.wait(min(left, _LOOK_S)):
                return

    def _export(self) -> None:
        while spans := self._taken():
            try:
                self._deliver(spans)
            except Exception:  # noqa: BLE001  # one batch is lost, never the thread
                _log.exception("spans_not_rendered")
                self._on_loss(len(spans))
            if not self._closing.is_set() and self._tracing.waiting < self._batch:
                return

    def _taken(self) -> list[EndedSpan]:
        found: list[EndedSpan] = []
        while (left := self._batch - len(found)) > 0 and (some := self._tracing.take(min(left, _STEP))):
            found += some
            _let_others_run()
        return found

    def _deliver(self, spans: Sequence[EndedSpan]) -> None:
        request = encoded(spans, self._resource)
        began, pause_s = time.monotonic(), FIRST_PAUSE_S
        for _ in itertools.count():
            within_s = min(self._timeout_s, self._ends_at - time.monotonic())
            if within_s <= 0:
                self._lose(len(spans), _END)
                return
            answer = self._sender.send(request, within_s)
            if isinstance(answer, Sent):
                self._delivered(len(spans), answer)
                return
            gone_s = time.monotonic() - began
            if not answer.again or gone_s + pause_s > GIVE_UP_S or self._closing.is_set():
                self._lose(len(spans), answer.cause)
                return
            self._tell(answer.cause)
            if self._closing.wait(self._pause(answer, pause_s)):
                pause_s = 0.0
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    @staticmethod
    def _pause(answer: NotSent, pause_s: float) -> float:
        return pause_s if answer.after_s is None else min(max(answer.after_s, pause_s), LONGEST_PAUSE_S)

    def _delivered(self, number: int, answer: Sent) -> None:
        rejected = min(answer.rejected, number)
        self._on_exported(number - rejected)
        if rejected:
            self._lose(rejected, f"the collector rejected them: {answer.detail}")
        elif self._failing_since is not None:
            _log.info("spans_exported_again", after_s=round(time.monotonic() - self._failing_since, 1))
            self._failing_since = None
            self._logged_at = float("-inf")

    def _lose(self, number: int, cause: str) -> None:
        self._on_loss(number)
        self._lost += number
        self._tell(cause)

    def _tell(self, cause: str) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        # The end says it itself, with the sum.
        if not self._closing.is_set() and now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            _log.warning("spans_not_exported", cause=cause, spans_lost=self._lost)


def encoded(spans: Sequence[EndedSpan], resource: Resource) -> bytes:
    """Return the octets of an ExportTraceServiceRequest."""
    scope = ScopeSpans(scope=_SCOPE)
    for at in range(0, len(spans), _STEP):
        scope.spans.extend(map(_span, spans[at : at + _STEP]))
        _let_others_run()
    request = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]
    )
    return request.SerializeToString()


def _let_others_run() -> None:
    """Give up the interpreter for a moment: a whole batch takes longer than a check may wait for it."""
    time.sleep(0)


def _span(span: EndedSpan) -> Span:
    return Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=b"" if span.parent_id is None else bytes.fromhex(span.parent_id),
        flags=_SAMPLED_FLAG,
        name=span.name,
        kind=span.kind.value,  # type: ignore[arg-type]  # the numbers are OTLP's
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[KeyValue(key=name, value=_value(value)) for name, value in span.attributes.items()],
        status=None if span.error is None else Status(code=Status.STATUS_CODE_ERROR, message=span.error),
    )


def _value(value: SpanAttribute) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    # A lone surrogate cannot be encoded.
    return AnyValue(string_value=value.encode("utf-8", "replace").decode())

"""Spans of one process: what is open, and the bounded queue of those that have ended.

Input: `Sampling`. Output: `EndedSpan`s and other `Spans`, for the thread that exports (`span_export`).
Nothing here waits or does I/O. Where the trace of a request is not recorded, there is no span.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from extauthz.domain.trace_context import TraceParent
from extauthz.telemetry.sampling import Sampling

SpanAttribute = str | int | bool
SpanAttributes = Mapping[str, SpanAttribute]


class SpanKind(IntEnum):
    """The kind of a span; the numbers are OTLP's."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


@dataclass(frozen=True, slots=True)
class EndedSpan:
    """A span to export; times are nanoseconds since 1970. `error` is why it failed, None where it did not."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: SpanAttributes
    error: str | None = None


class Spans(Protocol):
    """Something that ended, whose spans are made when they are exported."""

    @property
    def number(self) -> int:
        """How many spans there are."""

    def ended(self, new_id: Callable[[], str]) -> list[EndedSpan]:
        """Return the spans; `new_id` returns the id of a span."""


@dataclass(slots=True, eq=False)
class OpenSpan:
    """A span that has not ended; the members may be set until it does."""

    tracing: "Tracing"
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: SpanKind
    start_ns: int
    attributes: dict[str, SpanAttribute] = field(default_factory=dict)
    error: str | None = None
    end_ns: int = 0

    @property
    def number(self) -> int:
        """One span."""
        return 1

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of another service's."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def ended(self, _new_id: Callable[[], str]) -> list[EndedSpan]:
        """Return this span."""
        return [
            EndedSpan(
                self.trace_id,
                self.span_id,
                self.parent_id,
                self.name,
                self.kind,
                self.start_ns,
                self.end_ns,
                self.attributes,
                self.error,
            )
        ]

    def end(self) -> None:
        """End it now, and hand it over; once."""
        self.end_ns = self.start_ns + max(0, time.time_ns() - self.start_ns)
        self.tracing.hand_over(self)

    def child(self, name: str, kind: SpanKind, attributes: SpanAttributes) -> "OpenSpan":
        """Begin a span below this one."""
        return OpenSpan(
            self.tracing,
            self.trace_id,
            self.tracing.sampling.span_id(),
            self.span_id,
            name,
            kind,
            time.time_ns(),
            dict(attributes),
        )


_current: ContextVar[OpenSpan | None] = ContextVar("extauthz_span", default=None)


def current_span() -> OpenSpan | None:
    """Return the span that the running task or thread is in; None where nothing is traced."""
    return _current.get()


@contextmanager
def inside(span: OpenSpan | None) -> Iterator[None]:
    """Make a span the current one; with None nothing changes."""
    if span is None:
        yield
        return
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def running(span: OpenSpan | None) -> Iterator[OpenSpan | None]:
    """Make a span the current one, and end it; an exception is its error. With None nothing is traced."""
    if span is None:
        yield None
        return
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        span.error = span.error or type(error).__name__
        raise
    finally:
        _current.reset(token)
        span.end()


class Tracing:
    """Begins traces, and holds what has ended until it is exported; for any thread.

    At most `capacity` spans wait; `on_loss` is called with the number of those that find no place.
    """

    def __init__(
        self, sampling: Sampling, *, capacity: int, on_loss: Callable[[int], None] = lambda _: None
    ) -> None:
        """Take the sampler and the bound."""
        self.sampling = sampling
        self._capacity = capacity
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._waiting: deque[Spans] = deque()
        self._number = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many spans wait for their export."""
        return self._number

    def begin(
        self, name: str, kind: SpanKind, attributes: SpanAttributes, parent: TraceParent | None = None
    ) -> OpenSpan | None:
        """Begin a span below the current one, else below `parent`, else of a new trace; None: not sampled."""
        around = _current.get()
        if around is not None:
            return around.child(name, kind, attributes)
        trace_id = self.sampling.trace_id(parent)
        if trace_id is None:
            return None
        parent_id = None if parent is None else parent.span_id
        span_id = self.sampling.span_id()
        return OpenSpan(self, trace_id, span_id, parent_id, name, kind, time.time_ns(), dict(attributes))

    def hand_over(self, spans: Spans) -> None:
        """Keep spans for their export; beyond the bound they are lost, and counted."""
        number = spans.number
        with self._lock:
            taken = not self._closed and self._number + number <= self._capacity
            if taken:
                self._waiting.append(spans)
                self._number += number
        if not taken:
            self._on_loss(number)

    def take(self, most: int) -> list[EndedSpan]:
        """Return what waits, in the order in which it ended: about `most` spans."""
        found: list[EndedSpan] = []
        while len(found) < most:
            with self._lock:
                if not self._waiting:
                    break
                spans = self._waiting.popleft()
                self._number -= spans.number
            found += spans.ended(self.sampling.span_id)
        return found

    def close(self) -> None:
        """Take no more spans; those that end from now on are lost, and counted."""
        with self._lock:
            self._closed = True

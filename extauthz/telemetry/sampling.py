"""Decides which requests are traced, as `OTEL_TRACES_SAMPLER` says; for any thread."""

import os
import random
from typing import Final

from extauthz.domain.trace_context import TraceParent
from extauthz.settings import Sampler

_ALL: Final = 1 << 64


class Sampling:
    """A sampler. The share is of trace ids (their lower 64 bits), so that every service takes the same."""

    def __init__(self, sampler: Sampler, share: float | None = None, *, seed: bytes | None = None) -> None:
        """Take the sampler, and the share of those that have one; ids are unique, not secret."""
        self.asks_parent = sampler.asks_parent
        """Whether the parent's flag decides where there is a parent."""
        if sampler.has_ratio:
            self._bound = round((1.0 if share is None else share) * _ALL)
        else:
            self._bound = 0 if sampler in {Sampler.ALWAYS_OFF, Sampler.PARENT_ALWAYS_OFF} else _ALL
        # A system call for each id would cost more than the rest of a span.
        self._bits = random.Random(os.urandom(32) if seed is None else seed).getrandbits  # noqa: S311

    def new_trace_id(self) -> str | None:
        """Return the id of a trace that begins; None: it is not traced."""
        low = self._bits(64)
        return None if low >= self._bound else f"{self._bits(64) or 1:016x}{low:016x}"

    def trace_id(self, parent: TraceParent | None) -> str | None:
        """Return the id of the trace that a request belongs to, or begins; None: it is not traced."""
        if parent is None:
            return self.new_trace_id()
        if self.asks_parent:
            return parent.trace_id if parent.sampled else None
        return parent.trace_id if int(parent.trace_id[16:], 16) < self._bound else None

    def span_id(self) -> str:
        """Return the id of a new span."""
        return f"{self._bits(64) or 1:016x}"

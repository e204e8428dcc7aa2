"""Renders the lines of one instance through structlog as JSON bytes, and numbers them.

INVARIANT: `seq` counts every line and every lost decision. The numbers of lost decisions are skipped only
directly before a line that says `decisions_lost`, so at each such line
`seq == lines written so far + decisions_lost`, and any other gap means that a line was lost after it was
written.

INVARIANT: the sum of `sampled_out_since_last` over all written lines is the number of allows that sampling
left out before the last of them. A line that could not be written gives its count back to the next one.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import structlog

from extauthz.decide.record import decision_fields, rfc3339
from extauthz.decisionlog.chain import BEGINNING, Chain
from extauthz.decisionlog.masks import Masks
from extauthz.domain.reasons import Effect
from extauthz.domain.verdict import NamedVerdict, Verdict

_MAX_DEPTH: Final = 16
_INT64: Final = range(-(2**63), 2**64)
_IDS: Final = 2**32
_BELOW_ONE: Final = 1 - 1 / _IDS
# Looked up in its class, a member of an enumeration costs a call.
_ALLOW: Final = Effect.ALLOW


LogEntry = tuple[Verdict | NamedVerdict, float, str, int]
"""One decision on its way to the log: verdict, ts (POSIX seconds), entrance, duration_us."""


class LogPosition(NamedTuple):
    """The state of the numbering after a line.

    `seq` is the last number used, `lost` how many losses it has skipped, `reported` how many of the allows
    that sampling left out some line has counted, and `chain` the hash of the line.
    """

    seq: int = 0
    lost: int = 0
    reported: int = 0
    chain: str = BEGINNING


class LineForm(NamedTuple):
    """What the settings demand of lines: masks, the share of allows that get a line, and a chain."""

    masks: Masks | None = None
    sample_allows: float = 1.0
    chain: Chain | None = None


class Lines:
    """Renders lines, each with the next number. Used by one thread.

    A line that could not be written is taken back by setting `position` to what it was before, or by
    `back_to`.
    """

    def __init__(self, instance: UUID, worker: int, form: LineForm | None = None) -> None:
        """Number the lines of `instance`, the start of worker number `worker`."""
        form = form or LineForm()
        self.instance = str(instance)
        start = LogPosition()
        self._seq, self._lost, self._reported = start.seq, start.lost, start.reported
        self._left_out = 0
        self._masks, self._share, self._chain = form.masks, form.sample_allows, form.chain
        self.samples = self._share < 1
        self._below = f"{int(min(self._share, _BELOW_ONE) * _IDS):08x}"
        self._logger = _LineLogger(
            None, [self._complete, _render], {"instance": self.instance, "worker": worker}
        )

    @property
    def algorithm(self) -> str | None:
        """The algorithm of the chain; None without one."""
        return None if self._chain is None else self._chain.algorithm

    @property
    def position(self) -> LogPosition:
        """The state of the numbering."""
        chain = BEGINNING if self._chain is None else self._chain.head
        return LogPosition(self._seq, self._lost, self._reported, chain)

    @position.setter
    def position(self, position: LogPosition) -> None:
        self._seq, self._lost, self._reported = position.seq, position.lost, position.reported
        if self._chain is not None:
            self._chain.head = position.chain

    def after(self, before: LogPosition, written: Sequence[bytes]) -> LogPosition:
        """Return the position after the lines that were written since `before`."""
        if not written:
            return before
        last = orjson.loads(written[-1])
        reported = before.reported
        if self._left_out:
            reported += sum(orjson.loads(line).get("sampled_out_since_last", 0) for line in written)
        chain = before.chain if self._chain is None else last["chain"].rpartition(":")[2]
        return LogPosition(last["seq"], last.get("decisions_lost", before.lost), reported, chain)

    def leaves_out(self, verdict: Verdict | NamedVerdict) -> bool:
        """Tell whether an allow gets no line, and count it for the next line.

        The last 32 bits of its id, which are random, decide.
        """
        if verdict.decision_id[-8:] < self._below or verdict.effect is not _ALLOW:
            return False
        self._left_out += 1
        return True

    def started(self, ts: float) -> bytes:
        """Return the line that opens an instance's log."""
        return self._numbered({**_head(ts, "log_started"), "sample_allows": self._share})

    def decision(self, entry: LogEntry) -> bytes:
        """Return the line of one decision."""
        verdict, ts, entrance, duration_us = entry
        fields = decision_fields(verdict, ts=ts, entrance=entrance, duration_us=duration_us)
        masks = self._masks
        subject = None if masks is None else masks.apply(fields)
        fields["sampled_out_since_last"] = self._left_out - self._reported
        line = self._logger.line(fields)
        if subject is not None and masks is not None and masks.mask_repeated(fields, subject, line):
            line = self._logger.line(fields)
        if self._chain is not None:
            line = self._chain.add(line)
        self._seq += 1
        self._reported = self._left_out
        return line

    def heartbeat(self, ts: float, decisions_lost: int) -> bytes:
        """Return the line of each second; `decisions_lost` is the instance's total so far."""
        return self._totals(ts, "log_heartbeat", decisions_lost)

    def stopped(self, ts: float, decisions_lost: int) -> bytes:
        """Return the line that ends an instance's log."""
        return self._totals(ts, "log_stopped", decisions_lost)

    def _totals(self, ts: float, event: str, decisions_lost: int) -> bytes:
        self._skip(decisions_lost)
        left_out = self._left_out - self._reported
        line = self._numbered(
            {**_head(ts, event), "decisions_lost": decisions_lost, "sampled_out_since_last": left_out}
        )
        self._reported = self._left_out
        return line

    def _numbered(self, fields: dict[str, object]) -> bytes:
        line = self._logger.line(fields)
        if self._chain is not None:
            line = self._chain.add(line)
        self._seq += 1
        return line

    def _skip(self, decisions_lost: int) -> None:
        self._seq += decisions_lost - self._lost
        self._lost = decisions_lost

    def _complete(self, _: object, __: str, event_dict: MutableMapping[str, Any]) -> dict[str, object]:
        fields: dict[str, object] = event_dict["event"]
        fields["instance"] = event_dict["instance"]
        fields["worker"] = event_dict["worker"]
        fields["seq"] = self._seq + 1
        return fields


class _LineLogger(structlog.BoundLoggerBase):
    """The bound logger of an instance; made once, so that a line costs only its own fields.

    It wraps no logger: what its processors render is returned, and the destination writes it.
    """

    def line(self, fields: dict[str, object]) -> bytes:
        """Run the processors over the fields of one line."""
        rendered: bytes = self._process_event("line", fields, {})[0][0]  # type: ignore[arg-type]
        return rendered


def _head(ts: float, event: str) -> dict[str, object]:
    return {"ts": rfc3339(ts), "event": event, "instance": None, "worker": None, "seq": None}


def _render(_: object, __: str, fields: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields, default=_plain, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # A lone surrogate, a number beyond 64 bits, too deep: still one line, with those values as text.
        return orjson.dumps(_as_text(fields, _MAX_DEPTH), option=orjson.OPT_APPEND_NEWLINE)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _as_text(value: object, depth: int) -> object:
    match value:
        case None | bool() | float():
            return value
        case int() if value in _INT64:
            return value
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping() if depth:
            return {_as_text(str(name), 0): _as_text(member, depth - 1) for name, member in value.items()}
        case list() | tuple() if depth:
            return [_as_text(member, depth - 1) for member in value]
        case _:
            return _as_text(str(value), 0)

"""Renders the lines of one instance through structlog as JSON bytes, and numbers them.

INVARIANT: `seq` counts every line and every lost decision. The numbers of lost decisions are skipped only
directly before a line that says `decisions_lost`, so at each such line
`seq == lines written so far + decisions_lost`, and any other gap means that a line was lost after it was
written.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import structlog

from extauthz.decide.record import decision_fields, rfc3339
from extauthz.domain.verdict import NamedVerdict, Verdict

_MAX_DEPTH: Final = 16
_INT64: Final = range(-(2**63), 2**64)


Entry = tuple[Verdict | NamedVerdict, float, str, int]
"""One decision on its way to the log: verdict, ts (POSIX seconds), entrance, duration_us."""


class LogPosition(NamedTuple):
    """The state of the numbering: the last number used, and how many losses it has skipped."""

    seq: int = 0
    lost: int = 0


class Lines:
    """Renders lines, each with the next number. Used by one thread.

    A line that could not be written is taken back by setting `position` to what it was before.
    """

    def __init__(self, instance: UUID, worker: int) -> None:
        self._seq, self._lost = LogPosition()
        self._logger = _LineLogger(
            None, [self._complete, _render], {"instance": str(instance), "worker": worker}
        )

    @property
    def position(self) -> LogPosition:
        """The state of the numbering."""
        return LogPosition(self._seq, self._lost)

    @position.setter
    def position(self, position: LogPosition) -> None:
        self._seq, self._lost = position

    def started(self, ts: float) -> bytes:
        """Return the line that opens an instance's log."""
        return self._numbered(_head(ts, "log_started"))

    def decision(self, entry: Entry) -> bytes:
        """Return the line of one decision."""
        verdict, ts, entrance, duration_us = entry
        return self._numbered(decision_fields(verdict, ts=ts, entrance=entrance, duration_us=duration_us))

    def heartbeat(self, ts: float, decisions_lost: int) -> bytes:
        """Return the line of each second; `decisions_lost` is the instance's total so far."""
        self._skip(decisions_lost)
        return self._numbered({**_head(ts, "log_heartbeat"), "decisions_lost": decisions_lost})

    def stopped(self, ts: float, decisions_lost: int) -> bytes:
        """Return the line that ends an instance's log."""
        self._skip(decisions_lost)
        return self._numbered({**_head(ts, "log_stopped"), "decisions_lost": decisions_lost})

    def _numbered(self, fields: dict[str, object]) -> bytes:
        line = self._logger.line(fields)
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

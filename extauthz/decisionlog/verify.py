"""Verifies that a decision log is complete: counts, gaps and schema errors, for any number of instances.

Lost decisions take a number each, and the next heartbeat or stop line says how many there are in total
(`lines.py`). So numbers missing beyond `decisions_lost` belong to lines that were written and are gone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson

from extauthz.decisionlog.schema import line_problems

MAX_LISTED: Final = 100
"""The most gaps, and the most errors, that are listed; all are counted."""

_BEGINNING: Final = b'{"ts":"'


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers `first` to `last` of an instance are missing in front of line `line`."""

    instance: str
    first: int
    last: int
    line: int
    explained: bool


@dataclass(frozen=True, slots=True)
class SchemaError:
    """What is wrong with line `line`, counted from 1."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """The lines of one process start."""

    instance: str
    worker: int
    lines: int
    decisions: int
    last_seq: int
    missing: int
    decisions_lost: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class LogReport:
    """The result for a file. `unfinished_lines` are lines that a killed writer or a full disk cut off."""

    lines: int
    decisions: int
    instances: tuple[InstanceSummary, ...]
    gaps: tuple[Gap, ...]
    unexplained_gaps: int
    schema_errors: tuple[SchemaError, ...]
    schema_error_count: int
    unfinished_lines: tuple[int, ...]
    without_stop_line: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when no gap is unexplained and every finished line fits the schema."""
        return self.unexplained_gaps == 0 and self.schema_error_count == 0

    def as_json(self) -> bytes:
        """Return the report as one JSON object, `ok` first."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return orjson.dumps({"ok": self.ok} | fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def verify(lines: Iterable[bytes]) -> LogReport:
    """Judge the lines of a decision log, in the order they were written.

    `lines` are as a binary file yields them. A line that stops in the middle is only reported: it is the
    end of a writer that was killed, and if that writer went on, the gap tells.
    """
    return _Verification().run(lines)


@dataclass(slots=True)
class _Instance:
    worker: int
    lines: int = 0
    decisions: int = 0
    last_seq: int = 0
    decisions_lost: int = 0
    stopped: bool = False
    missing: int = 0
    explained: int = 0
    open_gaps: list[tuple[int, int, int]] = field(default_factory=list)


class _Verification:
    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}
        self._gaps: list[Gap] = []
        self._unexplained = 0
        self._errors: list[SchemaError] = []
        self._error_count = 0
        self._unfinished: list[int] = []

    def run(self, lines: Iterable[bytes]) -> LogReport:
        number = 0
        for number, raw in enumerate(lines, start=1):
            self._line(number, raw)
        for name, instance in self._instances.items():
            self._settle(name, instance)
        return LogReport(
            lines=number,
            decisions=sum(one.decisions for one in self._instances.values()),
            instances=tuple(
                InstanceSummary(
                    instance=name,
                    worker=one.worker,
                    lines=one.lines,
                    decisions=one.decisions,
                    last_seq=one.last_seq,
                    missing=one.missing,
                    decisions_lost=one.decisions_lost,
                    stopped=one.stopped,
                )
                for name, one in self._instances.items()
            ),
            gaps=tuple(self._gaps),
            unexplained_gaps=self._unexplained,
            schema_errors=tuple(self._errors),
            schema_error_count=self._error_count,
            unfinished_lines=tuple(self._unfinished),
            without_stop_line=tuple(name for name, one in self._instances.items() if not one.stopped),
        )

    def _line(self, number: int, raw: bytes) -> None:
        text = raw.rstrip(b"\n")
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if _cut_off(text):
                self._unfinished.append(number)
            else:
                self._error(number, f"not JSON: {error}")
            return
        if not isinstance(line, dict):
            self._error(number, "not a JSON object")
            return
        for problem in line_problems(line):
            self._error(number, problem)
        self._count(number, line)

    def _count(self, number: int, line: dict[str, object]) -> None:
        """Number a line even when other fields of it are wrong, so that one fault is reported once."""
        name, seq, worker = line.get("instance"), line.get("seq"), line.get("worker")
        if not isinstance(name, str) or not isinstance(seq, int) or not isinstance(worker, int):
            return
        instance = self._instances.setdefault(name, _Instance(worker))
        if seq <= instance.last_seq:
            self._error(number, f"seq: {seq} does not follow {instance.last_seq}")
            return
        if instance.stopped:
            self._error(number, "event: after the stop line of its instance")
        if instance.worker != worker:
            self._error(number, f"worker: {worker}, but the instance began as {instance.worker}")
        if seq > 1 and line.get("event") == "log_started":
            self._error(number, "event: log_started is only ever the first line of its instance")
        if seq > instance.last_seq + 1:
            instance.open_gaps.append((instance.last_seq + 1, seq - 1, number))
            instance.missing += seq - 1 - instance.last_seq
        instance.last_seq = seq
        instance.lines += 1
        instance.decisions += line.get("event") == "decision"
        instance.stopped = instance.stopped or line.get("event") == "log_stopped"
        lost = line.get("decisions_lost")
        if isinstance(lost, int):
            instance.decisions_lost = max(instance.decisions_lost, lost)
            self._settle(name, instance)

    def _settle(self, name: str, instance: _Instance) -> None:
        """Judge the gaps since the last line that said how much was lost."""
        for first, last, line in instance.open_gaps:
            size = last - first + 1
            explained = instance.explained + size <= instance.decisions_lost
            instance.explained += size if explained else 0
            self._unexplained += not explained
            if len(self._gaps) < MAX_LISTED:
                self._gaps.append(Gap(name, first, last, line, explained))
        instance.open_gaps.clear()

    def _error(self, number: int, problem: str) -> None:
        self._error_count += 1
        if len(self._errors) < MAX_LISTED:
            self._errors.append(SchemaError(number, problem))


def _cut_off(text: bytes) -> bool:
    """Tell whether bytes that are not JSON are the beginning of a line of ours."""
    return (
        bool(text)
        and (text.startswith(_BEGINNING) or _BEGINNING.startswith(text))
        and not text.endswith(b"}")
    )

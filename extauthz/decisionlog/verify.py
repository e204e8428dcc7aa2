"""Verifies that a decision log is complete: counts, gaps, schema errors and hash chains of all instances.

Lost decisions take a number each, and the next heartbeat or stop line says how many there are in total
(`lines.py`). So numbers missing beyond `decisions_lost` belong to lines that were written and are gone.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from extauthz.decisionlog.chain import BEGINNING
from extauthz.decisionlog.chain_check import ChainCheck, InstanceChain
from extauthz.decisionlog.heads import LogHead
from extauthz.decisionlog.reading import MAX_LINE, LogLine
from extauthz.decisionlog.report import ChainError, Gap, InstanceSummary, LogReport, SchemaError
from extauthz.decisionlog.schema import line_problems

MAX_LISTED: Final = 100
"""The most gaps, and the most errors, that are listed; all are counted."""

_REMEMBERED: Final = 4096
"""Lines of an instance that a repetition is recognized by: a collector gets at most 1,024 again."""

_BEGINNING: Final = b'{"ts":"'
_AFTER_ITS_END: Final = re.compile(rb',"chain":"(?:hmac-)?sha256:[0-9a-f]{64}".', re.DOTALL)
"""A chained line that goes on after its last member was not cut off there."""


def verify(
    lines: Iterable[LogLine],
    *,
    keys: Sequence[str] = (),
    chained: bool = False,
    after: Sequence[LogHead] = (),
    heads: Sequence[LogHead] = (),
    collected: bool = False,
) -> LogReport:
    """Judge the lines of a decision log, in the order they were written.

    `keys` are those of keyed chains; with a key, or if `chained`, every line must be chained. `after` are
    heads that an earlier part of the log ended with, `heads` those that this log must contain. `collected`: a
    collector may have stored lines twice; the second ones are only counted. A line that
    stops in the middle is only reported: it is the end of a writer that was killed, and if that writer went
    on, the gap tells.
    """
    check = ChainCheck(keys, required=chained)
    return _Verification(check, after, heads, collected=collected).run(lines)


@dataclass(slots=True)
class _Instance:
    worker: int
    chain: InstanceChain
    lines: int = 0
    decisions: int = 0
    sampled_out: int = 0
    last_seq: int = 0
    decisions_lost: int = 0
    stopped: bool = False
    missing: int = 0
    explained: int = 0
    open_gaps: list[tuple[int, int, LogLine]] = field(default_factory=list)
    recent: dict[int, bytes] = field(default_factory=dict)


class _Verification:
    def __init__(
        self, check: ChainCheck, after: Sequence[LogHead], heads: Sequence[LogHead], *, collected: bool
    ) -> None:
        self._check = check
        self._collected = collected
        self._repeated = 0
        self._after = {head.instance: head for head in after}
        self._heads = {(head.instance, head.seq): head for head in heads}
        self._instances: dict[str, _Instance] = {}
        self._gaps: list[Gap] = []
        self._unexplained = 0
        self._errors: list[SchemaError] = []
        self._error_count = 0
        self._chain_errors: list[ChainError] = []
        self._chain_error_count = 0
        self._unfinished: list[int] = []

    def run(self, lines: Iterable[LogLine]) -> LogReport:
        number = 0
        for line in lines:
            number += 1
            self._line(line)
        for name, instance in self._instances.items():
            self._settle(name, instance)
        for head in self._heads.values():
            # What is left was in no line.
            self._chain_error(
                head.instance, None, f"the line with seq {head.seq}, which was there, is missing"
            )
        return LogReport(
            lines=number,
            decisions=sum(one.decisions for one in self._instances.values()),
            decisions_lost=sum(one.decisions_lost for one in self._instances.values()),
            sampled_out=sum(one.sampled_out for one in self._instances.values()),
            instances=tuple(
                InstanceSummary(
                    instance=name,
                    worker=one.worker,
                    lines=one.lines,
                    decisions=one.decisions,
                    last_seq=one.last_seq,
                    missing=one.missing,
                    decisions_lost=one.decisions_lost,
                    sampled_out=one.sampled_out,
                    stopped=one.stopped,
                    head=one.chain.shown,
                )
                for name, one in self._instances.items()
            ),
            gaps=tuple(self._gaps),
            unexplained_gaps=self._unexplained,
            schema_errors=tuple(self._errors),
            schema_error_count=self._error_count,
            chain_errors=tuple(self._chain_errors),
            chain_error_count=self._chain_error_count,
            repeated_lines=self._repeated,
            unfinished_lines=tuple(self._unfinished),
            without_stop_line=tuple(name for name, one in self._instances.items() if not one.stopped),
        )

    def _line(self, at: LogLine) -> None:
        text = at.raw.removesuffix(b"\n")
        if not at.whole:
            self._error(at, f"longer than {MAX_LINE} bytes")
            return
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if _cut_off(text):
                self._unfinished.append(at.number)
            else:
                self._error(at, f"not JSON: {error}")
            return
        if not isinstance(line, dict):
            self._error(at, "not a JSON object")
            return
        for problem in line_problems(line):
            self._error(at, problem)
        self._count(at, text, line)

    def _count(self, at: LogLine, text: bytes, line: dict[str, object]) -> None:
        """Number a line even when other fields of it are wrong, so that one fault is reported once."""
        name, seq, worker = line.get("instance"), line.get("seq"), line.get("worker")
        if not isinstance(name, str) or not isinstance(seq, int) or not isinstance(worker, int):
            return
        instance = self._instances.get(name)
        if instance is None:
            instance = self._instances[name] = self._first(name, seq, worker)
        if self._collected and self._is_repeated(instance, seq, text):
            self._repeated += 1
            return
        if seq <= instance.last_seq:
            self._error(at, f"seq: {seq} does not follow {instance.last_seq}")
            return
        if instance.stopped:
            self._error(at, "event: after the stop line of its instance")
        if instance.worker != worker:
            self._error(at, f"worker: {worker}, but the instance began as {instance.worker}")
        if seq > 1 and line.get("event") == "log_started":
            self._error(at, "event: log_started is only ever the first line of its instance")
        if seq > instance.last_seq + 1:
            instance.open_gaps.append((instance.last_seq + 1, seq - 1, at))
            instance.missing += seq - 1 - instance.last_seq
        broken = self._check.problem(instance.chain, text)
        if broken is not None:
            self._chain_error(name, at, broken)
        self._meet(name, seq, instance, at)
        instance.last_seq = seq
        instance.lines += 1
        instance.decisions += line.get("event") == "decision"
        left_out = line.get("sampled_out_since_last")
        instance.sampled_out += left_out if isinstance(left_out, int) else 0
        instance.stopped = instance.stopped or line.get("event") == "log_stopped"
        lost = line.get("decisions_lost")
        if isinstance(lost, int):
            instance.decisions_lost = max(instance.decisions_lost, lost)
            self._settle(name, instance)

    @staticmethod
    def _is_repeated(instance: _Instance, seq: int, text: bytes) -> bool:
        """Tell whether a line is one of the last ones again, byte for byte; else remember it."""
        recent = instance.recent
        if recent.get(seq) == text:
            return True
        recent[seq] = text
        if len(recent) > _REMEMBERED:
            del recent[next(iter(recent))]
        return False

    def _first(self, name: str, seq: int, worker: int) -> _Instance:
        """Begin an instance at its first line here: the first of all, or the one after a known head."""
        head = self._after.get(name)
        if head is not None and head.seq < seq:
            chain = InstanceChain(None if head.chain is None else head.chain.rpartition(":")[2])
            lost = head.decisions_lost
            return _Instance(worker, chain, last_seq=head.seq, decisions_lost=lost, explained=lost)
        return _Instance(worker, InstanceChain(BEGINNING))

    def _meet(self, name: str, seq: int, instance: _Instance, at: LogLine) -> None:
        head = self._heads.pop((name, seq), None)
        if head is not None and head.chain != instance.chain.shown:
            self._chain_error(name, at, f"its hash is not {head.chain}, the one of the head")

    def _settle(self, name: str, instance: _Instance) -> None:
        """Judge the gaps since the last line that said how much was lost."""
        for first, last, at in instance.open_gaps:
            size = last - first + 1
            explained = instance.explained + size <= instance.decisions_lost
            instance.explained += size if explained else 0
            self._unexplained += not explained
            if len(self._gaps) < MAX_LISTED:
                self._gaps.append(Gap(name, first, last, at.number, explained, at.file))
        instance.open_gaps.clear()

    def _error(self, at: LogLine, problem: str) -> None:
        self._error_count += 1
        if len(self._errors) < MAX_LISTED:
            self._errors.append(SchemaError(at.number, problem, at.file))

    def _chain_error(self, instance: str, at: LogLine | None, problem: str) -> None:
        self._chain_error_count += 1
        if len(self._chain_errors) < MAX_LISTED:
            place = (None, None) if at is None else (at.number, at.file)
            self._chain_errors.append(ChainError(instance, place[0], problem, place[1]))


def _cut_off(text: bytes) -> bool:
    """Tell whether bytes that are not JSON are the beginning of a line of ours."""
    return (
        bool(text)
        and _AFTER_ITS_END.search(text) is None
        and (text.startswith(_BEGINNING) or _BEGINNING.startswith(text))
        and not text.endswith(b"}")
    )

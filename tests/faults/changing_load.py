"""The standing load with renewed tokens, and with requests whose right answer changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from tests.faults.oracle import NOT_ANSWERED, UNAVAILABLE, Question, Verdict, standing_load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ARRIVES_WITHIN_S = 2.0
"""After the answer to its write; the promise is one second, on a machine that runs nothing else."""


class Timeline:
    """The right statuses of one question over time; one thread changes it, many ask."""

    def __init__(self, status: int, *, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with the status that is right by now."""
        self.now = now
        self._lock = threading.Lock()
        self._spans: list[tuple[float, float, int]] = [(0.0, float("inf"), status)]

    def change(self, status: int, write: Callable[[], object]) -> None:
        """Write a change; from its beginning until it has to have arrived both statuses are right."""
        began = self.now()
        with self._lock:
            self._spans.append((began, float("inf"), status))
        write()
        settled = self.now() + ARRIVES_WITHIN_S
        with self._lock:
            kept = [(first, min(last, settled), was) for first, last, was in self._spans[:-1]]
            self._spans = [*kept[-4:], self._spans[-1]]

    def right(self, began: float, ended: float) -> set[int]:
        """Return the statuses that were right at some time of a request."""
        with self._lock:
            return {status for first, last, status in self._spans if first <= ended and last >= began}


@dataclass(frozen=True, slots=True)
class TimedQuestion(Question):
    """A question that was asked at a time, and is judged by what was right until its answer."""

    timeline: Timeline | None = None
    began: float = 0.0

    def judge(self, status: int) -> Verdict:
        """Compare an answer with the statuses that were right meanwhile."""
        assert self.timeline is not None
        if status in self.timeline.right(self.began, self.timeline.now()):
            return Verdict.RIGHT
        if status in {UNAVAILABLE, NOT_ANSWERED}:
            return Verdict.UNAVAILABLE
        return Verdict.WRONG_ALLOW if status < 400 else Verdict.WRONG_DENY


@dataclass(frozen=True, slots=True)
class Changing:
    """A question whose answer changes: alice asks for a path."""

    name: str
    path: str
    timeline: Timeline


class ChangingLoad(Sequence[Question]):
    """The standing load, and the changing questions, with the newest tokens; each access is one request."""

    def __init__(self, tokens: Mapping[str, str], changing: Sequence[Changing]) -> None:
        """Begin with these tokens."""
        self._changing = changing
        self._alice = tokens["alice"]
        self._standing = tuple(standing_load(tokens))

    def renew(self, tokens: Mapping[str, str]) -> None:
        """Use other tokens from now on."""
        self._alice = tokens["alice"]
        self._standing = tuple(standing_load(tokens))

    def renew_alice(self, token: str) -> None:
        """Ask the changing questions with another token of alice from now on."""
        self._alice = token

    def __len__(self) -> int:
        return len(self._standing) + len(self._changing)

    @overload
    def __getitem__(self, index: int) -> Question: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Question]: ...

    def __getitem__(self, index: int | slice) -> Question | Sequence[Question]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        standing = self._standing
        if index < len(standing):
            return standing[index]
        asked = self._changing[index - len(standing)]
        return TimedQuestion(
            asked.name, asked.path, 0, self._alice, timeline=asked.timeline, began=asked.timeline.now()
        )

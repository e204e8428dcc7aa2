"""A soak: real Envoy and PostgreSQL and `serve` with three workers, for `SOAK_S` seconds (`make soak`).

Meanwhile rules and policies change over REST, tokens are renewed, the identity provider rotates its keys, and
two of the workers are ended in turn (SIGKILL, SIGTERM). The soak fails when

- an answer is wrong, or Envoy did not answer,
- a request is unavailable (503) although no worker ended and no keys rotated in the seconds before,
- the worker that is not ended grew by 5 % after the warm-up, or new workers are larger by 5 % than earlier
  ones of the same age,
- a change failed, or the decision log has a gap that it does not explain.

The result goes to the file `SOAK_RESULT`, or to the results of the benchmarks.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.measuring import MachineLoad, keep
from tests.faults.load import Load
from tests.faults.mesh import FaultyStack, faulty_stack
from tests.faults.oracle import NOT_ANSWERED, UNAVAILABLE, Verdict
from tests.faults.soak_changes import KEPT_WORKER, Changes
from tests.faults.worker_processes import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.load import Tally

WORKERS: Final = 3
PAUSE_S: Final = 0.008
"""Of each client between two requests: the whole decision log is kept."""

RECOVERS_S: Final = 6.0
"""For so long after the end of a worker Envoy may still try it, whose health it asks every second."""

KEYS_FETCHED_S: Final = 3.0
"""For so long after a rotation of keys a token can be the first with the new ones; its check waits 0.15 s."""

_NOTHING: Final = "nothing"
SHOWN_EVERY_S: Final = 10.0
SAMPLED_EVERY_S: Final = 1.0
MOST_GROWTH: Final = 0.05
SAME_AGE_S: Final = 20.0


@dataclass
class Findings:
    """What was answered, and how much memory the workers had."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    """Answers that were not right."""
    not_answered: int = 0
    unavailable: Counter[str] = field(default_factory=Counter)
    """Unavailable requests by what came before: the end of a worker, new keys, or nothing."""
    kept: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, bytes) of the worker that is not ended."""
    same_age: list[int] = field(default_factory=list)
    """Bytes of each other worker when it was `SAME_AGE_S` old."""

    @property
    def unexplained(self) -> int:
        """How many requests were unavailable for no reason that the soak gave."""
        return self.unavailable[_NOTHING]

    def add(self, tally: Tally, *, ended_s: float, rotated_s: float) -> None:
        """Count answers; a worker ended and keys rotated the given seconds before."""
        before = (
            "the end of a worker"
            if ended_s <= RECOVERS_S
            else "new keys"
            if rotated_s <= KEYS_FETCHED_S
            else _NOTHING
        )
        self.verdicts.update(tally.verdicts)
        for (name, right, status), count in tally.others.items():
            self.others[f"{name}: {status} instead of {right or 'what is right by then'}"] += count
            if status == NOT_ANSWERED:
                self.not_answered += count
            elif status == UNAVAILABLE:
                self.unavailable[before] += count

    @property
    def wrong(self) -> int:
        """How many answers were wrong."""
        return self.verdicts[Verdict.WRONG_ALLOW] + self.verdicts[Verdict.WRONG_DENY]


class Memory:
    """Samples the resident memory of the workers."""

    def __init__(self, stack: FaultyStack, found: Findings) -> None:
        """Begin; the samples go to `found`."""
        self._stack = stack
        self._found = found
        self._seen_at: dict[int, float] = {}

    def sample(self, now: float) -> None:
        """Take one sample of each worker."""
        for pid in self._stack.workers_pids():
            resident = resident_bytes(pid)
            if resident is None:
                continue
            if number_of(pid) == KEPT_WORKER:
                self._found.kept.append((now, resident))
                continue
            born = self._seen_at.setdefault(pid, now)
            if now - born >= SAME_AGE_S:
                self._found.same_age.append(resident)
                self._seen_at[pid] = float("inf")


def run(stack: FaultyStack, seconds: float) -> tuple[Findings, Changes]:
    """Run the soak until the time is over, or a change failed."""
    found, changes = Findings(), Changes(stack)
    memory = Memory(stack, found)
    with Load(stack.envoy_port, changes.questions, pause_s=PAUSE_S) as load:
        load.await_right_answers(within_s=30)
        load.take()
        began = time.monotonic()
        shown = now = 0.0
        with changes.going_on():
            while now < seconds and not changes.over.wait(SAMPLED_EVERY_S):
                now = time.monotonic() - began
                at = time.monotonic()
                found.add(
                    load.take(),
                    ended_s=at - changes.worker_ended_at,
                    rotated_s=at - changes.keys_rotated_at,
                )
                memory.sample(now)
                if now - shown >= SHOWN_EVERY_S:
                    shown = now
                    print(shown_line(now, found, changes), flush=True)
    return found, changes


def shown_line(now: float, found: Findings, changes: Changes) -> str:
    """Return the progress as one line."""
    resident = found.kept[-1][1] / 1e6 if found.kept else 0.0
    made = ", ".join(f"{count} {what}" for what, count in changes.made.items())
    return (
        f"{now:6.0f} s {found.verdicts.total():8} requests, {found.verdicts[Verdict.RIGHT]} right,"
        f" {found.verdicts[Verdict.UNAVAILABLE]} unavailable, {found.wrong} wrong;"
        f" worker {KEPT_WORKER}: {resident:.1f} MB; {made}"
    )


def grown(values: Sequence[int]) -> float | None:
    """Return by which share the last tenth of some values exceeds the first tenth; None for too few."""
    if len(values) < 4:
        return None
    part = max(2, len(values) // 10)
    return round(statistics.median(values[-part:]) / statistics.median(values[:part]) - 1, 4)


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") or None


def log_problem(stack: FaultyStack) -> str | None:
    """Verify the decision log of the whole run; return what is wrong."""
    stack.child("extauthz").stop(grace_s=10)
    command = [sys.executable, "-m", "extauthz", "logs", "verify", str(stack.decision_log)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return (
        None if finished.returncode == 0 else f"the decision log: {finished.stdout}{finished.stderr}"[:2000]
    )


def logged_reasons(stack: FaultyStack) -> dict[str, int]:
    """Return how many decisions were logged for each reason."""
    reasons: Counter[str] = Counter()
    with stack.decision_log.open("rb") as lines:
        for line in lines:
            if b'"event":"decision"' in line and line.endswith(b"}\n"):
                reasons[str(json.loads(line)["reason"])] += 1
    return dict(reasons.most_common())


def problems(found: Findings, growths: dict[str, float | None], changes: Changes) -> list[str]:
    """Return why the soak failed; nothing: it passed."""
    said = [f"a change failed: {type(each).__name__}: {each}" for each in changes.failures]
    if found.wrong:
        said.append(f"{found.wrong} wrong answers")
    if found.not_answered:
        said.append(f"{found.not_answered} requests were not answered")
    if found.unexplained:
        said.append(f"{found.unexplained} requests were unavailable for no known reason")
    said += [
        f"the memory of {process} grew by {growth:.1%}"
        for process, growth in growths.items()
        if growth is not None and growth > MOST_GROWTH
    ]
    return said


def main() -> int:
    """Run the soak; the exit code is 1 when it failed."""
    seconds = float(os.environ.get("SOAK_S") or 1800)
    warm_s = min(max(60.0, 0.2 * seconds), seconds / 2)
    machine = MachineLoad()
    with faulty_stack(workers=WORKERS) as stack:
        found, changes = run(stack, seconds)
        load = machine.document()
        unverified = log_problem(stack)
        reasons = logged_reasons(stack)
    growths = {
        "the worker that was not ended": grown([size for now, size in found.kept if now >= warm_s]),
        "new workers": grown(found.same_age),
    }
    failed = problems(found, growths, changes) + ([unverified] if unverified else [])
    numbers = {
        "seconds": seconds,
        "warm_up_s": warm_s,
        "workers": WORKERS,
        "requests": found.verdicts.total(),
        "answers": {verdict.value: found.verdicts[verdict] for verdict in Verdict},
        "not_answered": found.not_answered,
        "unavailable_after": dict(found.unavailable),
        "unavailable_unexplained": found.unexplained,
        "not_right": dict(found.others),
        "decisions_logged": reasons,
        "changes": dict(changes.made),
        "memory": {
            "worker_not_ended_bytes": [size for _, size in found.kept][:: max(1, len(found.kept) // 60)],
            "new_workers_bytes": found.same_age,
            "new_workers_age_s": SAME_AGE_S,
            "growth": growths,
        },
        "problems": failed,
    }
    keep("soak", numbers, load, place=os.environ.get("SOAK_RESULT"))
    print(json.dumps({"problems": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

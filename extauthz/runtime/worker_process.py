"""One worker as its supervisor sees it: the process of the moment, its last report, and what became of it."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.runtime.liveness import Liveness
from extauthz.runtime.reports import WorkerReport

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_USER_TIME: Final = 11
_SYSTEM_TIME: Final = 12
"""Fields of /proc/PID/stat, counted from the one after the name (proc(5))."""


@dataclass(slots=True)
class WorkerProcess:
    """Worker `index`. `failed_starts` counts processes in a row that ended before their first report."""

    index: int
    process: "Process | None" = None
    report: WorkerReport | None = None
    liveness: Liveness = field(default_factory=Liveness)
    instances: set[str] = field(default_factory=set)
    failed_starts: int = 0
    served: bool = False
    """Whether any process of it has opened its listeners."""
    refused: str | None = None
    """Why the process of the moment, or the last one, does not start."""
    killed_because: str | None = None
    ended: str | None = None
    """How the last process ended, while there is no other one that reports."""

    @property
    def in_order(self) -> bool:
        """Whether its last report is of the present."""
        return self.report is not None and not self.liveness.late

    @property
    def problem(self) -> str | None:
        """Return what is wrong with the process itself, None while it does its work."""
        name = f"worker {self.index}"
        if self.killed_because is not None:
            return f"{name} is replaced: {self.killed_because}"
        if self.report is None or not self.report.listening:
            if self.refused is not None:
                return f"{name} cannot start: {self.refused}"
            return f"{name} is starting" + (f"; the one before {self.ended}" if self.ended else "")
        if self.liveness.late:
            return f"{name} does not report" + ("; it loads policies" if self.report.busy else "")
        if self.report.draining:
            return f"{name} is draining"
        return f"{name} loads policies" if self.report.busy and not self.report.ready else None

    def heard(self, report: WorkerReport) -> None:
        """Take a report of the process of the moment."""
        self.report = report
        self.liveness.heard(busy=report.busy)
        self.instances.add(report.counts["instance"])
        if report.listening:
            self.served, self.failed_starts = True, 0
            self.refused = self.ended = None


def how_it_ended(code: int) -> str:
    """Return in words how a process ended, from its exit status as `subprocess` gives it."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (by hand, or because memory is short: see the kernel's log)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time that a process has used so far; None where it is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return None

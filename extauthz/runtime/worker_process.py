"""The supervisor's record of one worker: its current process, the last report, and how it ended."""

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
    """Worker `index`. `failed_starts` counts consecutive processes that ended before they listened."""

    index: int
    process: "Process | None" = None
    report: WorkerReport | None = None
    liveness: Liveness = field(default_factory=Liveness)
    instances: set[str] = field(default_factory=set)
    failed_starts: int = 0
    served: bool = False
    """Whether a process of this worker has opened its listeners."""
    refused: str | None = None
    """Why the current or the last process could not start."""
    killed_because: str | None = None
    ended: str | None = None
    """How the last process ended; None when the current one listens."""

    @property
    def is_reporting(self) -> bool:
        """Whether the last report is current."""
        return self.report is not None and not self.liveness.late

    @property
    def problem(self) -> str | None:
        """Return the problem of the process as a text; None if it serves."""
        name = f"worker {self.index}"
        if self.killed_because is not None:
            return f"{name} is replaced: {self.killed_because}"
        if self.report is None or not self.report.listening:
            if self.refused is not None:
                return f"{name} cannot start: {self.refused}"
            return f"{name} is starting" + (f"; the previous process {self.ended}" if self.ended else "")
        if self.liveness.late:
            return f"{name} does not report" + ("; it loads policies" if self.report.busy else "")
        if self.report.draining:
            return f"{name} is draining"
        return f"{name} loads policies" if self.report.busy and not self.report.ready else None

    def heard(self, report: WorkerReport) -> None:
        """Record a report of the current process."""
        self.report = report
        self.liveness.heard(busy=report.busy)
        self.instances.add(report.counts["instance"])
        if report.listening:
            self.served, self.failed_starts = True, 0
            self.refused = self.ended = None


def how_it_ended(code: int) -> str:
    """Return a text for an exit status of `subprocess`, where a negative number is a signal."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (sent manually, or by the kernel's out-of-memory killer)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of a process so far in seconds; None if it is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return None

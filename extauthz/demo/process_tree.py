"""What Linux says of processes (proc(5)): which run, and who started whom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STATE: Final = 0
_START_TIME: Final = 19


def _status(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int) -> bool:
    """Say whether a process with this id runs; one that only waits to be reaped does not."""
    status = _status(pid)
    return status is not None and status[_STATE] not in {"Z", "X"}


@dataclass(frozen=True, slots=True)
class Descendant:
    """A process that another one started, told apart from a later one with the same id."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        status = _status(self.pid)
        return status is not None and status[_START_TIME] == self.started and alive(self.pid)


def descendants(pid: int) -> list[Descendant]:
    """Return the children of a process, their children, and so on, parents first."""
    found: list[Descendant] = []
    waiting = _children(pid)
    while waiting:
        child = waiting.pop(0)
        status = _status(child)
        if status is not None:
            found.append(Descendant(child, status[_START_TIME]))
            waiting += _children(child)
    return found


def _children(pid: int) -> list[int]:
    try:
        # One file for each thread: a child belongs to the thread that started it.
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for children in lists for child in children.split()]

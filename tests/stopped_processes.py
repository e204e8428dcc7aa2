"""Processes that hang: stopped by SIGSTOP, and continued."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.waiting import await_true

# proc_pid_stat(5): stopped, traced, zombie, dead.
_STANDS_STILL: Final = frozenset("TtZXx")


def stop(pids: Sequence[int]) -> None:
    """Stop processes, and return when none of their threads runs.

    kill(2) returns before: on a loaded machine the threads of a process go on for milliseconds, and answer.
    """
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await_true(lambda: all(map(_stands_still, pids)), what="the stop of every thread")


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes, and continue those that still exist at the end."""
    try:
        stop(pids)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    try:
        return all(_state(thread) in _STANDS_STILL for thread in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        # It has ended, or a thread ended meanwhile: what is left is looked at next time.
        return not Path(f"/proc/{pid}").exists()


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]

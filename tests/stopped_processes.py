"""Processes that hang: stopped by SIGSTOP, and continued."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes, and continue those that still exist at the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

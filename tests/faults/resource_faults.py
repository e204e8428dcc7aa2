"""Faults of the machine: no space for the log, no file descriptor, no processor time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.mesh import FaultyStack


@contextlib.contextmanager
def no_space_for_the_log(stack: FaultyStack) -> Iterator[None]:
    """Let no file of a worker grow (RLIMIT_FSIZE), which is what a full disk does to the log."""
    with contextlib.ExitStack() as limits:
        for pid in stack.workers_pids():
            limits.enter_context(_limited(pid, resource.RLIMIT_FSIZE, 0))
        yield


@contextlib.contextmanager
def no_file_descriptors(stack: FaultyStack) -> Iterator[None]:
    """Let a worker open no further file, socket or pipe (RLIMIT_NOFILE)."""
    with contextlib.ExitStack() as limits:
        for pid in stack.workers_pids():
            limits.enter_context(_limited(pid, resource.RLIMIT_NOFILE, 1))
        stack.database_gate.drop_connections()
        yield


@contextlib.contextmanager
def _limited(pid: int, limit: int, soft: int) -> Iterator[None]:
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, limit, before)


@contextlib.contextmanager
def busy_processors(_stack: FaultyStack) -> Iterator[None]:
    """Compute on twice as many processes as there are processors."""
    context = multiprocessing.get_context("spawn")
    over = context.Event()
    burning = [context.Process(target=_burn, args=(over,)) for _ in range(2 * (os.cpu_count() or 1))]
    for process in burning:
        process.start()
    try:
        yield
    finally:
        over.set()
        for process in burning:
            process.join()


def _burn(over: multiprocessing.synchronize.Event) -> None:
    while not over.is_set():
        sum(range(10_000))

"""The threads in which a process loads and frees policies, of a lower priority than those that answer.

At equal priority, a thread that loads may run until the kernel's next tick, up to 4 ms, while one that
answers is ready; at a lower one the kernel stops it at once (ADR 76).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from extauthz.publish.loading import short_steps

if TYPE_CHECKING:
    from collections.abc import Callable

NICENESS: Final = 5
"""What the nice value of a thread that loads is above that of its process.

It gets a quarter of a core that another process wants for itself: enough that it does not hold the
interpreter for long without running. At 19 it would get a seventieth.
"""
MAX_THREADS: Final = 4
"""A change that is applied does not wait for a tenant that is loaded."""
MANY_ROWS: Final = 200
"""A change of more rows is applied in one of the threads; one of as many takes a few milliseconds."""
_LOWEST: Final = 19

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def lower_priority() -> None:
    """Give the calling thread the priority of loading, for as long as it lives.

    INVARIANT: only a thread that answers no check calls this, and never the main thread: every thread begins
    with the priority of the one that started it, and without privileges none gets a higher one. Where the
    system does not allow it, loading has the priority of answering.
    """
    if sys.platform != "linux":
        # Elsewhere a priority belongs to the whole process.
        return
    with contextlib.suppress(OSError):
        of_process = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(of_process + NICENESS, _LOWEST))


class LoadingThreads:
    """Runs what takes long and is not an answer. A thread is started when one is needed, up to a few."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(
            MAX_THREADS, thread_name_prefix="loading", initializer=lower_priority
        )

    async def run(
        self,
        function: Callable[_Arguments, _Result],
        /,
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Result:
        """Return what a function returns, called in one of the threads, as `asyncio.to_thread` does.

        Raises:
            Exception: what the function raised.
        """
        context = contextvars.copy_context()
        call = partial(context.run, function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def apply(
        self,
        rows: int,
        function: Callable[_Arguments, _Result],
        /,
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Result:
        """Return what a function makes of a number of rows: called at once, or in a thread if they are many.

        A small change, of which there may be many a second, does not wait for a thread to get the core.

        Raises:
            Exception: what the function raised.
        """
        if rows <= MANY_ROWS:
            return function(*arguments, **named)
        with short_steps():
            return await self.run(function, *arguments, **named)

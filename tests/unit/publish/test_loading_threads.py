"""Threads that load have a lower priority than the other threads of the process."""

import asyncio
import contextvars
import os
import sys
import threading
from pathlib import Path

import pytest

from extauthz.publish.loading_threads import MANY_ROWS, NICENESS, LoadingThreads, lower_priority

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")


def niceness() -> int:
    """Return the nice value of the calling thread, as the kernel has it."""
    stat = Path(f"/proc/self/task/{threading.get_native_id()}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[16])


@linux
def test_a_load_runs_at_a_lower_priority_and_nothing_else_does() -> None:
    async def scene() -> None:
        before = niceness()
        threads = LoadingThreads()
        assert await threads.run(niceness) == min(before + NICENESS, 19)
        assert niceness() == before
        assert await asyncio.to_thread(niceness) == before
        assert await threads.run(niceness) == min(before + NICENESS, 19)

    asyncio.run(scene())


@linux
def test_a_priority_is_lowered_once() -> None:
    async def scene() -> None:
        def twice() -> int:
            lower_priority()
            lower_priority()
            return niceness()

        assert await LoadingThreads().run(twice) == min(niceness() + NICENESS, 19)

    asyncio.run(scene())


@linux
def test_a_process_whose_priority_is_the_lowest_loads() -> None:
    async def scene() -> None:
        code = (
            "import asyncio, os; os.nice(19);"
            "from extauthz.publish.loading_threads import LoadingThreads;"
            "print(asyncio.run(LoadingThreads().run(str, 'loaded')))"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        assert (await process.communicate())[0] == b"loaded\n"

    asyncio.run(scene())


def test_several_loads_run_at_the_same_time() -> None:
    async def scene() -> None:
        threads, both = LoadingThreads(), threading.Barrier(2)
        await asyncio.gather(threads.run(both.wait), threads.run(both.wait))

    asyncio.run(scene())


def test_a_load_has_the_context_of_its_caller_and_raises_what_the_function_raises() -> None:
    async def scene() -> None:
        tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
        tenant.set("acme")
        threads = LoadingThreads()
        assert await threads.run(tenant.get) == "acme"
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)

    asyncio.run(scene())


def test_many_rows_are_applied_in_a_thread_that_loads_and_few_at_once() -> None:
    async def scene() -> None:
        threads = LoadingThreads()
        assert await threads.apply(MANY_ROWS, threading.get_ident) == threading.get_ident()
        assert await threads.apply(MANY_ROWS + 1, threading.get_ident) != threading.get_ident()

    asyncio.run(scene())

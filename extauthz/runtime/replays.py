"""Runs replays apart from the process that serves: one child process at a time, found in the database.

A job that this or another control plane queued is found within `LOOK_EVERY_S`, one that was queued here at
once. A child that ends before its job gives the job back; after several attempts it fails with the reason.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.runtime.worker_process import how_it_ended
from extauthz.storage import replay_jobs
from extauthz.storage.availability import cause_of, unavailability_of
from extauthz.storage.replay_jobs import LEASE_S, MAX_ATTEMPTS, Queued, ReplayJob

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

LOOK_EVERY_S: Final = 10.0
_STOP_S: Final = 2.0
_MODULE: Final = "extauthz.runtime.replay_process"

_log = structlog.get_logger("extauthz.replay")


class Replays:
    """Starts a process for each job, one after the other."""

    def __init__(self, pool: "Pool", environ: Mapping[str, str] | None = None) -> None:
        """Take the pool of the control plane; `environ` is for children, None: that of this process."""
        self._pool = pool
        self._environ = environ
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for jobs now."""
        self._wake.set()

    async def run(self) -> None:
        """Run jobs until cancelled; the job that runs then is given back."""
        while True:
            self._wake.clear()
            try:
                await self._run_waiting()
            except Exception as error:  # noqa: BLE001  # a replay that cannot be run must not end the process that serves
                if unavailability_of(error) is None:
                    _log.exception("replays_failed")
                else:
                    _log.warning("replays_not_found", cause=cause_of(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()

    async def _run_waiting(self) -> None:
        while found := await replay_jobs.waiting(self._pool):
            claimed = False
            for queued in found:
                job = await replay_jobs.claim(self._pool, queued)
                if job is not None:
                    claimed = True
                    await self._run_one(queued, job)
                    break
            if not claimed:
                return

    async def _run_one(self, queued: Queued, job: ReplayJob) -> None:
        async with self._child(queued, job) as process:
            try:
                status = await self._waited(process, queued, job)
            except asyncio.CancelledError:
                await _ended(process)
                # Shielded: the process that serves ends, and the job must not wait for its lease.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_STOP_S):
                        await replay_jobs.give_back(self._pool, queued, job.attempts, counts=False)
                raise
        if status == 0:
            return
        ended = how_it_ended(status)
        _log.warning("replay_process_ended", tenant=queued.tenant, job=str(queued.id), ended=ended)
        if job.attempts < MAX_ATTEMPTS:
            await replay_jobs.give_back(self._pool, queued, job.attempts, counts=True)
        else:
            problem = f"its process {ended}, the last of {MAX_ATTEMPTS} times"
            await replay_jobs.fail(self._pool, queued, job.attempts, problem)

    async def _waited(self, process: Process, queued: Queued, job: ReplayJob) -> int:
        """Return how the child ended; the job stays this control plane's until then."""
        ended = asyncio.ensure_future(process.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=LEASE_S / 3))[0]:
                try:
                    await replay_jobs.extend(self._pool, queued, job.attempts)
                except Exception as error:  # noqa: BLE001  # while its lease lasts the child goes on
                    _log.warning("replay_not_extended", job=str(queued.id), cause=cause_of(error))
        finally:
            ended.cancel()
        return await process.wait()

    @contextlib.asynccontextmanager
    async def _child(self, queued: Queued, job: ReplayJob) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Without -P the current folder would precede the installed modules in sys.path.
            *("-P", "-m", _MODULE, queued.tenant, str(queued.id), str(job.attempts)),
            stdin=asyncio.subprocess.DEVNULL,
            env=self._environ,
        )
        try:
            yield process
        finally:
            await _ended(process)


async def _ended(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

"""The supervisor of the sidecar's workers: starts them, replaces dead ones, answers for all of them."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import Final

import structlog

from extauthz.admin.health import Readiness, shown_problems
from extauthz.runtime.policies import StartRefusedError
from extauthz.runtime.reports import MAX_REPORT_BYTES, Report, StartRefused, decode
from extauthz.settings import Settings
from extauthz.telemetry.counts import Snapshot
from extauthz.telemetry.exposition import render
from extauthz.telemetry.fleet import Fleet

START_REFUSED_EXIT: Final = 2
ALLOCATOR: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(16 * 1024 * 1024),
}
"""What glibc is told in a worker's environment, where the operator's own word counts more.

Left to itself it returns the decisions that were just logged to the kernel, up to twenty times a second, and
page faults bring them back: 2 us of each check. Naming one threshold stops glibc from adapting the other;
each buffer above 128 KiB would come from the kernel and go back to it, and a check with a token of a megabyte
cost 1.6 ms instead of 0.4 ms.
"""
_STOP_S: Final = 9.5
_RESTART_S: Final = 0.05
_LONGEST_RESTART_S: Final = 1.5
_STEADY_S: Final = 10.0

_log = structlog.get_logger("extauthz.supervisor")


@dataclass(slots=True)
class _Worker:
    index: int
    process: asyncio.subprocess.Process | None = None
    report: Report | None = None
    instances: set[str] = field(default_factory=set)


class Supervisor:
    """Runs worker processes until told to stop."""

    def __init__(self, settings: Settings, *, workers: int) -> None:
        """Plan the workers, none for a control plane by itself; nothing is started."""
        self._settings = settings
        self._fleet = Fleet()
        self._workers = [_Worker(index) for index in range(workers)]
        self._stopping = asyncio.Event()
        self._refused: str | None = None
        self._was_ready = False
        # Lines of several workers to one pipe must not interleave; the lock is in memory, on no disk.
        self.lock_fd = os.memfd_create("decision-log-lock")

    def stop(self) -> None:
        """Begin to drain; safe in a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the lock, when nobody writes to the decision log any more."""
        os.close(self.lock_fd)

    @property
    def stopping(self) -> asyncio.Event:
        """Set once draining began."""
        return self._stopping

    def readiness(self) -> Readiness:
        """Return the state of the sidecar: ready when every worker is; keys gate only its first start."""
        reports = [worker.report for worker in self._workers]
        known = [report for report in reports if report is not None]
        names = dict.fromkeys(name for report in known for name in report.checks) or {
            "casbin": None,
            "policies": None,
        }
        checks = {
            name: len(known) == len(reports) and all(report.checks.get(name, True) for report in known)
            for name in names
        }
        ready = (
            not self._stopping.is_set()
            and len(known) == len(reports)
            and all(report.ready or (self._was_ready and report.ready_but_for_keys) for report in known)
        )
        problems = [problem for report in known for problem in report.problems]
        return Readiness(ready=ready, checks=checks, problems=shown_problems(problems))

    @property
    def has_workers(self) -> bool:
        """Whether there are any workers to answer for."""
        return bool(self._workers)

    def counts(self) -> Snapshot:
        """Return the counts of all workers, dead ones included."""
        return self._fleet.merged()

    def metrics(self) -> bytes:
        """Return the same as Prometheus text."""
        return render(self.counts(), ready=self.readiness().ready)

    async def run(self) -> None:
        """Keep every worker running until `stop`, then let them drain.

        Raises:
            StartRefusedError: a worker said that the operator has to mend something.
        """
        async with asyncio.TaskGroup() as keepers:
            for worker in self._workers:
                keepers.create_task(self._keep(worker))
            await self._stopping.wait()
        if self._refused is not None:
            raise StartRefusedError(self._refused)

    async def _keep(self, worker: _Worker) -> None:
        delay = _RESTART_S
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if code == START_REFUSED_EXIT:
                self._refused = self._refused or f"worker {worker.index} cannot start"
                self.stop()
                return
            lived = asyncio.get_running_loop().time() - started
            if lived > _STEADY_S:
                delay = _RESTART_S
            _log.error("worker_died", worker=worker.index, exit_code=code, restart_in_s=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(delay * 2, _LONGEST_RESTART_S)

    async def _run_once(self, worker: _Worker) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                "-P",  # or the folder we were started in would come before the installed modules
                "-m",
                "extauthz",
                "worker",
                str(worker.index),
                str(theirs.fileno()),
                str(self.lock_fd),
            ]
            worker.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                pass_fds=(theirs.fileno(), self.lock_fd),
                env={**ALLOCATOR, **os.environ},
            )
        process = worker.process
        stopper = asyncio.create_task(self._stop_with_us(process))
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_REPORT_BYTES)
        try:
            await self._read_reports(worker, reader)
            return await process.wait()
        finally:
            stopper.cancel()
            writer.close()
            worker.report = None
            for instance in worker.instances:
                self._fleet.retire(instance)
            worker.instances.clear()

    async def _read_reports(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                said = decode(await reader.readuntil(b"\n"))
                if isinstance(said, StartRefused):
                    self._refused = self._refused or said.message
                    continue
                worker.report = said
                worker.instances.add(worker.report.counts["instance"])
                self._fleet.update(worker.report.counts)
                self._was_ready = self._was_ready or self.readiness().ready

    async def _stop_with_us(self, process: asyncio.subprocess.Process) -> None:
        await self._stopping.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            _log.error("worker_killed", pid=process.pid, reason=f"still running {_STOP_S} s after SIGTERM")
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def stop_on_signals(supervisor: Supervisor) -> None:
    """Let SIGTERM and SIGINT begin the drain."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)

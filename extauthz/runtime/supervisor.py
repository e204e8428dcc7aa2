"""The supervisor of the workers: starts them, replaces ended and hung ones, merges readiness and counts.

Input: `Settings`, the number of workers. Output: readiness and metrics. Errors:
`StartRefusedError` if a worker cannot start.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import structlog

from extauthz.runtime.liveness import TICK_S, Liveness
from extauthz.runtime.reports import MAX_REPORT_BYTES, StartRefused, WorkerReport, decode
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.worker_process import WorkerProcess, cpu_seconds, how_it_ended
from extauthz.settings import Settings
from extauthz.telemetry.counts import CountTotals
from extauthz.telemetry.exposition import render
from extauthz.telemetry.fleet import Fleet
from extauthz.telemetry.readiness import Readiness, shown_problems

START_REFUSED_EXIT: Final = 2
ALLOCATOR: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(16 * 1024 * 1024),
}
"""glibc's malloc settings in a worker's environment; variables that the operator set take precedence.

By default glibc returns the memory of logged decisions to the kernel, up to twenty times a second, and page
faults get it back: 2 us per check. Setting one threshold disables glibc's adaptation of the other, so that
each buffer above 128 KiB would be mapped and unmapped, and a check with a token of a megabyte cost 1.6 ms
instead of 0.4 ms.
"""
_STOP_S: Final = 9.5
_RESTART_S: Final = 0.05
_LONGEST_RESTART_S: Final = 1.5
_STEADY_S: Final = 10.0

_log = structlog.get_logger("extauthz.supervisor")


class Supervisor:
    """Runs worker processes until `stop` is called."""

    def __init__(
        self, settings: Settings, *, workers: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Create the workers without starting them; `workers` is 0 for a control plane without a sidecar.

        `environment` is for the workers, in addition to that of this process.
        """
        self._settings = settings
        self._environment = environment or {}
        self._fleet = Fleet()
        self._workers = [WorkerProcess(index) for index in range(workers)]
        self._stopping = asyncio.Event()
        self._listening = asyncio.Event()
        self._refused: str | None = None
        self._was_ready = False
        self._restarts: Counter[str] = Counter({"died": 0, "hung": 0})
        # A lock file in memory: lines that several workers write to one pipe must not interleave.
        self.lock_fd = os.memfd_create("decision-log-lock")

    def stop(self) -> None:
        """Begin to drain; safe in a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        """Close the lock, when no process writes to the decision log any more."""
        os.close(self.lock_fd)

    @property
    def stopping(self) -> asyncio.Event:
        """Set when draining begins."""
        return self._stopping

    @property
    def listening(self) -> asyncio.Event:
        """Set when every worker has opened its listeners."""
        return self._listening

    def reopen_logs(self) -> None:
        """Have every worker reopen the decision log by its path (after log rotation)."""
        for worker in self._workers:
            # A worker that is starting has SIGHUP blocked until it has a handler, and opens the path itself.
            if worker.process is not None and worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(signal.SIGHUP)

    def readiness(self) -> Readiness:
        """Return the state of the sidecar: ready when every worker is; keys gate only its first start."""
        reports = [worker.report for worker in self._workers if worker.is_reporting]
        known = [report for report in reports if report is not None]
        complete = len(known) == len(self._workers)
        names = dict.fromkeys(name for report in known for name in report.checks) or {
            "casbin": None,
            "policies": None,
        }
        # After the first readiness a missing worker fails the check `workers`; the other checks are those of
        # the workers that report.
        spoken_for = complete or (self._was_ready and bool(known))
        checks = {
            name: spoken_for and all(report.checks.get(name, True) for report in known) for name in names
        }
        if self._was_ready and not complete:
            checks["workers"] = False
        ready = (
            not self._stopping.is_set()
            and complete
            and all(report.ready or (self._was_ready and report.ready_but_for_keys) for report in known)
        )
        problems = [worker.problem for worker in self._workers]
        problems += [problem for report in known for problem in report.problems]
        return Readiness(
            ready=ready,
            checks=checks,
            problems=shown_problems(problem for problem in problems if problem is not None),
        )

    @property
    def has_workers(self) -> bool:
        """Whether there are workers."""
        return bool(self._workers)

    @property
    def restarts(self) -> dict[str, int]:
        """Return the number of replaced workers by reason: `died`, `hung`."""
        return dict(self._restarts)

    def counts(self) -> CountTotals:
        """Return the counts of all workers, ended ones included."""
        return self._fleet.merged()

    def metrics(self) -> bytes:
        """Return the counts of all workers as Prometheus text."""
        return render(self.counts(), ready=self.readiness().ready, worker_restarts=self.restarts)

    async def run(self) -> None:
        """Keep every worker running until `stop`, then let them drain.

        Raises:
            StartRefusedError: a worker cannot start; the text is the worker's.
        """
        if not self._workers:
            self._listening.set()
        async with asyncio.TaskGroup() as keepers:
            for worker in self._workers:
                keepers.create_task(self._keep(worker))
            await self._stopping.wait()
        if self._refused is not None:
            raise StartRefusedError(self._refused)

    async def _keep(self, worker: WorkerProcess) -> None:
        delay = _RESTART_S
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if code == START_REFUSED_EXIT and not worker.served:
                self._refused = self._refused or worker.refused or f"worker {worker.index} cannot start"
                self.stop()
                return
            lived = asyncio.get_running_loop().time() - started
            if lived > _STEADY_S:
                delay = _RESTART_S
            self._report_end(worker, code, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(delay * 2, _LONGEST_RESTART_S)

    def _report_end(self, worker: WorkerProcess, code: int, delay: float) -> None:
        hung, worker.killed_because = worker.killed_because, None
        self._restarts["died" if hung is None else "hung"] += 1
        worker.ended = how_it_ended(code) if hung is None else f"was hung: {hung}"
        if code != START_REFUSED_EXIT:
            worker.refused = None
        _log.error(
            "worker_died",
            worker=worker.index,
            exit_code=code,
            cause=worker.refused or worker.ended,
            restart_in_s=delay,
        )

    async def _run_once(self, worker: WorkerProcess) -> int:
        worker.liveness = Liveness(worker.failed_starts)
        worker.failed_starts += 1
        process, reader, writer = await self._spawn(worker)
        watching = [
            asyncio.create_task(self._stop_with_us(process)),
            asyncio.create_task(self._replace_when_hung(worker, process)),
        ]
        try:
            await self._read_reports(worker, reader)
            worker.liveness.ending()
            return await process.wait()
        finally:
            for each in watching:
                each.cancel()
            writer.close()
            worker.process = worker.report = None
            for instance in worker.instances:
                self._fleet.retire(instance)
            worker.instances.clear()

    async def _spawn(
        self, worker: WorkerProcess
    ) -> tuple[Process, asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                "-P",  # without it the current folder would precede the installed modules in sys.path
                "-m",
                "extauthz",
                "worker",
                str(worker.index),
                str(theirs.fileno()),
                str(self.lock_fd),
                *(["--again"] if worker.served else []),
            ]
            with _sighup_blocked():
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *command,
                    pass_fds=(theirs.fileno(), self.lock_fd),
                    env={**ALLOCATOR, **os.environ, **self._environment},
                )
        worker.process = process
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_REPORT_BYTES)
        return process, reader, writer

    async def _read_reports(self, worker: WorkerProcess, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                try:
                    said = decode(await reader.readuntil(b"\n"))
                except (ValueError, asyncio.LimitOverrunError):
                    _log.exception("worker_report_not_read", worker=worker.index)
                    return
                if isinstance(said, StartRefused):
                    worker.refused = said.message
                elif worker.killed_because is None:
                    self._take(worker, said)

    def _take(self, worker: WorkerProcess, report: WorkerReport) -> None:
        worker.heard(report)
        self._fleet.update(report.counts)
        self._was_ready = self._was_ready or self.readiness().ready
        if all(each.served for each in self._workers):
            self._listening.set()

    async def _replace_when_hung(self, worker: WorkerProcess, process: Process) -> None:
        """Kill the process when it is hung, so that it is replaced as an ended one."""
        clock = asyncio.get_running_loop().time
        while True:
            cause = worker.liveness.tick(clock(), cpu_seconds(process.pid))
            if cause is None and worker.report is not None:
                cause = worker.report.stuck
            if cause is not None:
                break
            await asyncio.sleep(TICK_S)
        worker.killed_because = cause
        _log.error("worker_hung", worker=worker.index, pid=process.pid, cause=cause)
        # A stopped process (SIGSTOP) acts on no other signal than SIGKILL.
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _stop_with_us(self, process: Process) -> None:
        await self._stopping.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            _log.error("worker_killed", pid=process.pid, reason=f"still running {_STOP_S} s after SIGTERM")
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@contextlib.contextmanager
def _sighup_blocked() -> Iterator[None]:
    """Block SIGHUP for a process that is started meanwhile: without a handler the signal would end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_on_signals(supervisor: Supervisor) -> None:
    """Have SIGTERM and SIGINT stop the supervisor, which drains."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)


def reopen_on_hangup(*reopen: Callable[[], None]) -> None:
    """Have SIGHUP call each function; they reopen the decision log by its path."""

    def reopen_all() -> None:
        _log.info("decision_log_reopening")
        for each in reopen:
            each()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reopen_all)

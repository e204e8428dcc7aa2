"""A worker, measured by its client and by the kernel."""

import atexit
import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import grpc

from extauthz.demo.process_tree import descendants
from tests.integration.serving import Serving

_CHECK = "/envoy.service.auth.v3.Authorization/Check"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_TICKS, _SYSTEM_TICKS = 11, 12


class Asker:
    """A client of one worker, over one connection as Envoy has it."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary(_CHECK, request_serializer=None, response_deserializer=None)

    def allowed(self, request: bytes) -> bool:
        raw: bytes = self._call(request, timeout=5)
        # `status.code` 0, which proto3 leaves out: the message begins with an empty field 1.
        return raw.startswith(b"\x0a\x00")

    def taken_us(self, requests: Iterable[bytes]) -> list[float]:
        """Return how long each decision took; every one has to be an allow."""
        taken = []
        for request in requests:
            before = time.perf_counter()
            assert self.allowed(request)
            taken.append((time.perf_counter() - before) * 1e6)
        return taken

    def close(self) -> None:
        self._channel.close()


def only_worker(found: Serving) -> int:
    """Return the process that decides: of a sidecar's processes the one that started none."""
    (worker,) = [one.pid for one in descendants(found.process.pid) if not descendants(one.pid)]
    return worker


def pin(pid: int, core: int) -> None:
    """Let all threads of a process run on one core from here on."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})


def prefer(pid: int) -> None:
    """Let the kernel prefer a process and its session to other work of the machine, where that is allowed.

    Until this process ends: its session is the shell's, which would starve what it starts later.
    """
    place = Path(f"/proc/{pid}/autogroup")
    with contextlib.suppress(OSError):
        before = place.read_text().split()[-1]
        place.write_text("-20")
        atexit.register(_restore, place, before)


def _restore(place: Path, before: str) -> None:
    with contextlib.suppress(OSError):
        place.write_text(before)


def cpu_s(pid: int) -> float:
    """Return the CPU of a process since it began, threads that have ended too, in steps of a tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S


def running_ns(pid: int) -> int:
    """Return the CPU of the threads that a process has now, in nanoseconds."""
    times = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            times += int((thread / "schedstat").read_text().split()[0])
    return times


def resident_bytes(pid: int) -> int:
    """Return the memory of a process, of what it shares with others only its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")

"""Start, watch and end the real processes that a stack is made of.

Each child leads a session of its own: a Ctrl-C in the terminal reaches the demo alone, which then ends its
children in order. A child ends with its parent (`parent_death.py`), also when the parent gets SIGKILL. Its
output goes into one file; the error of a start that failed quotes the end of that file.
"""

import contextlib
import http.client
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from extauthz.demo import parent_death
from extauthz.demo.process_tree import descendants
from extauthz.demo.stopping import Stopping

LOOPBACK: Final = "127.0.0.1"
_POLL_S: Final = 0.02
_LONGEST_POLL_S: Final = 0.1
_FIRST_PORT: Final = 20_000
_LAST_PORT: Final = 32_000


class ProcessFailedError(Exception):
    """A process did not start, or ended before its time; the text holds its last lines."""


class StoppedError(Exception):
    """The wait ended because the whole stack was asked to stop."""


@dataclass(frozen=True, slots=True)
class UnprivilegedUser:
    """Whom a process becomes that refuses to run as root."""

    uid: int
    gid: int


def unprivileged_user() -> UnprivilegedUser | None:
    """Return an existing ordinary user of this host when we are root, else None (we are one ourselves).

    Raises:
        ProcessFailedError: we are root and the host knows no other user.
    """
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("nobody", "daemon", *known):
        if name in known:
            return UnprivilegedUser(known[name].pw_uid, known[name].pw_gid)
    raise ProcessFailedError("running as root, and this host has no other user to run PostgreSQL as")


class ReservedPorts:
    """TCP ports on loopback that stay ours while their processes come, go and come again.

    Each is held by a bound socket that never listens: with SO_REUSEADDR (which every server here sets) a
    child may listen on the same port, while another search for a free port finds it taken. They lie below
    Linux's ephemeral range, so no outgoing connection takes one either.
    """

    def __init__(self) -> None:
        """Reserve nothing yet."""
        self._held: list[socket.socket] = []

    def take(self, count: int = 1) -> list[int]:
        """Return `count` neighbouring free ports, now reserved.

        Raises:
            ProcessFailedError: no free block was found.
        """
        for _ in range(200):
            first = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT - count)
            block = [_held(port) for port in range(first, first + count)]
            taken = [holder for holder in block if holder is not None]
            if len(taken) == count:
                self._held += taken
                return list(range(first, first + count))
            for holder in taken:
                holder.close()
        raise ProcessFailedError(f"no {count} free neighbouring ports in {_FIRST_PORT}-{_LAST_PORT}")

    def release(self) -> None:
        """Give all of them back."""
        while self._held:
            self._held.pop().close()


def _held(port: int) -> socket.socket | None:
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Bound first without SO_REUSEADDR: that fails when another process holds the port.
        holder.bind((LOOPBACK, port))
    except OSError:
        holder.close()
        return None
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def free_port() -> int:
    """Return one TCP port that is free at the moment."""
    ports = ReservedPorts()
    port = ports.take()[0]
    ports.release()
    return port


def http_answers(port: int, path: str, *, status: int = 200) -> bool:
    """Say whether an HTTP server on loopback answers `path` with `status` right now."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Child:
    """One running process, its output file and its end."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", output: Path) -> None:
        """Take over a process that `spawn` started."""
        self.name = name
        self.output = output
        self._process = process

    @property
    def pid(self) -> int:
        """The process id; also the id of its session and group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None and not os.waitid(
            os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
        )

    def last_lines(self, count: int = 20) -> str:
        """Return the end of what the process printed, for a message to a person."""
        with self.output.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 16_384))
            text = stream.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-count:])

    def wait_ready(
        self, answers: Callable[[], bool], *, timeout_s: float, stopping: Stopping | None = None
    ) -> None:
        """Poll the real endpoint until it answers.

        Raises:
            ProcessFailedError: the process ended, or did not answer within `timeout_s` seconds.
            StoppedError: `stopping` was set.
        """
        began = time.monotonic()
        deadline = began + timeout_s
        pause = stopping or Stopping()
        while not answers():
            if not self.running:
                raise ProcessFailedError(f"{self.name} ended while starting:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    f"{self.name} did not answer within {timeout_s:g} s:\n{self.last_lines()}"
                )
            # Answers cost the process that starts CPU time: the longer it takes, the fewer it is asked for.
            if pause.wait(min(max(_POLL_S, (time.monotonic() - began) / 10), _LONGEST_POLL_S)):
                raise StoppedError

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens when it has ended."""
        if self._process.returncode is None:
            os.kill(self.pid, number)

    def family(self) -> list[int]:
        """Return the ids of this process and of everything it started, itself first."""
        return [self.pid, *(one.pid for one in descendants(self.pid))]

    def stop(self, *, grace_s: float = 3.0, ask: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end, insist after `grace_s` seconds, and leave nothing that it started."""
        started = descendants(self.pid)
        self.send(ask)
        # A stopped process reads no signal but SIGKILL until it is continued.
        self.send(signal.SIGCONT)
        _signal_all(started, signal.SIGCONT)
        deadline = time.monotonic() + grace_s
        while self.running and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self.kill()
        _signal_all(started, signal.SIGKILL)

    def kill(self) -> None:
        """End the process and everything it started with SIGKILL, and wait until it is gone."""
        if self._process.returncode is not None:
            return
        started = descendants(self.pid)
        # INVARIANT: the leader is not reaped before this, so its group id cannot belong to others by now.
        os.killpg(self.pid, signal.SIGKILL)
        # Some lead sessions of their own.
        _signal_all(started, signal.SIGKILL)
        self._process.wait()


def _signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    output: Path,
    environment: Mapping[str, str] | None = None,
    user: UnprivilegedUser | None = None,
    at_parents_death: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start a process whose standard output and error are appended to the file `output`.

    Call it from a thread that lives as long as the child should: the kernel sends `at_parents_death` when
    the *thread* that started a child ends (prctl(2), PR_SET_PDEATHSIG).
    """
    identity = ("-", "-") if user is None else (str(user.uid), str(user.gid))
    executed = [
        sys.executable,
        "-I",
        "-S",
        parent_death.__file__,
        str(os.getpid()),
        str(int(at_parents_death)),
    ]
    with output.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - the command comes from our own code, without a shell
            [*executed, *identity, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    return Child(name, process, output)

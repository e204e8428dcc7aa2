"""Starts `python -m extauthz ...` by a fork of a process that has imported it, instead of by an exec.

Imports are most of what a start costs: 0.6 s of CPU for a worker, 1.1 s for a control plane. The forked
process runs the same program from `main` on. It is a child of the process that starts it, with its own
process id, arguments, environment, folder, descriptors, session, user, signals and exit status. What only an
exec does, is tested without this: options and variables that the interpreter and malloc read when they start,
and imports.

`use` takes the place of the function by which `subprocess` forks and executes. What a fork server cannot
start, or what fails there, is executed.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from extauthz.demo import parent_death
from tests.light_processes import LIGHT

PROGRAMS: Final = {
    "extauthz",
    "extauthz.demo.identity_provider",
    "extauthz.demo.upstream",
    "extauthz.runtime.replay_process",
}
"""The modules whose start is a fork when `python -m` runs them."""
SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""The signals whose handling a forked process takes from the process that starts it."""
_READ_BY_INTERPRETER: Final = ("PYTHON", "LANG", "LC_", "COVERAGE_")
_COERCED: Final = ("LC_CTYPE", "C.UTF-8")
"""What the interpreter sets in its environment where that has no locale (PEP 538)."""
_ROOM_FOR_COMMANDS: Final = 4_000
_MOST_BYTES: Final = 180_000
"""The longest start; the kernel's limit of a message is 208 KiB."""
_MOST_DESCRIPTORS: Final = 64
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_fork_and_execute: Final[Callable[..., int] | None] = getattr(subprocess, "_fork_exec", None)
"""None on an interpreter whose `subprocess` names it otherwise: then every start is executed."""


def _start_with(function: Callable[..., int] | None) -> None:
    """Have `subprocess` start processes with a function that takes what `_posixsubprocess.fork_exec` does."""
    subprocess._fork_exec = function  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is started with; `descriptors` are the numbers in it of those that are sent along."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    descriptors: list[int]
    new_session: bool
    ignored: list[int]
    blocked: list[int]


def receive_start(control: socket.socket) -> tuple[Start, list[int]] | None:
    """Return the next start with its descriptors; None when the caller has ended."""
    try:
        message, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, _MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    return (Start(**json.loads(message)), descriptors) if message else None


class ForkServer:
    """The calling side: asks the process at the other end of a socket for forks."""

    def __init__(self, control: socket.socket) -> None:
        """Use a connected socket of the type SOCK_SEQPACKET."""
        self._control = control
        self._one_at_a_time = threading.Lock()

    def use(self) -> None:
        """Have `subprocess` start programs of extauthz by forks."""
        _start_with(self.start_process)

    def fork(self, start: Start, sent: list[int]) -> int:
        """Return the process id of a new child of this process.

        Raises:
            OSError: the fork server has ended, or a descriptor is closed.
        """
        with self._one_at_a_time, _subreaper():
            socket.send_fds(self._control, [json.dumps(asdict(start)).encode()], sent)
            answer = self._control.recv(20)
        if not answer:
            raise ConnectionError("the fork server has ended")
        return int(answer)

    def close(self) -> None:
        """End the fork server; what it started goes on."""
        self._control.close()

    def start_process(self, *arguments: Any) -> int:
        """Return the process id of a process with the arguments of `_posixsubprocess.fork_exec`."""
        found = _start(arguments)
        if found is not None:
            with contextlib.suppress(OSError):
                return self.fork(*found)
        return _executed(*arguments)


class ForkServerOnDemand:
    """A fork server of this process that starts when it is first needed."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._server: ForkServer | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Start programs of extauthz by forks meanwhile."""
        if _fork_and_execute is None:
            yield
            return
        _start_with(self._start_process)
        try:
            yield
        finally:
            _start_with(_fork_and_execute)

    def close(self) -> None:
        """End the process, if it was started."""
        if self._server is not None and self._process is not None:
            self._server.close()
            self._process.wait()

    def _start_process(self, *arguments: Any) -> int:
        if _start(arguments) is None:
            return _executed(*arguments)
        if self._server is None:
            self._server = self._new_server()
        return self._server.start_process(*arguments)

    def _new_server(self) -> ForkServer:
        _start_with(_fork_and_execute)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        module = "tests.fork_server_process"
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(descriptor), "-" * _ROOM_FOR_COMMANDS],
                env={"PATH": os.environ["PATH"], **LIGHT},
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        _start_with(self._start_process)
        server = ForkServer(ours)
        if not _makes_children(server):
            # Every request fails from now on, and the start is executed.
            ours.shutdown(socket.SHUT_RDWR)
        return server


def _executed(*arguments: Any) -> int:
    assert _fork_and_execute is not None
    return _fork_and_execute(*arguments)


def _makes_children(server: ForkServer) -> bool:
    """Tell whether a forked process is a child of this one, which a sandbox may not support."""
    command = [sys.executable, "-m", "extauthz", "--version"]
    with Path(os.devnull).open("r+b") as nothing:
        start = Start(command, dict(os.environ), str(Path.cwd()), [0, 1, 2], False, [], [])
        try:
            child = server.fork(start, [nothing.fileno()] * 3)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        except (OSError, ChildProcessError):
            return False


@contextlib.contextmanager
def _subreaper() -> Iterator[None]:
    """Make this process the parent of its descendants whose parents end meanwhile."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _start(arguments: tuple[Any, ...]) -> tuple[Start, list[int]] | None:
    """Return the start that `subprocess` asks for, with the descriptors to send; None: it is executed."""
    try:
        (
            words, executables, closes, kept, folder, environment, read, _, _, write, _, error, _, ends,
            _, new_session, group, *user, umask, before, _,
        ) = arguments  # fmt: skip
    except ValueError:
        return None
    command = [os.fsdecode(word) for word in words]
    environ = (
        dict(os.environ)
        if environment is None
        else dict(os.fsdecode(entry).split("=", 1) for entry in environment)
    )
    special = not closes or group != -1 or any(each is not None for each in user) or umask != -1
    if special or before is not None or not _is_forked(command, environ):
        return None
    if list(executables) != [os.fsencode(sys.executable)]:
        return None
    streams = {number: given if given != -1 else number for number, given in enumerate((read, write, error))}
    sent = streams | {number: number for number in kept if number != ends}
    ignored = [int(number) for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    blocked = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
    place = os.fsdecode(folder or Path.cwd())
    start = Start(command, environ, place, list(sent), bool(new_session), ignored, blocked)
    return start, list(sent.values())


def _is_forked(command: list[str], environ: Mapping[str, str]) -> bool:
    """Tell whether this is a program of extauthz, for an interpreter that starts as the fork server's did."""
    if parent_death.__file__ in command:
        # Followed by a process id, a signal, a user and a group.
        command = command[command.index(parent_death.__file__) + 5 :]
    interpreter, *words = command
    if words[:1] == ["-P"]:
        del words[0]
    read = {
        name: value
        for name, value in environ.items()
        if name.startswith(_READ_BY_INTERPRETER) and (name, value) != _COERCED
    }
    return (
        interpreter == sys.executable
        and words[:1] == ["-m"]
        and words[1:2] != []
        and words[1] in PROGRAMS
        and read == {"PYTHONPATH": LIGHT["PYTHONPATH"]}
        and sum(map(len, environ.values())) < _MOST_BYTES // 4
    )

"""The process of a fork server: it imports extauthz, then forks for each start that it is asked for.

Run as `python -m tests.fork_server_process DESCRIPTOR PADDING`. It reads starts (`Start` of `fork_server.py`)
from the socket DESCRIPTOR until it ends. A forked child takes the command, environment, folder, descriptors,
session, user and signals of its start, becomes a child of the process that asked, and goes on as `python -m
MODULE` does once it has imported. PADDING is room for the command lines in `/proc/PID/cmdline`.

INVARIANT: the process that forks has one thread, and has used neither grpc nor an event loop.
"""

import ctypes
import fcntl
import gc
import importlib
import os
import pkgutil
import runpy
import signal
import socket
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import extauthz
from extauthz.demo import parent_death
from tests.fork_server import SIGNALS, ForkServer, Start, receive_start

SERVING: Final = ("control-plane", "serve", "sidecar")
"""The commands that start workers. Each gets a fork server, because its workers are its children."""
PROGRAMS: Final = (
    ".__main__", ".client", ".demo.upstream", ".demo.identity_provider", ".runtime.replay_process",
)  # fmt: skip
"""Modules that are not imported: what `python -m` runs, and a deprecated alias."""
_PR_SET_DUMPABLE: Final = 4
_PR_SET_MM: Final = 35
_PR_SET_MM_ARG_END: Final = 9
_ARG_START: Final = 45
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Fork for starts until the requests end; return in a forked child, when its command has ended."""
    control = socket.socket(fileno=int(sys.argv[1]))
    room = _room_for_commands()
    _import_extauthz()
    command = _next_command(control, room)
    if command[-1] in SERVING:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        if os.fork():
            theirs.close()
            ForkServer(ours).use()
        else:
            _keep_only(theirs)
            _show([sys.executable, "-P", "-m", "tests.fork_server_process"], room)
            # Tests and terminals send these to every process of a command.
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            _LIBC.prctl(parent_death.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(0)
            command = _next_command(theirs, room)
    _run(command)


def _import_extauthz() -> None:
    """Import every module of extauthz, and what libraries import when they are used first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(extauthz.__path__, "extauthz."):
            if not module.name.endswith(PROGRAMS):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _next_command(control: socket.socket, room: tuple[int, int]) -> list[str]:
    """Fork for each start, and return its command in the child; this process ends with the requests."""
    while (received := receive_start(control)) is not None:
        start, descriptors = received
        child = _fork_for_caller()
        if child is None:
            control.close()
            return _become(start, descriptors, room)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(child).encode())
    # Without taking a hundred megabytes of modules apart.
    os._exit(0)


def _fork_for_caller() -> int | None:
    """Return the process id of a new child of the process that asked; None in the child.

    A process whose parent ends becomes a child of the nearest ancestor that is a subreaper
    (PR_SET_CHILD_SUBREAPER, prctl(2)). The process that asked is one until it is answered.
    """
    told, telling = os.pipe()
    waiting, letting = os.pipe()
    between = os.fork()
    if between == 0:
        child = os.fork()
        if child:
            os.write(telling, str(child).encode())
            os._exit(0)
        os.close(letting)
        os.read(waiting, 1)
        for each in (told, telling, waiting):
            os.close(each)
        return None
    child = int(os.read(told, 20))
    os.waitpid(between, 0)
    for each in (told, telling, waiting, letting):
        os.close(each)
    return child


def _become(start: Start, descriptors: list[int], room: tuple[int, int]) -> list[str]:
    """Make this process what the start describes; return the command, the interpreter first."""
    _take(dict(zip(start.descriptors, descriptors, strict=True)))
    os.chdir(start.folder)
    if start.new_session:
        os.setsid()
    # First what is blocked: a signal without a handler would end the process.
    signal.pthread_sigmask(signal.SIG_SETMASK, start.blocked)
    for number in SIGNALS:
        handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in start.ignored else handler)
    # The interpreter sets it where the environment has no locale (PEP 538).
    coerced = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(coerced | start.environment)
    command = start.command
    if parent_death.__file__ in command:
        command = parent_death.prepare(command[command.index(parent_death.__file__) + 1 :])
        # A change of user takes /proc/PID from that user, an exec gives it back.
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    _show(command, room)
    return command


def _take(received: dict[int, int]) -> None:
    """Give descriptors the numbers that they have in the process that asked; close all others."""
    above = max(received) + 1
    moved = {number: fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, above) for number, each in received.items()}
    for number, each in moved.items():
        os.dup2(each, number)
    _close_all_but(received)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, f"__{name}__")
        stream = open(  # noqa: SIM115 - a descriptor, open as long as the process
            number, "w" if number else "r", encoding=before.encoding, errors=before.errors, closefd=False
        )
        if name == "stderr":
            stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _keep_only(control: socket.socket) -> None:
    """Close every descriptor but one; the standard streams become /dev/null."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    _close_all_but([0, 1, 2, control.fileno()])


def _close_all_but(descriptors: Iterable[int]) -> None:
    kept = sorted(descriptors)
    for low, high in zip([-1, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
        if low + 1 < high:
            os.closerange(low + 1, high)


def _room_for_commands() -> tuple[int, int]:
    """Return the addresses between which the kernel finds the command line of this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[_ARG_START]), int(fields[_ARG_START + 1])


def _show(command: list[str], room: tuple[int, int]) -> None:
    """Have `/proc/PID/cmdline` and `sys.orig_argv` say the command."""
    sys.orig_argv = list(command)
    first, end = room
    text = b"".join(os.fsencode(word) + b"\0" for word in command)
    if len(text) < end - first:
        ctypes.memmove(first, text.ljust(end - first, b"\0"), end - first)
        # Only root may set the end; for others empty arguments follow.
        _LIBC.prctl(_PR_SET_MM, _PR_SET_MM_ARG_END, ctypes.c_ulong(first + len(text)), 0, 0)


def _run(command: list[str]) -> None:
    """Go on as `python -m MODULE ARGUMENTS` does."""
    at = command.index("-m") + 1
    sys.argv = command[at:]
    if "-P" not in command[:at]:
        sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(command[at], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

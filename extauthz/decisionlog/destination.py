"""Writes whole lines to a file or stream that other processes may write to as well.

INVARIANT: lines of several writers do not interleave. A file is locked (`flock`) for each write, and what
a full disk cut off is removed; a stream is locked through a descriptor that all its writers inherited,
because a pipe splits writes above PIPE_BUF (pipe(7)).
"""

import errno
import fcntl
import os
import select
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

STDOUT: Final = "stdout"
_STDOUT_FD: Final = 1
_MODE: Final = 0o640
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""A file system without locks: one write with O_APPEND is then the only protection."""


class WrittenLines(NamedTuple):
    """The result of a write: lines written, the error that stopped the others, whether the file was deleted.

    A deleted file is made anew before anything is written. `keep`: the others may have arrived, or can be
    written later; they are to be written again as they are. `rejected` are lines among the written ones that
    a collector did not take, for the reason `detail`.
    """

    lines: int
    error: OSError | None = None
    made_anew: bool = False
    keep: bool = False
    rejected: int = 0
    detail: str = ""


class Pace(NamedTuple):
    """How lines are gathered: the longest time that they wait, and how many are written at once.

    `wake_at` is the number of waiting decisions that wakes the writer before its tick. At 3,000 a second a
    tick's worth is half a millisecond of rendering, in which every request under way waits for the
    interpreter: it was the 99th percentile. In larger batches others get a turn after each `turn` lines.
    """

    tick_s: float = 0.05
    wake_at: int = 16
    smallest_batch: int = 16
    turn: int | None = None


class Destination(Protocol):
    """Writes whole lines in order and returns how many it wrote; once open, it raises nothing."""

    @property
    def pace(self) -> Pace:
        """How lines are gathered for it."""

    def write(self, lines: Sequence[bytes]) -> WrittenLines:
        """Write lines, each with its line feed, until done or an error; may block."""

    def reopen(self) -> OSError | None:
        """Go on in the file that now has the path; on an error the old one is kept."""

    def hurry(self) -> None:
        """Wait no longer before the next write: the process ends. For any thread."""

    def abort(self) -> None:
        """End a write that waits for a collector. For any thread."""

    def close(self) -> None:
        """Close the descriptor."""


def open_destination(target: str, *, lock_fd: int | None = None) -> Destination:
    """Open `stdout` or a path for appending; a new file has mode 0640, less the umask.

    `lock_fd` is a descriptor that all processes share that write to the same stream, such as an inherited
    memfd. Raises OSError, naming the path, when it cannot be opened.
    """
    if target == STDOUT:
        return Stream(_STDOUT_FD, lock_fd=lock_fd)
    fd = _open(target)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return RegularFile(target, fd)
    return Stream(fd, lock_fd=lock_fd)


class _Local:
    """What files and streams have in common: they wait for nothing that could be hurried or ended."""

    pace: Final = Pace()

    def hurry(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing: a write to a pipe that is not read ends with the process."""


class RegularFile(_Local):
    """A file of lines, appended to under its own lock."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._end = -1

    def write(self, lines: Sequence[bytes]) -> WrittenLines:
        """Append lines, all in one write when the disk takes it."""
        made_anew = False
        try:
            if os.fstat(self._fd).st_nlink == 0:
                # What is written into a deleted file is nowhere.
                error = self.reopen()
                if error:
                    return WrittenLines(0, error)
                made_anew = True
            with _flocked(self._fd):
                return self._append(lines)._replace(made_anew=made_anew)
        except OSError as error:
            return WrittenLines(0, error, made_anew)

    def reopen(self) -> OSError | None:
        """Open the path anew, as after a rotation."""
        try:
            fd = _open(self._path)
        except OSError as error:
            return error
        os.close(self._fd)
        self._fd, self._end = fd, -1
        return None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _append(self, lines: Sequence[bytes]) -> WrittenLines:
        start = os.fstat(self._fd).st_size
        if start != self._end and self._torn(start):
            # A writer was killed in the middle of a line: the next line must not be appended to it.
            os.write(self._fd, b"\n")
            start += 1
        sent, error = _send(self._fd, b"".join(lines))
        whole, size = _whole(lines, sent)
        if sent > size:
            os.ftruncate(self._fd, start + size)
        self._end = start + size
        return WrittenLines(whole, error)

    def _torn(self, size: int) -> bool:
        if size == 0:
            return False
        try:
            reader = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.pread(reader, 1, size - 1) not in {b"\n", b""}
        finally:
            os.close(reader)


class Stream(_Local):
    """A pipe, terminal or device. A line that an error cut is finished before any other of ours."""

    def __init__(self, fd: int, *, lock_fd: int | None) -> None:
        self._fd = fd
        self._lock_fd = lock_fd
        self._rest = b""

    def write(self, lines: Sequence[bytes]) -> WrittenLines:
        """Write lines; waits while the reader is slow."""
        try:
            with _locked(self._lock_fd):
                return self._write(lines)
        except OSError as error:
            return WrittenLines(0, error)

    def reopen(self) -> OSError | None:
        """Do nothing: a stream does not rotate."""
        return None

    def close(self) -> None:
        """Close what was opened here; standard output stays."""
        if self._fd != _STDOUT_FD:
            os.close(self._fd)

    def _write(self, lines: Sequence[bytes]) -> WrittenLines:
        sent, error = _send(self._fd, self._rest)
        self._rest = self._rest[sent:]
        if error:
            return WrittenLines(0, error)
        sent, error = _send(self._fd, b"".join(lines))
        whole, size = _whole(lines, sent)
        if sent > size:
            self._rest = lines[whole][sent - size :]
            whole += 1
        return WrittenLines(whole, error)


def _open(path: str) -> int:
    # O_NONBLOCK: a FIFO without a reader is an error here (ENXIO), not a start that hangs.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = os.open(path, flags, _MODE)
    os.set_blocking(fd, True)
    return fd


def _send(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """Write data until done or an error; return the bytes that are out and the error."""
    view = memoryview(data)
    sent = 0
    while sent < len(data):
        try:
            sent += os.write(fd, view[sent:])
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return sent, error
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
    return sent, None


def _whole(lines: Sequence[bytes], sent: int) -> tuple[int, int]:
    """Return how many whole lines `sent` bytes hold, and their size."""
    size = 0
    for count, line in enumerate(lines):
        if size + len(line) > sent:
            return count, size
        size += len(line)
    return len(lines), size


@contextmanager
def _flocked(fd: int) -> Iterator[None]:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def _locked(fd: int | None) -> Iterator[None]:
    if fd is None:
        yield
        return
    # A record lock belongs to the process: an inherited descriptor of the same file excludes its siblings.
    fcntl.lockf(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)

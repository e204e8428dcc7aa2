"""A file that is read again when it changes, and reads of files that may be anything.

Input: a path. Output: its octets, and a call for each change. Errors: OSError.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from extauthz.keys.file_stamp import FileStamp, file_stamp

LOOK_EVERY_S: Final = 0.5

_Signature = FileStamp | str


class FollowedFile:
    """A file and the state in which it was last read."""

    def __init__(self, path: Path, at_most: int, on_change: Callable[[], None]) -> None:
        """Store the path; `at_most` is as in `read_regular_file`, and `on_change` calls `read`."""
        self.path = path
        self._at_most = at_most
        self._on_change = on_change
        self._read: _Signature | None = None
        self._seen: _Signature | None = None

    def read(self) -> bytes:
        """Return the content; what changes from now on is a change.

        Raises OSError, also for a file that changes while it is read: its end may be missing. What is there
        and could not be read is read again at the next look.
        """
        found = self._seen = self._signature()
        self._read = found if isinstance(found, str) else None
        octets = read_regular_file(self.path, self._at_most)
        if self._signature() != found:
            raise OSError(errno.EAGAIN, "changed while it was read")
        self._read = found
        return octets

    async def follow(self) -> None:
        """Poll the file until cancelled; a change is read when two consecutive polls see the same state."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Call `on_change` if the file changed before the previous poll and not since."""
        seen, self._seen = self._seen, self._signature()
        if self._seen != self._read and self._seen == seen:
            self._on_change()

    def _signature(self) -> _Signature:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - follows the links of a Kubernetes volume
        except OSError as error:
            return error.strerror or "unreadable"
        return file_stamp(status)


def read_regular_file(path: Path, at_most: int) -> bytes:
    """Return the first `at_most` bytes of a file and one more, if there is one. Raises OSError."""
    # Reading a FIFO or a device may block.
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file")
    with path.open("rb") as file:
        return file.read(at_most + 1)

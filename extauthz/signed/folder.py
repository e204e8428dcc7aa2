"""A folder of heads and bodies, laid out as a server of static files serves it.

Input: heads and bodies. Output: files. Errors: OSError.

INVARIANT: each file is complete under its name from the first moment on, and the head is written after the
bodies that it names.
"""

import errno
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extauthz.signed.head import MAX_HEAD_BYTES, Body, Head
from extauthz.signed.http_source import body_path, head_path

KEPT_S: Final = 900.0
"""How long a body is kept after the last head that names it, for followers that read that head."""
_READABLE: Final = 0o644
_SUFFIX: Final = ".json.gz"


class PolicyFolder:
    """The files of one tenant below a folder."""

    def __init__(self, root: Path, tenant: str, *, file_mode: int = _READABLE) -> None:
        """Name the folder; nothing is read or written yet. `file_mode` is that of new files."""
        self._root = root
        self._file_mode = file_mode
        self._tenant = tenant
        self._head = self._place(head_path(tenant))

    def head(self) -> bytes | None:
        """Return the head that is there, at most a little of one that is too large; None without one.

        Raises OSError.
        """
        return _read(self._head, MAX_HEAD_BYTES)

    def write(self, head: Head, envelope: bytes, bodies: Mapping[str, bytes]) -> None:
        """Write the bodies that are new, then the head, then remove bodies of long ago. Raises OSError."""
        self._head.parent.mkdir(parents=True, exist_ok=True)
        for sha256, octets in bodies.items():
            _write(self._place(body_path(self._tenant, sha256)), octets, self._file_mode)
        _write(self._head, envelope, self._file_mode)
        self._remove(head)

    def body(self, body: Body) -> bytes | None:
        """Return the octets of a body, at most a little more than it has; None if it is not there.

        Raises OSError.
        """
        return _read(self._place(body_path(self._tenant, body.sha256)), body.size)

    def has(self, sha256: str) -> bool:
        """Tell whether a body is there. Raises OSError."""
        return self._place(body_path(self._tenant, sha256)).is_file()

    def lacks(self, head: Head) -> bool:
        """Tell whether a body that the head names is missing."""
        return not all(self.has(body.sha256) for body in head.bodies)

    def _remove(self, head: Head) -> None:
        named = {body.sha256 for body in head.bodies}
        for file in self._head.parent.glob(f"*{_SUFFIX}"):
            if file.name.removesuffix(_SUFFIX) in named:
                # From its last head on, not from when it was written.
                os.utime(file)
            elif file.stat().st_mtime < time.time() - KEPT_S:
                file.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        return self._root / path.removeprefix("/")


def _read(file: Path, at_most: int) -> bytes | None:
    """Return up to `at_most` bytes and one more. Opening a pipe or a device must hold up no start."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        return opened.read(at_most + 1)


def _write(file: Path, octets: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".", dir=file.parent)
    written_file = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as written:
            written.write(octets)
            written.flush()
            os.fsync(written.fileno())
        written_file.chmod(mode)
        written_file.replace(file)
    except BaseException:
        written_file.unlink(missing_ok=True)
        raise

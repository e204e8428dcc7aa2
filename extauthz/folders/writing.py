"""Replaces the text of a file: whole or not at all, and only as it was when it was read.

A file that is not writable is left, although its folder would allow to replace it. Errors: OSError with a
reason.
"""

import errno
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from extauthz.folders.files import read_file
from extauthz.keys.file_stamp import FileStamp, file_stamp


@dataclass(frozen=True, slots=True)
class FileText:
    """The bytes of a file, and what tells that it has not changed since."""

    data: bytes
    stamp: FileStamp


def read_text_of(path: Path, at_most: int) -> FileText:
    """Read a file of at most `at_most` bytes."""
    before = file_stamp(path.stat())
    data = read_file(path, at_most + 1)
    if len(data) > at_most:
        raise OSError(errno.EFBIG, f"is larger than {at_most} bytes", str(path))
    return FileText(data, before)


def replace_text(path: Path, read: FileText, text: bytes) -> None:
    """Replace the text of a file that was read."""
    permissions = stat.S_IMODE(path.stat().st_mode)
    if not permissions & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, "is read-only", str(path))
    write_whole(path, text, permissions, unless_changed=read)


def write_whole(
    path: Path, text: bytes, permissions: int | None = None, *, unless_changed: FileText | None = None
) -> None:
    """Write a file, so that no reader sees a part of it; permissions None: those of any new file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".extauthz-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), _of_new_files() if permissions is None else permissions)
            _take_owner(path, file.fileno())
        if unless_changed is not None and file_stamp(path.stat()) != unless_changed.stamp:
            raise OSError(errno.EAGAIN, "was changed meanwhile", str(path))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _take_owner(path: Path, descriptor: int) -> None:
    """Give the new file the owner of the old one, where this process may."""
    try:
        before, now = path.stat(), os.fstat(descriptor)
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    except OSError:
        return


def _of_new_files() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask

"""The stamp of a file: what changes whenever its content may have changed.

Input: what `stat` says of a file. Output: `FileStamp`.
"""

import os
from typing import Final

FileStamp = tuple[int, int, int, int, int]

NO_STAMP: Final[FileStamp] = (0, 0, 0, 0, 0)
"""In place of the stamp of what cannot be looked at."""


def file_stamp(status: os.stat_result) -> FileStamp:
    """Return the stamp: change time, modification time, size, inode and device.

    INVARIANT: a write is another stamp. `cp -p`, `rsync -a` and archives with fixed times leave modification
    time and size, and in place the inode too; no program can set the change time.
    """
    return status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev

"""Tells when the disk of a log file has little space left, before lines are lost."""

import os
from pathlib import Path
from typing import Final

_LOW_SHARE: Final = 0.05
_LOW_BYTES: Final = 1 << 30
_MIB: Final = 1 << 20


def low_space(path: str) -> str | None:
    """Return how much space is left if it is less than 5 % of the disk and less than 1 GiB; else None.

    Counted is what a process without privileges may use.
    """
    try:
        found = os.statvfs(Path(path).absolute().parent)
    except OSError:
        # The write says what is wrong.
        return None
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if free >= _LOW_BYTES or free >= size * _LOW_SHARE:
        return None
    return f"{free // _MIB} of {size // _MIB} MiB are free"

"""Waits until files or folders change."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from extauthz.folders.files import FolderLimitError, Limits, files_of
from extauthz.keys.file_stamp import NO_STAMP, FileStamp, file_stamp

LOOK_EVERY_S: Final = 0.3
_SHARE: Final = 10
"""Looking takes at most this part of the time."""

WatchedState = tuple[tuple[str, FileStamp], ...]


class Watched:
    """Paths, as they were when they were last looked at."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Look at the paths."""
        self._paths = paths
        self._known = self._look()

    def wait(self) -> None:
        """Return once something has changed, and two looks agree: no file is half written."""
        seen = self._known
        while True:
            begun = time.monotonic()
            found = self._look()
            if found == seen and found != self._known:
                self._known = found
                return
            seen = found
            time.sleep(max(LOOK_EVERY_S, _SHARE * (time.monotonic() - begun)))

    def _look(self) -> WatchedState:
        return tuple(each for path in self._paths for each in _signature(path))


def _signature(path: Path) -> Iterator[tuple[str, FileStamp]]:
    try:
        paths = [file.path for file in files_of(path, Limits())] if path.is_dir() else [path]
    except (OSError, FolderLimitError) as error:
        yield str(error), NO_STAMP
        return
    for each in paths:
        try:
            status = os.stat(each)  # noqa: PTH116  # of many files
        except OSError as error:
            yield f"{each}: {error.errno}", NO_STAMP
        else:
            yield str(each), file_stamp(status)

"""The files of a folder: which there are, and their bytes; nothing of the folder can make reading endless.

A file counts whose name ends in `.yaml`, `.yml` or `.json` and does not begin with a dot. Links to folders
are not followed, so that no circle of links is walked; links to files are read, as Kubernetes mounts have
them. Errors: OSError with the path, or `FolderLimitError`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.domain.one_line import one_line

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
MAX_FILES: Final = 20_000
MAX_ENTRIES: Final = 200_000
_PAGE: Final = 4_096


class FolderLimitError(ValueError):
    """A folder that is too large to be read; the text names the limit."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a folder; `name` is its path below the folder, printable and with `/` between its parts."""

    path: Path
    name: str

    @property
    def is_json(self) -> bool:
        """Whether the file is read as JSON, else as YAML."""
        return self.path.suffix == ".json"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many files and other entries a folder may have; None: any number."""

    files: int | None = MAX_FILES
    entries: int | None = MAX_ENTRIES


UNLIMITED: Final = Limits(None, None)


def files_of(
    root: Path,
    limits: Limits = UNLIMITED,
    *,
    on_error: Callable[[OSError], None] | None = None,
    on_ignored: Callable[[str, str], None] = lambda _name, _why: None,
) -> list[FoundFile]:
    """Return the files of a folder in the order of their paths.

    `on_error` is told of a folder below it that cannot be listed, which is an error without it; `on_ignored`
    of the name of what looks like a part of the policies, and why it is not read.
    Errors: OSError, FolderLimitError.
    """
    if not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is not a directory that can be read", str(root))
    found: list[Path] = []
    seen = 0
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if limits.entries is not None and seen > limits.entries:
                        message = f"has more than {limits.entries} entries; name a smaller folder"
                        raise FolderLimitError(message)
                    _sort(entry, root, found, waiting, on_ignored)
        except OSError as error:
            if on_error is None or folder == root:
                raise
            on_error(error)
        if limits.files is not None and len(found) > limits.files:
            raise FolderLimitError(
                f"has more than {limits.files} files of policies; put more objects into each"
            )
    return [FoundFile(path, shown_name(path, root)) for path in sorted(found)]


def _sort(
    entry: "os.DirEntry[str]",
    root: Path,
    found: list[Path],
    waiting: list[Path],
    on_ignored: Callable[[str, str], None],
) -> None:
    path = Path(entry.path)
    # Kubernetes mounts keep their real files in hidden folders and link to them.
    if entry.name.startswith("."):
        return
    if entry.is_dir(follow_symlinks=False):
        waiting.append(path)
    elif entry.is_symlink() and path.is_dir():
        on_ignored(shown_name(path, root), "is a link to a folder, which is not followed")
    elif path.suffix in SUFFIXES:
        found.append(path)
    elif path.suffix.lower() in SUFFIXES:
        on_ignored(shown_name(path, root), "is not read: its name has to end in .yaml, .yml or .json")


def shown_name(path: Path, root: Path) -> str:
    """Return the path below the folder on one line, also where it is not text."""
    return shown_path(path.relative_to(root))


def shown_path(path: Path) -> str:
    """Return a path on one line, also where it is not text."""
    return one_line(os.fsencode(path).decode("utf-8", "backslashreplace"))


def read_file(path: Path, at_most: int | None) -> bytes:
    """Read a file, or at most the given bytes of it; a FIFO or a device, which may not end, is an OSError."""
    # O_NONBLOCK: opening a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a path has no way to take a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is not a file that holds text", str(path))
        size = max(status.st_size, _PAGE) + 1
        return file.read(size if at_most is None else min(size, at_most))


def sizes(files: list[FoundFile]) -> Iterator[int]:
    """Yield the size of each file. Raises OSError."""
    for file in files:
        yield file.path.stat().st_size

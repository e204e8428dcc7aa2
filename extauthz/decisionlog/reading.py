"""Reads the lines of decision logs from files and streams, plain or in gzip, within bounded memory."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

STDIN: Final = "-"
MAX_LINE: Final = 1 << 20
"""The most bytes of a line. The longest line of a decision log is a tenth of it."""

_Stream = io.BufferedReader | gzip.GzipFile
_GZIP: Final = b"\x1f\x8b"


class LogLine(NamedTuple):
    """A line with its line feed, if it has one; `whole` is false for the beginning of one above MAX_LINE."""

    file: str
    number: int
    raw: bytes
    whole: bool = True


class LogUnreadableError(Exception):
    """A file cannot be read; the text names it."""


def read_lines(files: list[Path]) -> Iterator[LogLine]:
    """Yield the lines of files, one file after the other; `-` is standard input.

    Raises:
        LogUnreadableError: a file cannot be read, or its gzip data is damaged.
    """
    for file in files:
        name = str(file)
        try:
            with _opened(name) as stream:
                yield from _lines(name, stream)
        except (OSError, EOFError, zlib.error) as error:
            cause = getattr(error, "strerror", None) or str(error).lower()
            raise LogUnreadableError(f"{name!r} cannot be read: {cause}") from None


@contextmanager
def _opened(name: str) -> Iterator[_Stream]:
    if name == STDIN:
        yield _plain(_peekable(sys.stdin.buffer))
        return
    with Path(name).open("rb") as stream:
        yield _plain(stream)


def _peekable(stream: Any) -> io.BufferedReader:
    found: io.BufferedReader = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    return found


def _plain(stream: io.BufferedReader) -> _Stream:
    """Return the stream, or what it is when gzip is taken off; its first bytes tell."""
    if stream.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
        return stream
    return gzip.GzipFile(fileobj=stream)


def _lines(name: str, stream: _Stream) -> Iterator[LogLine]:
    number = 0
    while raw := stream.readline(MAX_LINE):
        number += 1
        whole = raw.endswith(b"\n") or len(raw) < MAX_LINE
        if not whole:
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        yield LogLine(name, number, raw, whole)

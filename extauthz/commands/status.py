"""Exit statuses, the one line on stderr that goes with a failure, and answers line by line."""

import sys
from collections.abc import Callable
from typing import Final

from extauthz.domain.one_line import one_line

OK: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2
"""Wrong arguments, or settings or files that cannot be used."""


def fail(message: str, status: int = FAILED) -> int:
    """Print one line on stderr and return `status`."""
    print(f"extauthz: {one_line(message)}", file=sys.stderr)
    return status


def unreadable(path: object, error: OSError) -> int:
    """Report a file that cannot be read; return BAD_USAGE."""
    return fail(f"{str(path)!r} cannot be read: {error.strerror}", BAD_USAGE)


def print_json(ok: bool, **members: object) -> int:  # the member that comes first
    """Print one JSON object on stdout, `ok` first; return OK or FAILED. docs/commands.md has the form."""
    import orjson

    document = {"ok": ok, **members}
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2))
    return OK if ok else FAILED


def answer_lines(answer: Callable[[bytes], bytes]) -> int:
    """Answer every LF-separated line of stdin with one line on stdout; return OK.

    Each answer is flushed, for a caller that reads it before it writes its next line. A last line without LF
    is a line too.
    """
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(answer(line.removesuffix(b"\n")) + b"\n")
        sys.stdout.buffer.flush()
    return OK

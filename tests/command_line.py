"""The command line, run inside of this process: its output and status, without a second of imports."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog

from extauthz.cli import main


def run_extauthz(
    *arguments: str | Path, environ: Mapping[str, str] | None = None, stdin: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """Run a command with these variables alone, and PATH.

    For what a command says. What it does with descriptors, signals and the process needs a process.
    """
    command = list(map(str, arguments))
    output, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with (
        logging_as_before(),
        patch.dict(os.environ, {"PATH": os.environ["PATH"], **(environ or {})}, clear=True),
        patch.multiple(sys, stdin=given, stdout=output, stderr=error),
        pytest.raises(SystemExit) as ended,
    ):
        main(command)
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(
        command,
        ended.value.code,
        *(stream.buffer.getvalue().decode() for stream in (output, error)),
    )


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Undo what a command configures for its process: later tests capture their own logs."""
    configured, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        structlog.configure(**configured)
        root.handlers[:] = handlers
        root.setLevel(level)

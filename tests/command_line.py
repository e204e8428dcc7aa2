"""The command line, run inside of this process: its output and status, without a second of imports."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest

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

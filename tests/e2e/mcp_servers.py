"""The MCP server of the tests as a process."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from extauthz.demo.processes import ReservedPorts, http_answers, spawn
from tests.light_processes import LIGHT


@contextlib.contextmanager
def mcp_server(folder: Path, *options: str) -> Iterator[int]:
    """Serve `tests.mcp_server`; the value is its port."""
    with contextlib.ExitStack() as stack:
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        (port,) = reserved.take()
        server = spawn(
            "mcp",
            [sys.executable, "-m", "tests.mcp_server", str(port), *options],
            output=folder / "mcp.log",
            environment={"PYTHONPATH": f"{LIGHT['PYTHONPATH']}:{Path(__file__).parents[2]}"},
        )
        stack.callback(server.kill)
        server.wait_ready(lambda: http_answers(port, "/"), timeout_s=20)
        yield port

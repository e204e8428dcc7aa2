"""MCP servers on the official SDK as processes."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from extauthz.demo.processes import ReservedPorts, http_answers, spawn
from tests.light_processes import LIGHT


def mcp_server(folder: Path, *options: str) -> contextlib.AbstractContextManager[int]:
    """Serve `tests.mcp_server`; the value is its port."""
    return _served(folder, "tests.mcp_server", options)


def listing_server(
    folder: Path, lists: Mapping[str, object], *options: str
) -> contextlib.AbstractContextManager[int]:
    """Serve `tests.mcp_listing_server` with the pages of its lists; the value is its port."""
    return _served(folder, "tests.mcp_listing_server", (json.dumps(lists), *options))


@contextlib.contextmanager
def _served(folder: Path, module: str, arguments: tuple[str, ...]) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        (port,) = reserved.take()
        server = spawn(
            "mcp",
            [sys.executable, "-m", module, str(port), *arguments],
            output=folder / "mcp.log",
            environment={"PYTHONPATH": f"{LIGHT['PYTHONPATH']}:{Path(__file__).parents[2]}"},
        )
        stack.callback(server.kill)
        server.wait_ready(lambda: http_answers(port, "/"), timeout_s=20)
        yield port

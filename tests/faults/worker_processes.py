"""Look-ups in running processes for the tests of worker faults, and faults of their dependencies."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from extauthz.demo.process_tree import descendants, is_alive
from extauthz.demo.processes import LOOPBACK
from extauthz.demo.rest import RestApi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.demo.postgres import EmbeddedPostgres
    from tests.integration.serving import Serving

STARTS_WITHIN_S = 30.0


def readiness(port: int) -> tuple[int, Mapping[str, Any]]:
    """Return what `/healthz/ready` of a port answers: its status and its body; 0 for no answer."""
    reply = RestApi(port, "").ask("GET", "/healthz/ready")
    return reply.status, reply.document or {}


def workers_of(found: Serving) -> list[int]:
    """Return the process ids of the workers, in the order of their numbers."""
    running = (each.pid for each in descendants(found.process.pid) if is_alive(each))
    return sorted((pid for pid in running if number_of(pid) >= 0), key=number_of)


def log_lines(found: Serving, event: str) -> list[dict[str, Any]]:
    """Return the lines of the application log that report an event."""
    text = (found.folder / "extauthz.log").read_text()
    lines = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]


def execute(postgres: EmbeddedPostgres, *statements: str) -> None:
    """Run SQL as the superuser in the server's own database."""

    async def run() -> None:
        connection = await asyncpg.connect(postgres.superuser_dsn, database="extauthz", ssl=False)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def metrics(port: int) -> str:
    """Return the text of `/metrics`."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def metric(port: int, sample: str) -> float:
    """Return the value of one sample of `/metrics`, whose labels are in the order of their names."""
    text = metrics(port)
    (value,) = (line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{sample} "))
    return float(value)


def number_of(worker: int) -> int:
    """Return the number of a worker, from its command line; -1 when it has ended, and for other processes."""
    try:
        words = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
        return int(words[words.index("worker") + 1])
    except (OSError, ValueError):
        return -1

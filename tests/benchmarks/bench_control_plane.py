"""What the admin REST API does in a second, and what registering in bulk costs the database.

Real parts: the embedded PostgreSQL, durable; `extauthz control-plane` as a process; HTTP connections that are
kept. Goal: a bulk registration costs the database at most 3 times what COPY of the very rows that it wrote
costs. COPY goes into copies of the tables written, `LIKE ... INCLUDING ALL`: the same columns, constraints
and indexes, but no row-level security (which refuses COPY), no foreign keys and no triggers. Both are one
durable transaction. PostgreSQL itself measures both: the durations that it logs for every statement of the
session, COMMIT included. COPY reads its rows from a file on the server; what the API sends has travelled.
"""

import asyncio
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from extauthz.demo.postgres import EmbeddedPostgres
from tests.benchmarks.database import add_rules, address_of, started_postgres
from tests.benchmarks.measuring import keep, spread
from tests.integration.serving import ADMIN_KEY, Serving, serving
from tests.integration.storage_documents import attribute_policy, role_rule

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PRESENT = 10_000
WRITES = 300
CLIENTS = 4
REGISTERED = 1_000
ROUNDS = 7
PAGE = 1_000
GOAL: Final = 3.0

_RULES = "/api/v1/resources/policies"
_RESOURCES = "/api/v1/resources"
_POLICIES = "/api/v1/abac/policies"
_WRITTEN: Final = (
    "resources", "route_claims", "default_roles_applied", "role_rules", "policy_changes", "audit_events",
)  # fmt: skip
_DURATION: Final = re.compile(r"\[(\d+)\] LOG:  duration: ([0-9.]+) ms(.*)")


class Client:
    """One caller with one connection that it keeps."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document)
        headers = {"X-Admin-Api-Key": ADMIN_KEY, "Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        received = response.read()
        assert response.status in {200, 201}, received
        return json.loads(received)


def without_id(document: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in document.items() if name != "id"}


def writes(found: Serving) -> dict[str, object]:
    """Create role rules and attribute policies among those present, alone and beside other clients."""
    make: dict[str, tuple[str, Callable[[str], dict[str, object]]]] = {
        "role_rules": (_RULES, lambda name: without_id(role_rule(sub=name))),
        "attribute_policies": (_POLICIES, lambda name: without_id(attribute_policy(name=name))),
    }
    numbers: dict[str, object] = {}
    for noun, (path, document) in make.items():
        for clients in (1, CLIENTS):
            taken, seconds = _written(found.rest_port, path, document, clients)
            key = f"{noun}_by_{clients}_client{'s' if clients > 1 else ''}"
            numbers[key] = {"per_s": round(len(taken) / seconds, 1), "ms": spread(taken)}
    return numbers


def _written(
    port: int, path: str, document: Callable[[str], dict[str, object]], clients: int
) -> tuple[list[float], float]:
    taken: list[float] = []

    def write_on(who: int) -> None:
        client = Client(port)
        for number in range(WRITES // clients):
            before = time.perf_counter()
            client.ask("POST", path, document(f"writer-{clients}-{who}-{number}"))
            taken.append((time.perf_counter() - before) * 1000)

    writers = [threading.Thread(target=write_on, args=(who,)) for who in range(clients)]
    began = time.perf_counter()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seconds = time.perf_counter() - began
    assert len(taken) == WRITES // clients * clients, "a writer failed"
    return taken, seconds


def listed(found: Serving) -> dict[str, object]:
    """Walk through all rules, page by page."""
    client = Client(found.rest_port)
    pages: list[float] = []
    items: set[str] = set()
    cursor = ""
    began = time.perf_counter()
    while True:
        before = time.perf_counter()
        page = client.ask("GET", f"{_RULES}?limit={PAGE}{cursor}")
        pages.append((time.perf_counter() - before) * 1000)
        items |= {item["id"] for item in page["items"]}
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    seconds = time.perf_counter() - began
    assert len(items) >= PRESENT
    return {"items": len(items), "seconds": round(seconds, 3), "page_items": PAGE, "page_ms": spread(pages)}


def declarations(round_number: int) -> list[dict[str, object]]:
    """A thousand resources, each with a route and two default roles."""
    return [
        {
            "name": f"round{round_number}-thing{number}:read",
            "displayName": f"Read thing {number}",
            "serviceName": "benchmark",
            "defaultRoles": ["reader", "editor"],
            "routes": [{"methods": ["GET"], "path": f"/round{round_number}/things{number}/{{id}}"}],
        }
        for number in range(REGISTERED)
    ]


class StatementLog:
    """How long the server says that a session's statements took."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skip()

    def skip(self) -> None:
        """Leave out what was logged until now."""
        self._read = self._path.stat().st_size

    def session_ms(self, statement: str) -> float:
        """Return the time of all statements, since `skip`, of the one session that made this one."""
        with self._path.open(encoding="utf-8", errors="replace") as stream:
            stream.seek(self._read)
            text = stream.read()
        entries = [match.groups() for match in map(_DURATION.search, text.splitlines()) if match]
        sessions = {pid for pid, _, said in entries if statement in said}
        (session,) = sessions
        return sum(float(milliseconds) for pid, milliseconds, _ in entries if pid == session)


async def registered(found: Serving, server: EmbeddedPostgres, folder: Path) -> dict[str, object]:
    """Register in bulk; then COPY the rows that this wrote; the same log says what each took."""
    superuser = await asyncpg.connect(server.superuser_dsn)
    for setting in ("log_min_duration_statement = 0", "log_parameter_max_length = 0"):
        await superuser.execute(f"ALTER SYSTEM SET {setting}")
    await superuser.execute("SELECT pg_reload_conf()")
    for table in _WRITTEN:
        await superuser.execute(f"CREATE TABLE copy_of_{table} (LIKE {table} INCLUDING ALL)")
    client = Client(found.rest_port)
    client.ask("POST", f"{_RESOURCES}/list", declarations(0)[:2])  # prepares the statements
    log = StatementLog(server.log)
    rest_s, api_ms, copy_ms = [], [], []
    rows: dict[str, int] = {}
    for number in range(1, ROUNDS + 1):
        body = declarations(number)
        await superuser.execute("CHECKPOINT")
        log.skip()
        before = time.perf_counter()
        answer = client.ask("POST", f"{_RESOURCES}/list", body)
        rest_s.append(time.perf_counter() - before)
        assert len(answer) == REGISTERED
        api_ms.append(log.session_ms("INSERT INTO resources"))
        rows = await _moved_to_files(superuser, folder)
        await superuser.execute("CHECKPOINT")
        log.skip()
        async with superuser.transaction():
            for table in _WRITTEN:
                await superuser.execute(f"COPY copy_of_{table} FROM '{folder / table}'")
        copy_ms.append(log.session_ms("COPY copy_of_resources FROM"))
    await superuser.close()
    api, copy = statistics.median(api_ms), statistics.median(copy_ms)
    return {
        "resources": REGISTERED,
        "rows_written": rows,
        "rest_s": round(statistics.median(rest_s), 3),
        "database_ms": round(api, 1),
        "copy_ms": round(copy, 1),
        "ratio": round(api / copy, 2),
        "ratios": [round(one / other, 2) for one, other in zip(api_ms, copy_ms, strict=True)],
        "goal": GOAL,
    }


async def _moved_to_files(superuser: "Connection", folder: Path) -> dict[str, int]:
    """Write the rows of the last revision to a file for each table; return how many there are."""
    revision = await superuser.fetchval("SELECT revision FROM tenants WHERE tenant_id = 'default'")
    of_revision = dict.fromkeys(_WRITTEN, f"revision = {revision}") | {
        "route_claims": f"resource_id IN (SELECT id FROM resources WHERE revision = {revision})"
    }
    rows: dict[str, int] = {}
    for table, which in of_revision.items():
        await superuser.execute(f"TRUNCATE copy_of_{table}")
        done = await superuser.execute(f"COPY (SELECT * FROM {table} WHERE {which}) TO '{folder / table}'")
        rows[table] = int(done.split()[-1])
    return rows


def main() -> None:
    """Measure, and keep the numbers."""
    with started_postgres() as server, tempfile.TemporaryDirectory() as name:
        # Both the server, as whoever it runs as, and we write here.
        folder = Path(name)
        folder.chmod(0o777)
        with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
            found.start("control-plane")
            asyncio.run(add_rules(address_of(server), 0, PRESENT))
            numbers = {
                "rules_present": PRESENT,
                "writes": writes(found),
                "listing": listed(found),
                "bulk_registration": asyncio.run(registered(found, server, folder)),
            }
    keep("control_plane", numbers)


if __name__ == "__main__":
    main()

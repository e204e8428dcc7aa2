"""The requests a second of the admin REST API, and the cost of a bulk registration for the database.

Real parts: the embedded PostgreSQL, durable; `extauthz control-plane` as a process; HTTP connections that are
kept. Kinds of writes, and one client or several, take turns in each round. Goal: a bulk registration costs
the database at most 3 times what COPY of the very rows that it wrote costs; `copying` says what into.
"""

import asyncio
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg

from extauthz.demo.postgres import EmbeddedPostgres
from tests.benchmarks.copying import KINDS, Copies, Cost, Sessions
from tests.benchmarks.database import add_policies, add_rules, address_of, started_postgres
from tests.benchmarks.measuring import keep, spread
from tests.integration.serving import ADMIN_KEY, Serving, serving
from tests.integration.storage_documents import attribute_policy, role_rule

PRESENT = {"role_rules": 10_000, "attribute_policies": 1_000}
WRITES = 120
CLIENTS = 4
WRITE_ROUNDS = 5
WALKS = 9
PAGES = (100, 1_000)
"""The default size of a page, and the largest."""
REGISTERED = 1_000
ROUNDS = 10
GOAL: Final = 3.0

_RULES = "/api/v1/resources/policies"
_RESOURCES = "/api/v1/resources"
_POLICIES = "/api/v1/abac/policies"
_WRITTEN: Final = (
    "resources", "route_claims", "default_roles_applied", "role_rules", "policy_changes", "audit_events",
)  # fmt: skip


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
    """Create role rules and attribute policies among those present, alone and with other clients."""
    make: dict[str, tuple[str, Callable[[str], dict[str, object]]]] = {
        "role_rules": (_RULES, lambda name: without_id(role_rule(sub=name))),
        "attribute_policies": (_POLICIES, lambda name: without_id(attribute_policy(name=name))),
    }
    turns = [(noun, clients) for noun in make for clients in (1, CLIENTS)]
    taken: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    rates: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    for number in range(WRITE_ROUNDS):
        for noun, clients in turns if number % 2 else turns[::-1]:
            path, document = make[noun]
            some, seconds = _written(found.rest_port, path, document, clients, number)
            taken[noun, clients] += some
            rates[noun, clients].append(len(some) / seconds)
    return {
        f"{noun}_by_{clients}_client{'s' if clients > 1 else ''}": {
            "per_s": round(statistics.median(rates[noun, clients]), 1),
            "best_round_per_s": round(max(rates[noun, clients]), 1),
            "ms": spread(taken[noun, clients]),
        }
        for noun, clients in turns
    }


def _written(
    port: int, path: str, document: Callable[[str], dict[str, object]], clients: int, round_number: int
) -> tuple[list[float], float]:
    taken: list[float] = []

    def write_on(writer: int) -> None:
        client = Client(port)
        for number in range(WRITES // clients):
            before = time.perf_counter()
            client.ask("POST", path, document(f"writer-{round_number}-{clients}-{writer}-{number}"))
            taken.append((time.perf_counter() - before) * 1000)

    writers = [threading.Thread(target=write_on, args=(writer,)) for writer in range(clients)]
    began = time.perf_counter()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seconds = time.perf_counter() - began
    assert len(taken) == WRITES // clients * clients, "a writer failed"
    return taken, seconds


def listed(found: Serving, path: str) -> dict[str, object]:
    """Walk through all items of a list several times, by small pages and by large ones in turns."""
    client = Client(found.rest_port)
    seconds: dict[int, list[float]] = {limit: [] for limit in PAGES}
    pages: dict[int, list[float]] = {limit: [] for limit in PAGES}
    items = 0
    for _ in range(WALKS):
        for limit in PAGES:
            taken, ids = _walked(client, path, limit)
            seconds[limit].append(sum(taken) / 1000)
            pages[limit] += taken
            items = len(ids)
            assert items >= PRESENT["role_rules"]
    return {"items": items} | {
        f"pages_of_{limit}": {
            "seconds": round(statistics.median(seconds[limit]), 3),
            "page_ms": spread(pages[limit]),
        }
        for limit in PAGES
    }


def _walked(client: Client, path: str, limit: int) -> tuple[list[float], set[str]]:
    pages: list[float] = []
    ids: set[str] = set()
    cursor = ""
    while True:
        before = time.perf_counter()
        page = client.ask("GET", f"{path}?limit={limit}{cursor}")
        pages.append((time.perf_counter() - before) * 1000)
        ids |= {item["id"] for item in page["items"]}
        if page["next_cursor"] is None:
            return pages, ids
        cursor = f"&cursor={page['next_cursor']}"


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


async def registered(found: Serving, server: EmbeddedPostgres, folder: Path) -> dict[str, object]:
    """Register in bulk, COPY what this wrote into both kinds of copies, register the same once more."""
    superuser = await asyncpg.connect(server.superuser_dsn)
    await Sessions.log_statements(superuser)
    copies, sessions = Copies(superuser, _WRITTEN, folder), Sessions(server)
    await copies.create()
    client = Client(found.rest_port)
    client.ask("POST", f"{_RESOURCES}/list", declarations(0)[:2])  # prepares the statements
    costs: dict[str, list[Cost]] = {kind: [] for kind in ("api", *KINDS)}
    rest_s: dict[str, list[float]] = {"new": [], "there_already": []}
    rows: dict[str, int] = {}
    for number in range(1, ROUNDS + 1):
        body = declarations(number)
        await superuser.execute("CHECKPOINT")
        sessions.begin()
        rest_s["new"].append(_registration_s(client, body))
        costs["api"].append(sessions.cost_of("INSERT INTO resources"))
        revision = await superuser.fetchval("SELECT revision FROM tenants WHERE tenant_id = 'default'")
        rows = await copies.take({table: _of_revision(table, revision) for table in _WRITTEN})
        assert rows["resources"] == REGISTERED
        for kind in KINDS if number % 2 else KINDS[::-1]:
            costs[kind].append(await copies.copied(kind, sessions))
        rest_s["there_already"].append(_registration_s(client, body))
    await superuser.close()
    return {
        "resources": REGISTERED,
        "rows_written": rows,
        "rest_s": {name: round(statistics.median(taken), 3) for name, taken in rest_s.items()},
        "database": {
            kind: {
                "ms": round(statistics.median(cost.ms for cost in each), 1),
                "cpu_ms": round(statistics.median(cost.cpu_ms for cost in each), 1),
            }
            for kind, each in costs.items()
        },
        **{f"to_{kind}_copies": _times(costs["api"], costs[kind]) for kind in KINDS},
        "goal": GOAL,
    }


def _registration_s(client: Client, body: list[dict[str, object]]) -> float:
    before = time.perf_counter()
    answer = client.ask("POST", f"{_RESOURCES}/list", body)
    seconds = time.perf_counter() - before
    assert [item["name"] for item in answer] == [item["name"] for item in body]
    return seconds


def _of_revision(table: str, revision: int) -> str:
    """Name the rows that the write of a revision made; a claim has its resource's."""
    if table == "route_claims":
        return f"resource_id IN (SELECT id FROM resources WHERE revision = {revision})"
    return f"revision = {revision}"


def _times(api: list[Cost], copy: list[Cost]) -> dict[str, object]:
    """Say how many times as much the API's session spent, in each round and in the middle of them."""
    by_clock = [round(one.ms / other.ms, 2) for one, other in zip(api, copy, strict=True)]
    by_cpu = [round(one.cpu_ms / other.cpu_ms, 2) for one, other in zip(api, copy, strict=True)]
    return {
        "ratio": round(statistics.median(by_clock), 2),
        "cpu_ratio": round(statistics.median(by_cpu), 2),
        "ratios": by_clock,
        "cpu_ratios": by_cpu,
    }


def main() -> None:
    """Measure, and keep the numbers."""
    with started_postgres() as server, tempfile.TemporaryDirectory() as name:
        # The server, under its own user, and this process write here.
        folder = Path(name)
        folder.chmod(0o777)
        with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
            found.start("control-plane")
            asyncio.run(add_rules(address_of(server), 0, PRESENT["role_rules"]))
            asyncio.run(add_policies(address_of(server), PRESENT["attribute_policies"]))
            numbers: dict[str, object] = {
                "present": PRESENT,
                "writes": writes(found),
                "listing_role_rules": listed(found, _RULES),
                "bulk_registration": asyncio.run(registered(found, server, folder)),
                "listing_resources": listed(found, _RESOURCES),
            }
    keep("control_plane", numbers)


if __name__ == "__main__":
    main()

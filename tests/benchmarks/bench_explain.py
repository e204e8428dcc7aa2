"""Explaining a decision of 10,000 changes ago, what history costs a write, and what the digest costs.

Real parts: the embedded PostgreSQL, durable; `extauthz control-plane` as a process; each change is one write
over REST. Writes with the triggers of history and without take turns. Goals: an explanation of 10,000 changes
ago takes at most 2 s; the digest delays the load of a million rules by nothing, and costs a change at most
5 us.
"""

import asyncio
import gc
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from extauthz.compile.documents.policy_files import read_document
from extauthz.compile.snapshot_building import derive
from extauthz.domain.time_text import rfc3339
from extauthz.publish.loading import short_steps
from extauthz.storage.pool import connect
from tests.benchmarks.bench_control_plane import Client, without_id
from tests.benchmarks.bench_policies import snapshot_of
from tests.benchmarks.bench_reload import policy_text
from tests.benchmarks.database import add_policies, add_rules, address_of, started_postgres
from tests.benchmarks.measuring import MachineLoad, keep, spread
from tests.integration.serving import ADMIN_KEY, serving
from tests.integration.storage_documents import attribute_policy, role_binding, role_rule

PRESENT: Final = {"role_rules": 100_000, "attribute_policies": 1_000}
CHANGES: Final = 10_000
EXPLAINED: Final = 15
WRITES: Final = 60
ROUNDS: Final = 6
RULES: Final = 1_000_000
GOAL_S: Final = 2.0

_RULES: Final = "/api/v1/resources/policies"
_BINDINGS: Final = "/api/v1/role-bindings"
_POLICIES: Final = "/api/v1/abac/policies"
_EXPLAIN: Final = "/api/v1/explain"
_KEPT: Final = ("resources", "role_rules", "role_bindings", "attribute_policies")
_QUESTION: Final = {
    "subject": "alice", "resource": "invoice:read", "action": "read",
    "attributes": {"user": {"roles": ["finance"]}},
}  # fmt: skip


class Changes:
    """One change after another: rules, bindings and policies are created, replaced and deleted."""

    def __init__(self, client: "Asking") -> None:
        self._client = client
        self._draw = random.Random(7)
        self._rows: dict[str, list[dict[str, Any]]] = {_RULES: [], _BINDINGS: [], _POLICIES: []}
        self._count = 0

    def one(self) -> None:
        """Make one change."""
        self._count += 1
        path = self._draw.choice((_RULES, _RULES, _BINDINGS, _POLICIES))
        rows = self._rows[path]
        if rows and (chance := self._draw.random()) < 0.6:
            row = rows.pop(self._draw.randrange(len(rows)))
            if chance < 0.3 and path != _BINDINGS:
                changed = without_id(row) | self._changed(path)
                self._client.ask("PUT", f"{path}/{row['id']}", changed)
                rows.append(changed | {"id": row["id"]})
            else:
                self._client.delete(f"{path}/{row['id']}")
            return
        document = without_id(self._new(path))
        created = self._client.ask("POST", path, document)
        rows.append(document | {"id": created["id"]})

    def _new(self, path: str) -> dict[str, Any]:
        name = f"n{self._count}"
        condition = {
            "type": "CONDITION", "attribute": "user.level", "operator": "gte", "value": self._count,
        }  # fmt: skip
        return {
            _RULES: role_rule(sub=name),
            _BINDINGS: role_binding(user=name),
            _POLICIES: attribute_policy(name=name, effect="allow", rule_data=condition),
        }[path]

    def _changed(self, path: str) -> dict[str, Any]:
        return {"act": f"act-{self._count}"} if path == _RULES else {"priority": self._count % 1000}


class Asking(Client):
    """A client that deletes, too."""

    def delete(self, path: str) -> None:
        """Delete a row."""
        self._connection.request("DELETE", path, headers={"X-Admin-Api-Key": ADMIN_KEY})
        response = self._connection.getresponse()
        response.read()
        assert response.status == 204, response.status


def explained(client: Client, revision: int) -> dict[str, Any]:
    """Explain the question at a revision several times."""
    seconds = []
    for _ in range(EXPLAINED):
        began = time.perf_counter()
        answer = client.ask("POST", _EXPLAIN, _QUESTION | {"at": revision})
        seconds.append(time.perf_counter() - began)
        assert answer["policies"]["revision"] == revision
        assert answer["policies"]["matches"] is True
    return {"median_s": round(statistics.median(seconds), 3), "slowest_s": round(max(seconds), 3)}


def writes(address: Any, changes: Changes) -> dict[str, Any]:
    """Write with the triggers of history and without, in turns."""
    taken: dict[str, list[float]] = {"with_history": [], "without": []}
    for number in range(ROUNDS):
        for name in taken if number % 2 else reversed(taken):
            asyncio.run(_switch(address, enabled=name == "with_history"))
            for _ in range(WRITES):
                began = time.perf_counter()
                changes.one()
                taken[name].append((time.perf_counter() - began) * 1000)
    asyncio.run(_switch(address, enabled=True))
    return {f"{name}_ms": spread(values) for name, values in taken.items()}


async def _switch(address: Any, *, enabled: bool) -> None:
    connection = await connect(address)
    for table in _KEPT:
        await connection.execute(f"ALTER TABLE {table} {'ENABLE' if enabled else 'DISABLE'} TRIGGER USER")
    await connection.close()


async def _stored(address: Any) -> dict[str, Any]:
    connection = await connect(address)
    async with connection.transaction():
        await connection.execute("SELECT set_config('extauthz.tenant', 'default', true)")
        found = {
            "versions": await connection.fetchval("SELECT count(*) FROM row_history"),
            "bytes_of_row_history": await connection.fetchval("SELECT pg_total_relation_size('row_history')"),
            "bytes_of_policy_revisions": await connection.fetchval(
                "SELECT pg_total_relation_size('policy_revisions')"
            ),
        }
    await connection.close()
    return found


def digest() -> dict[str, Any]:
    """Load a million rules, count them, and change one at a time."""
    text = policy_text("a", RULES).encode()
    gc.collect()
    gc.freeze()
    began = time.process_time()
    with short_steps():
        snapshot = snapshot_of(read_document(text, is_json=True, max_bytes=None))
    loaded = time.process_time() - began
    assert snapshot.policy_digest.text is None, "counting waits until the set is in force"
    began = time.process_time()
    with short_steps():
        counted = snapshot.policy_digest.counted()
    counting = time.process_time() - began
    rule = next(iter(snapshot.role_rules_by_id.values()))
    others = [rule._replace(act=f"act-{number}") for number in range(3_000)]
    began = time.process_time()
    for number, other in enumerate(others):
        snapshot = derive(snapshot, number + 2, [other])  # type: ignore[assignment]
    deriving = (time.process_time() - began) / len(others)
    began = time.process_time()
    for other in others:
        assert snapshot.policy_digest.changed([rule], [other]).text != counted
    changing = (time.process_time() - began) / len(others)
    return {
        "rules": RULES,
        "load_cpu_s": round(loaded, 3),
        "counted_after_the_load_cpu_s": round(counting, 3),
        "a_change_us": round(deriving * 1e6, 2),
        "of_which_the_digest_us": round(changing * 1e6, 2),
        "goal_us": 5.0,
    }


def main() -> None:
    """Measure, and keep the numbers."""
    load = MachineLoad()
    with started_postgres() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The server, under its own user, and this process write here.
        folder.chmod(0o777)
        with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
            found.start("control-plane")
            address = address_of(server)
            asyncio.run(add_rules(address, 0, PRESENT["role_rules"]))
            asyncio.run(add_policies(address, PRESENT["attribute_policies"]))
            client = Asking(found.rest_port)
            changes = Changes(client)
            changes.one()
            now = rfc3339(datetime.now(UTC))
            first = client.ask("POST", _EXPLAIN, _QUESTION | {"at": now})["policies"]["revision"]
            for _ in range(CHANGES):
                changes.one()
            numbers = {
                "present": PRESENT,
                "changes": CHANGES,
                "goal_s": GOAL_S,
                "explained": {
                    f"{ago}_changes_ago": explained(client, first + CHANGES - ago)
                    for ago in (CHANGES, CHANGES // 10, 1)
                },
                "stored": asyncio.run(_stored(address)),
                "writes": writes(address, changes),
            }
    keep("explain", numbers | {"digest": digest()}, load.document())


if __name__ == "__main__":
    main()

"""What signing costs a control plane: of many tenants, of many changes a second, with a second replica.

Real parts: the embedded PostgreSQL, `extauthz control-plane` with MODE=saas, tenants that are made over REST.
Heads are signed anew every third of POLICY_MAX_STALENESS, which is short here, so that there is enough to
measure; `cpu_ms_a_head` is what one costs, without what the same process takes while it signs nothing.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import http_answers
from extauthz.demo.rest import RestApi
from extauthz.storage import feed, signed_policies
from extauthz.storage.connection import open_reader
from extauthz.storage.pool import DatabaseAddress, open_pool
from tests.benchmarks.database import add_rules_of, address_of, started_postgres
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep
from tests.integration.serving import Serving, database_environment, serving

TENANTS: Final = (100, 1_000)
RULES_OF_A_TENANT: Final = 50
STALENESS_S: Final = 60
IDLE_STALENESS_S: Final = 86_400
WINDOW_S: Final = 20.0
CHANGES: Final = 100
CHANGES_A_SECOND: Final = 10.0
_RULES: Final = "/api/v1/resources/policies"


class Database:
    """The heads that are stored, and the CPU of PostgreSQL with all processes that it had."""

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address

    async def __aenter__(self) -> "Database":
        self._connection = await open_reader(self._address)
        self._serials: dict[str, int] = {}
        backend = await self._connection.fetchval("SELECT pg_backend_pid()")
        parent = psutil.Process(backend).parent()
        assert parent is not None
        self._server = parent
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def newer(self) -> int:
        """Return how many tenants have a newer head than at the last call."""
        async with feed.one_moment(self._connection):
            found = await signed_policies.newer_heads(self._connection, self._serials)
        self._serials |= {tenant: stored.serial for tenant, stored in found.items()}
        return len(found)

    async def grow_to(self, tenants: int) -> None:
        """Wait until each tenant has a head."""
        deadline = time.monotonic() + 120
        while len(self._serials) < tenants:
            assert time.monotonic() < deadline, f"{len(self._serials)} of {tenants} tenants have a head"
            await asyncio.sleep(0.2)
            await self.newer()

    def cpu_s(self) -> float:
        own = self._server.cpu_times()
        found = own.user + own.system + own.children_user + own.children_system
        for child in self._server.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            found += times.user + times.system
        return float(found)

    async def heads_within(self, seconds: float) -> int:
        """Return how many heads are stored in a time."""
        await self.newer()
        found, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            found += await self.newer()
        return found


async def window(database: Database, planes: Sequence[Serving]) -> dict[str, object]:
    """Measure the processes for a time, while nothing changes."""
    pids = [plane.process.pid for plane in planes]
    before, stored = [cpu_us([pid]) for pid in pids], database.cpu_s()
    heads = await database.heads_within(WINDOW_S)
    return {
        "heads": heads,
        "cpu_s": [round((cpu_us([pid]) - at) / 1e6, 3) for pid, at in zip(pids, before, strict=True)],
        "postgres_cpu_s": round(database.cpu_s() - stored, 3),
    }


def restart(planes: Sequence[Serving], staleness_s: int) -> None:
    for plane in planes:
        if plane.child is not None:
            plane.process.stop(grace_s=8)
        plane.environ["POLICY_MAX_STALENESS"] = str(staleness_s)
        plane.start("control-plane", ready=False)
        plane.process.wait_ready(partial(http_answers, plane.rest_port, "/healthz/ready"), timeout_s=180)


def make_tenants(rest: RestApi, first: int, until: int) -> list[str]:
    """Make tenants; return their bootstrap keys."""
    keys = []
    for number in range(first, until):
        slug = f"firm-{number}"
        keys.append(str(rest.create("/admin/tenants", {"name": slug, "slug": slug}).document["bootstrapKey"]))
    return keys


async def add_rules(address: DatabaseAddress, first: int, until: int) -> None:
    async with open_pool(address) as pool:
        for number in range(first, until):
            await add_rules_of(pool, f"firm-{number}", range(RULES_OF_A_TENANT))


def resident_mib(plane: Serving) -> float:
    return round(psutil.Process(plane.process.pid).memory_info().rss / 2**20, 1)


async def of_tenants(
    address: DatabaseAddress, planes: Sequence[Serving], tenants: int
) -> Mapping[str, object]:
    """Measure one control plane that signs heads anew and one that does not, then two that share the work."""
    found: dict[str, object] = {"tenants": tenants, "window_s": WINDOW_S, "staleness_s": STALENESS_S}
    async with Database(address) as database:
        for name, running, staleness in (
            ("idle", planes[:1], IDLE_STALENESS_S),
            ("one", planes[:1], STALENESS_S),
            ("two", planes, STALENESS_S),
        ):
            await asyncio.to_thread(restart, running, staleness)
            await database.grow_to(tenants)
            # Whatever the start owes is signed within one renewal.
            await database.heads_within(staleness / 3 if staleness == STALENESS_S else 5)
            found[name] = await window(database, running)
            found[f"{name}_mib"] = [resident_mib(each) for each in running]
        for plane in planes[1:]:
            await asyncio.to_thread(plane.process.stop, grace_s=8)
            plane.child = None
    return found


async def of_changes(database: Database, planes: Sequence[Serving], key: str) -> Mapping[str, object]:
    """Write changes at a rate, each through the next replica; the last one has to be signed."""
    pids = [plane.process.pid for plane in planes]
    apis = [plane.rest.with_service_key(key) for plane in planes]
    before, stored = [cpu_us([pid]) for pid in pids], database.cpu_s()
    heads = asyncio.create_task(database.heads_within(CHANGES / CHANGES_A_SECOND))
    late = 0.0
    for number in range(CHANGES):
        began = time.monotonic()
        rule = {"sub": f"r-{number}-{len(planes)}", "dom": "*", "obj": "*", "act": "*", "effect": "allow"}
        await asyncio.to_thread(apis[number % len(apis)].create, _RULES, rule)
        took = time.monotonic() - began
        late = max(late, took)
        await asyncio.sleep(max(0.0, 1 / CHANGES_A_SECOND - took))
    await heads
    taken = [(cpu_us([pid]) - at) / 1e3 / CHANGES for pid, at in zip(pids, before, strict=True)]
    return {
        "replicas": len(planes),
        "changes_a_second": CHANGES_A_SECOND,
        "cpu_ms_a_change": [round(each, 2) for each in taken],
        "postgres_cpu_ms_a_change": round((database.cpu_s() - stored) * 1e3 / CHANGES, 2),
        "slowest_write_s": round(late, 3),
    }


async def changes(
    address: DatabaseAddress, planes: Sequence[Serving], key: str
) -> list[Mapping[str, object]]:
    """Measure changes of one tenant among all, with one control plane and with two."""
    found = []
    async with Database(address) as database:
        for running in (planes[:1], planes):
            await asyncio.to_thread(restart, running, IDLE_STALENESS_S)
            await database.heads_within(5)
            found.append(await of_changes(database, running, key))
    return found


def a_head(run: Mapping[str, Any], idle: Mapping[str, Any]) -> float | None:
    """Return the milliseconds of CPU of one head, of all control planes together."""
    taken = sum(run["cpu_s"]) - len(run["cpu_s"]) * sum(idle["cpu_s"])
    return round(taken * 1000 / run["heads"], 3) if run["heads"] else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=max(TENANTS))
    most = parser.parse_args().most
    machine = MachineLoad()
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with started_postgres() as server, tempfile.TemporaryDirectory() as folder:
        address = address_of(server)
        folders = [Path(folder, name) for name in ("one", "two")]
        for each in folders:
            each.mkdir()
        environ = database_environment(address)
        more = {"POLICY_SIGNING_KEY": pem.decode(), "MODE": "saas", "POLICY_POLL_INTERVAL": "5"}
        more["MIGRATE_ON_START"] = "true"
        with (
            serving(folders[0], environ | more, workers=1) as one,
            serving(folders[1], environ | more, workers=1) as two,
        ):
            runs, made, keys = [], 0, list[str]()
            for tenants in (each for each in TENANTS if each <= most):
                restart([one], IDLE_STALENESS_S)
                keys += make_tenants(one.rest, made, tenants)
                asyncio.run(add_rules(address, made, tenants))
                made = tenants
                run: dict[str, Any] = dict(asyncio.run(of_tenants(address, [one, two], tenants)))
                for name in ("one", "two"):
                    run[f"{name}_cpu_ms_a_head"] = a_head(run[name], run["idle"])
                runs.append(run)
            numbers = {
                "rules_of_a_tenant": RULES_OF_A_TENANT,
                "renewed": runs,
                "changes": asyncio.run(changes(address, [one, two], keys[0])),
            }
    keep("signing", numbers, machine.document())


if __name__ == "__main__":
    main()

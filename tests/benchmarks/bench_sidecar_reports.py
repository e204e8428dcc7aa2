"""What reports of sidecars cost a control plane, and how long a write with `?wait=all` takes.

Real parts: the embedded PostgreSQL, `extauthz control-plane`, HTTP on loopback. Sidecars are connections of
this process that report as the workers of sidecars do, at the interval that the control plane tells them, and
after a change within a tenth of it. CPU is of the control plane, and of PostgreSQL apart.
"""

import asyncio
import http.client
import json
import random
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

from extauthz.storage.pool import DatabaseAddress, open_pool
from tests.benchmarks.database import address_of, started_postgres
from tests.benchmarks.measuring import MachineLoad, keep, percentile
from tests.integration.serving import ADMIN_KEY, ANONYMOUS_READS, Serving, database_environment, serving

SIDECARS = (10, 100, 1_000, 10_000)
CHANGES = 4
STEADY_S = 10.0
_RULES = "/api/v1/resources/policies"
_IDLE_S = 4.0
"""As sidecars do: a connection that was idle for longer is not used again."""
_CONNECTIONS = 200
"""Connections that the simulated sidecars share; each has one report under way."""


class Sidecars:
    """Reporting sidecars; `revision` is the one that all of them get at the same moment."""

    def __init__(self, port: int, key: str, epoch: str, revision: int) -> None:
        self._port = port
        self._head = f"POST /sidecar-reports HTTP/1.1\r\nhost: x\r\nx-service-api-key: {key}\r\n"
        self._epoch = epoch
        self.revision = revision
        self.interval = 3.0
        self.reports = 0
        self._jobs: asyncio.Queue[tuple[str, int, asyncio.Future[None]]] = asyncio.Queue()
        self._senders: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def grow(self, count: int) -> None:
        """Start sidecars until there are `count` whose first report is acknowledged."""
        while len(self._senders) < _CONNECTIONS:
            self._senders.append(asyncio.create_task(self._send()))
        new = [str(uuid.uuid4()) for _ in range(count - len(self._tasks))]
        for start in range(0, len(new), _CONNECTIONS):
            some = new[start : start + _CONNECTIONS]
            await asyncio.gather(*(self._report(each, self.revision) for each in some))
        self._tasks += [asyncio.create_task(self._live(each)) for each in new]

    def apply(self, revision: int) -> None:
        """Let every sidecar have a revision now."""
        self.revision = revision
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def close(self) -> None:
        for task in (*self._tasks, *self._senders):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._senders, return_exceptions=True)

    async def _live(self, instance: str) -> None:
        # The first pause ends at a moment of its own, as with sidecars that did not start together.
        pause = random.uniform(0, self.interval)
        told = self.revision
        while True:
            news = self._news
            try:
                async with asyncio.timeout(0 if told != self.revision else pause):
                    await news.wait()
                await asyncio.sleep(random.uniform(0, max(self.interval - 3.0, 0.0) * 0.1))
            except TimeoutError:
                pass
            told = self.revision
            await self._report(instance, told)
            pause = self.interval

    async def _report(self, instance: str, revision: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((instance, revision, done))
        await done

    async def _send(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        idle_since = time.monotonic()
        while True:
            instance, revision, done = await self._jobs.get()
            if time.monotonic() - idle_since > _IDLE_S:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            state = {"tenant": "default", "epoch": self._epoch, "revision": revision, "age": 0.1}
            body = json.dumps({"instance": instance, "version": "0.2.0", "tenants": [state]})
            head = f"{self._head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found = await reader.readexactly(length)
            assert answer.startswith(b"http/1.1 200 "), found
            self.interval = json.loads(found)["interval"]
            self.reports += 1
            idle_since = time.monotonic()
            done.set_result(None)


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def database_cpu_s(pid: int) -> float:
    """Return the CPU of a PostgreSQL server with its sessions."""
    return sum(cpu_s(each.pid) for each in psutil.Process(pid).children(recursive=True)) + cpu_s(pid)


async def epoch_of(address: DatabaseAddress) -> str:
    async with open_pool(address) as pool, pool.acquire() as connection:
        return str(await connection.fetchval("SELECT epoch FROM cluster_state"))


def waiting_write(control: Serving, rule: str, document: Mapping[str, str]) -> int:
    """Write a rule, wait for all sidecars, and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", control.rest_port, timeout=90)
    headers = {"x-admin-api-key": ADMIN_KEY, "content-type": "application/json"}
    path = f"{_RULES}/{rule}?wait=all&within=60"
    connection.request("PUT", path, json.dumps(document), headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def measured(control: Serving, database: int, key: str, epoch: str) -> list[Mapping[str, object]]:
    rule = control.rest.create(_RULES, ANONYMOUS_READS).document["id"]
    first = control.rest.ask("PUT", f"{_RULES}/{rule}", ANONYMOUS_READS | {"effect": "deny"})
    assert first.revision is not None
    sidecars = Sidecars(control.rest_port, key, epoch, first.revision)
    found: list[Mapping[str, object]] = []
    pid = control.process.pid
    for count in SIDECARS:
        await sidecars.grow(count)
        await asyncio.sleep(1)
        before, database_before, reports = cpu_s(pid), database_cpu_s(database), sidecars.reports
        await asyncio.sleep(STEADY_S)
        steady = sidecars.reports - reports
        steady_cpu, database_cpu = cpu_s(pid) - before, database_cpu_s(database) - database_before
        waits: list[float] = []
        costs: list[float] = []
        for number in range(CHANGES):
            before, began = cpu_s(pid), time.perf_counter()
            changed = ANONYMOUS_READS | {"effect": ("allow", "deny")[number % 2]}
            write = asyncio.create_task(asyncio.to_thread(waiting_write, control, rule, changed))
            # The revision of the next write is known; sidecars get it while that is being answered.
            sidecars.apply(sidecars.revision + 1)
            status = await write
            assert status == 200, status
            waits.append(time.perf_counter() - began)
            costs.append(cpu_s(pid) - before)
        found.append(
            {
                "sidecars": count,
                "interval_s": sidecars.interval,
                "reports_a_second": round(steady / STEADY_S, 1),
                "control_plane_cores": round(steady_cpu / STEADY_S, 3),
                "postgresql_cores": round(database_cpu / STEADY_S, 3),
                "cpu_us_a_report": round(1e6 * steady_cpu / max(steady, 1)),
                "wait_all_s": round(percentile(waits, 0.5), 3),
                "wait_all_worst_s": round(max(waits), 3),
                "change_cpu_s": round(percentile(costs, 0.5), 3),
            }
        )
        print(found[-1], flush=True)
    await sidecars.close()
    return found


def main() -> None:
    load = MachineLoad()
    with tempfile.TemporaryDirectory() as folder, started_postgres() as postgres:
        address = address_of(postgres)
        with serving(Path(folder), database_environment(address), MIGRATE_ON_START="true") as control:
            control.start("control-plane")
            made = control.rest.create(
                "/api/v1/service-api-keys", {"name": "sidecars", "scopes": ["policies:follow"]}
            ).document
            epoch = asyncio.run(epoch_of(address))
            rows = asyncio.run(measured(control, postgres.pid, made["key"], epoch))
    keep("sidecar_reports", {"rows": rows}, load.document())


if __name__ == "__main__":
    main()

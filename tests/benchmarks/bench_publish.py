"""The delay of a policy change, its cost for decisions, and the cost of loading and holding policies.

Real parts throughout: the embedded PostgreSQL, `extauthz serve` as processes, REST for writes, gRPC for
decisions. The latency includes the client's own gRPC calls: the first decision under a change cannot be seen
sooner. Goals: a change arrives within 250 ms (p99); 50 writes a second leave the p99 of decisions within 1.3
times of quiet; loading 100,000 rules takes less than 3 times as long as fetching their rows.
"""

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.demo.process_tree import descendants
from extauthz.demo.rest import RestApi
from extauthz.publish.loading import short_steps
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.shipped import shipped
from extauthz.storage import feed
from extauthz.storage.pool import DatabaseAddress, open_reader
from tests.benchmarks.database import add_rules, address_of, started_postgres
from tests.benchmarks.measuring import MachineLoad, keep, percentile, spread
from tests.benchmarks.workers import Asker, pin, prefer
from tests.builders import check_request
from tests.integration.serving import ADMIN_KEY, ANONYMOUS_READS, PUBLIC, PUBLIC_RESOURCE, Serving, serving

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from extauthz.storage.pool import Connection

PRESENT = 10_000
WRITES = 500
DECISION_ROUNDS = 5
ROUND_S = 4.0
WRITES_PER_S = 50
DECIDING_CORE, WRITING_CORE = 0, 1
LOADED = 100_000
LOADS = 5
_RULES = "/api/v1/resources/policies"
ANONYMOUS_CHECK = check_request(PUBLIC)


def arrival_ms(found: Serving) -> list[float]:
    """Turn one rule on and off; return for each write the time from its response to a decision under it."""
    asker = Asker(found.grpc_port)
    path = f"{_RULES}/{found.rest.create(_RULES, ANONYMOUS_READS | {'effect': 'deny'}).id}"
    while asker.allowed(ANONYMOUS_CHECK):
        time.sleep(0.01)
    delays: list[float] = []
    for number in range(WRITES):
        effect = ("allow", "deny")[number % 2]
        reply = found.rest.ask("PUT", path, ANONYMOUS_READS | {"effect": effect})
        answered = time.perf_counter()
        assert reply.status == 200, reply
        while asker.allowed(ANONYMOUS_CHECK) is not (effect == "allow"):
            pass
        delays.append((time.perf_counter() - answered) * 1000)
    asker.close()
    return delays


def decisions_us(asker: Asker, seconds: float) -> list[float]:
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while (before := time.perf_counter()) < until:
        asker.allowed(ANONYMOUS_CHECK)
        taken.append((time.perf_counter() - before) * 1e6)
        # A proxy with something to do between two checks: the machine is not saturated by the client.
        time.sleep(0.001)
    return taken


def write_on(rest_port: int, over: Event, written: "Synchronized[int]") -> None:
    """Create rules at a steady pace until it is over; a process of its own."""
    os.sched_setaffinity(0, {WRITING_CORE})
    rest = RestApi(rest_port, ADMIN_KEY)
    began = time.perf_counter()
    while not over.wait(max(0.0, began + written.value / WRITES_PER_S - time.perf_counter())):
        rule = ANONYMOUS_READS | {"sub": f"role-{time.perf_counter_ns()}", "obj": "elsewhere:read"}
        assert rest.ask("POST", _RULES, rule).status == 201
        written.value += 1


def writing(found: Serving, ask: Callable[[], list[float]]) -> tuple[list[float], float]:
    """Ask while another process writes; return the answers and the writes a second."""
    processes = multiprocessing.get_context("spawn")
    over, written = processes.Event(), processes.Value("i", 0)
    writer = processes.Process(target=write_on, args=(found.rest_port, over, written))
    writer.start()
    while not written.value:
        time.sleep(0.01)
    before, began = written.value, time.perf_counter()
    answers = ask()
    pace = (written.value - before) / (time.perf_counter() - began)
    over.set()
    writer.join()
    return answers, pace


def under_writes(found: Serving) -> dict[str, object]:
    """Compare decisions while writes flow with quiet ones, in turns, so that both see the same machine.

    The worker and its client have one core; the writers (REST client, control plane, PostgreSQL) the other,
    as they would have another machine.
    """
    supervisor = found.process.pid
    workers = {worker.pid for worker in descendants(supervisor)}
    for pid in descendants(os.getpid()):
        pin(pid.pid, DECIDING_CORE if pid.pid in workers else WRITING_CORE)
    os.sched_setaffinity(0, {DECIDING_CORE})
    asker = Asker(found.grpc_port)
    decisions_us(asker, 1.0)
    quiet: list[float] = []
    busy: list[float] = []
    pace: list[float] = []
    for _ in range(DECISION_ROUNDS):
        quiet += decisions_us(asker, ROUND_S)
        answers, rate = writing(found, lambda: decisions_us(asker, ROUND_S))
        busy += answers
        pace.append(rate)
    asker.close()
    os.sched_setaffinity(0, {DECIDING_CORE, WRITING_CORE})
    return {
        "writes_per_s": round(min(pace), 1),
        "quiet_us": spread(quiet),
        "writing_us": spread(busy),
        "p50_ratio": round(percentile(busy, 0.5) / percentile(quiet, 0.5), 2),
        "p99_ratio": round(percentile(busy, 0.99) / percentile(quiet, 0.99), 2),
    }


def first_load(address: DatabaseAddress) -> dict[str, object]:
    """Time a first load against fetching the same rows and nothing else; weigh what it leaves.

    Each in a process of its own, as first loads are. By the clock, which also has what PostgreSQL does
    meanwhile, and by the CPU of the process, which other work on the machine does not stretch.
    """
    # Here and not in the processes of the pool: they are ended before they could undo it.
    prefer(os.getpid())
    processes = multiprocessing.get_context("spawn")
    with processes.Pool(1, maxtasksperchild=1) as one_at_a_time:
        fetches, loads = [], []
        for _ in range(LOADS):
            fetches.append(one_at_a_time.apply(_timed_fetch, (address,)))
            loads.append(one_at_a_time.apply(_timed_load, (address,)))
        held, rules = one_at_a_time.apply(_weighed_load, (address,))
    fetched, loaded = _medians(fetches), _medians(loads)
    return {
        "rules": rules,
        "fetch_s": round(fetched[0], 3),
        "load_s": round(loaded[0], 3),
        "ratio": round(loaded[0] / fetched[0], 2),
        "cpu_ratio": round(loaded[1] / fetched[1], 2),
        "bytes_per_rule": round(held / rules),
    }


def _timed_fetch(address: DatabaseAddress) -> tuple[float, float]:
    async def timed() -> tuple[float, float]:
        reader = await open_reader(address)
        before = _clocks()
        async with feed.one_moment(reader):
            rows = await reader.fetch(
                "SELECT id::text, sub, sub_kind, dom, obj, act, effect FROM role_rules"
                " WHERE tenant_id = 'default'"
            )
        taken = _since(before)
        assert len(rows) >= LOADED
        await reader.close()
        return taken

    return asyncio.run(timed())


def _timed_load(address: DatabaseAddress) -> tuple[float, float]:
    async def timed() -> tuple[float, float]:
        compiler = Compiler(Reading(), _model())
        reader = await open_reader(address)
        before = _clocks()
        with short_steps():
            state = await _load(reader, compiler)
            # Published here; what follows is housekeeping.
            taken = _since(before)
        assert len(state.snapshot.role_rules_by_id) >= LOADED
        await reader.close()
        return taken

    return asyncio.run(timed())


def _weighed_load(address: DatabaseAddress) -> tuple[int, int]:
    async def weighed() -> tuple[int, int]:
        compiler = Compiler(Reading(), _model())
        reader = await open_reader(address)
        tracemalloc.start()
        with short_steps():
            state = await _load(reader, compiler)
        held, _ = tracemalloc.get_traced_memory()
        await reader.close()
        return held, len(state.snapshot.role_rules_by_id)

    return asyncio.run(weighed())


def _model() -> RoleModel:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(before: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _clocks()
    return wall - before[0], cpu - before[1]


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    wall, cpu = zip(*pairs, strict=True)
    return statistics.median(wall), statistics.median(cpu)


async def _load(connection: "Connection", compiler: Compiler) -> TenantPolicies:
    """Do what a publisher does."""
    documents = await feed.load(connection, "default")
    assert documents is not None
    state = await asyncio.to_thread(compiler.load, documents)
    assert isinstance(state, TenantPolicies)
    return state


def main() -> None:
    machine = MachineLoad()
    with started_postgres() as server, tempfile.TemporaryDirectory() as folder:
        address = address_of(server)
        # The interval that ships: every change has to arrive by its notification.
        with serving(
            Path(folder), server.environment, MIGRATE_ON_START="true", POLICY_POLL_INTERVAL="5"
        ) as found:
            found.start()
            found.rest.create("/api/v1/resources", PUBLIC_RESOURCE)
            asyncio.run(add_rules(address, 0, PRESENT))
            delays = arrival_ms(found)
            numbers: dict[str, object] = {
                "arrival": {"writes": WRITES, "rules_present": PRESENT, "ms": spread(delays)},
                "decisions_while_writing": under_writes(found),
            }
        asyncio.run(add_rules(address, PRESENT, LOADED - PRESENT))
        numbers["first_load"] = first_load(address)
        load = machine.document()
    keep("publish", numbers, load)


if __name__ == "__main__":
    main()

"""What recording costs: CPU in the thread of the decision log, before the answer, memory of a shape.

One run, one pinned core, the requests of `check_requests`. Costs are CPU time: the median of minima over
windows (`measuring.quiet_us`). The way of an answer is measured by the CPU time of the answering thread
alone, in windows in which the log's thread is not woken, with and without recording in turns.
"""

import os
import random
import tempfile
import time
import tracemalloc
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.path import CanonicalPath
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.recording.counter import ShapeCounter
from extauthz.runtime.reporting import spare_collector
from extauthz.telemetry.counts import Counts
from tests.benchmarks.bench_check import (
    DIFFERENT_REQUESTS,
    ISSUER,
    Keys,
    Parts,
    Policies,
    as_a_worker,
    compiled,
    each_us,
    ring,
)
from tests.benchmarks.check_requests import Caller, message
from tests.benchmarks.measuring import MachineLoad, keep, pin, result_name
from tests.benchmarks.workers import prefer
from tests.tokens import SigningKey

NAMED = ("user.email", "request.query.verbose", "request.headers.accept")
ROUNDS = 15
WINDOW = 12
"""Answers; fewer than those that wake the log's thread."""


def counter(where: Directory, *attributes: str) -> ShapeCounter:
    return ShapeCounter(
        lambda: where,
        unmapped=UnmappedPolicy.DENY,
        binding=TenantBinding.HOST,
        attributes=attributes,
        max_shapes=80_000,
        max_octets=1 << 30,
        on_loss=lambda _requests: None,
    )


def counted_us(where: Directory, verdicts: list[Any], *attributes: str) -> float:
    """Measure the counting of verdicts."""
    counts, now = counter(where, *attributes), time.time()
    return each_us(lambda verdict: counts.count(verdict, now, "grpc"), verdicts)


def answering_us(service: CheckService, log: DecisionLog, raws: list[bytes]) -> float:
    """Return the CPU time of this thread for one answer: the least of some windows."""
    least = float("inf")
    for start in range(0, len(raws) - WINDOW, WINDOW):
        began = time.thread_time_ns()
        for raw in raws[start : start + WINDOW]:
            service.answer(raw, 0.2)
        least = min(least, (time.thread_time_ns() - began) / 1e3 / WINDOW)
        assert log.flush(30)
    return least


def shape_octets(where: Directory, verdict: Any) -> float:
    """Return the memory of one shape with one decision."""
    counts, now, shapes = counter(where), time.time(), 2_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(shapes):
        path = CanonicalPath.parse(f"/invoices/{number}")
        assert isinstance(path, CanonicalPath)
        request = verdict.request._replace(path=path)
        principal = replace(verdict.principal, id=f"user-{number % 500}@example.com")
        counts.count(verdict._replace(request=request, principal=principal), now, "grpc")
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / shapes


def main() -> None:
    as_a_worker()
    machine = MachineLoad()
    prefer(os.getpid())
    pin(max(os.sched_getaffinity(0)))
    caller = Caller(SigningKey.rs256("bench"), ISSUER)
    raws = [message(caller.token(), number) for number in range(DIFFERENT_REQUESTS)]
    snapshot, keys = compiled(), ring(caller.key)
    where = Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot}, confirmed_at=time.time() + 10**9)
    spare_collector()
    parts = Parts(snapshot, where, keys)
    verdicts = [parts.judge(parts.read(raw)) for raw in raws]
    varied = [
        verdict._replace(request=verdict.request._replace(host=f"h{number}.example"))
        for number, verdict in enumerate(verdicts)
    ]
    costs = {
        "log_line_us": each_us(parts.line, verdicts),
        "count_us": counted_us(where, verdicts),
        "count_with_three_attributes_us": counted_us(where, verdicts, *NAMED),
        "count_of_folded_values_us": counted_us(where, varied),
        "shape_octets": shape_octets(where, verdicts[0]),
    }
    with tempfile.TemporaryDirectory() as folder:
        logs: dict[str, DecisionLog] = {}
        services: dict[str, CheckService] = {}
        for name, observer in (("off", None), ("on", counter(where))):
            path = str(Path(folder) / f"{name}.jsonl")
            log = logs[name] = DecisionLog(path, worker=0, instance=uuid.uuid4(), observer=observer)
            log.start()
            recorder = Recorder(log, Counts(name), random_bytes=random.Random(0).randbytes)
            services[name] = CheckService(
                policies=Policies(where), keys=Keys(keys), policy=CheckPolicy(), recorder=recorder
            )
        measured: dict[str, list[float]] = {"off": [], "on": []}
        for _ in range(ROUNDS):
            for name, service in services.items():
                measured[name].append(answering_us(service, logs[name], raws[:600]))
        for log in logs.values():
            log.close(5)
    answers = {f"answering_thread_{name}_us": min(found) for name, found in measured.items()}
    keep(result_name("recording"), costs | answers, machine.document())


if __name__ == "__main__":
    main()

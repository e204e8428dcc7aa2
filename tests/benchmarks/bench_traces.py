"""What tracing costs a check in the thread that answers: off, one in a hundred traced, every one traced.

Real worker code: `CheckService.begin` with real policies, keys and decision log, and the metadata that
Envoy sends with a call. Each service runs in a process of its own, as a worker does, because the
interpreter adapts its code to what it runs; the processes take turns, in another order in each round. A
turn is compared with that of the service without tracing in the same round, on requests of the same kind,
and the median over the rounds counts. Spans are taken over between two windows of checks, as the thread
that exports does.
"""

import json
import operator
import os
import random
import re
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.check.service import CheckService, Later
from extauthz.compile.directory import Directory
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.runtime.reporting import spare_collector
from extauthz.settings import Sampler
from extauthz.telemetry.check_trace import CheckTracing
from extauthz.telemetry.counts import Counts
from extauthz.telemetry.sampling import Sampling
from extauthz.telemetry.spans import Tracing
from tests.benchmarks.bench_check import ISSUER, Keys, Policies, as_a_worker, compiled, ring
from tests.benchmarks.check_requests import Caller, message
from tests.benchmarks.measuring import MachineLoad, keep, percentile, pin, result_name
from tests.benchmarks.workers import prefer
from tests.builders import read_answer
from tests.tokens import SigningKey

ROUNDS: Final = 9
WINDOWS: Final = 40
CHECKS_A_WINDOW: Final = 400
SHARE: Final = 0.01
LIMIT_US: Final = 1.0
"""What tracing of one check in a hundred may cost a check on average."""

Metadata = tuple[tuple[str, str], ...]
METADATA: Final = (
    ("user-agent", "envoy"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "10.0.0.7"),
    ("x-envoy-expected-rq-timeout-ms", "200"),
)
PARENT: Final = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
_FLAGS: Final = re.compile(rb"(00-[0-9a-f]{32}-[0-9a-f]{16}-0)1")


@dataclass(frozen=True)
class Kind:
    """A service and the requests to it. `share` is of new traces; None: nothing is traced."""

    share: float | None
    under_a_trace: bool = False
    metadata: Metadata | None = METADATA


KINDS: Final = {
    "off": Kind(None, metadata=None),
    "off_again": Kind(None, metadata=None),
    "off_of_clients_with_traces": Kind(None, under_a_trace=True, metadata=None),
    "none": Kind(0.0),
    "one_in_a_hundred": Kind(SHARE),
    "one_in_a_hundred_of_clients_with_traces": Kind(SHARE, under_a_trace=True),
    "one_in_a_hundred_of_proxies_with_traces": Kind(SHARE, under_a_trace=True, metadata=(*METADATA, PARENT)),
    "every_one": Kind(1.0),
}


class Bench:
    """What all services share: policies, keys and requests. Of the clients with traces none is sampled."""

    def __init__(self) -> None:
        caller = Caller(SigningKey.rs256("bench"), ISSUER)
        token = caller.token()
        sampled = [message(token, number, raw=True) for number in range(CHECKS_A_WINDOW)]
        self.plain = [each.replace(b"traceparent", b"tracepXXent") for each in sampled]
        self.under = [_FLAGS.sub(rb"\g<1>0", each) for each in sampled]
        self.keys = ring(caller.key)
        snapshots = {DEFAULT_TENANT: compiled()}
        self.where = Directory(TenancyMode.SELFHOST, snapshots, confirmed_at=time.time() + 10**9)

    def turn(self, kind: Kind) -> float:
        """Measure in a process of its own; return the CPU of a check in the thread that answers, in us."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writing, json.dumps(self.measured(kind)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            text = answer.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, kind
        return float(json.loads(text))

    def measured(self, kind: Kind) -> float:
        """Return the CPU of a check: that which a fifth of all windows did not exceed."""
        requests = self.under if kind.under_a_trace else self.plain
        tracing = None
        if kind.share is not None:
            tracing = Tracing(Sampling(Sampler.PARENT_RATIO, kind.share), capacity=10**9)
        with tempfile.TemporaryDirectory() as folder:
            log = DecisionLog(str(Path(folder) / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
            log.start()
            service = CheckService(
                policies=Policies(self.where),
                keys=Keys(self.keys),
                policy=CheckPolicy(),
                recorder=Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes),
                tracing=None if tracing is None else CheckTracing(tracing),
            )
            for raw in requests:
                answer = service.begin(raw, 0.2)
                while isinstance(answer, Later):
                    answer = answer.finish()
                assert read_answer(answer).allowed
            spare_collector()
            costs = []
            for _ in range(WINDOWS):
                costs.append(window(service, requests, kind.metadata))
                assert log.flush(30)
                if tracing is not None:
                    tracing.take(10**9)
            log.close(5)
        return percentile(costs, 0.2)


def window(service: CheckService, requests: list[bytes], metadata: Metadata | None) -> float:
    """Answer every request once; return the CPU of this thread for each in microseconds."""
    begin = service.begin
    before = time.thread_time_ns()
    if metadata is None:
        for raw in requests:
            begin(raw, 0.2)
    else:
        for raw in requests:
            begin(raw, 0.2, metadata)
    return (time.thread_time_ns() - before) / len(requests) / 1000


def main() -> None:
    """Measure, and keep the result."""
    as_a_worker()
    machine = MachineLoad()
    prefer(os.getpid())
    pin(max(os.sched_getaffinity(0)))
    bench = Bench()
    rounds: dict[str, list[float]] = {name: [] for name in KINDS}
    order = list(KINDS)
    for number in range(ROUNDS):
        random.Random(number).shuffle(order)
        for name in order:
            rounds[name].append(bench.turn(KINDS[name]))
    added: dict[str, float] = {}
    for name, kind in KINDS.items():
        baseline = rounds["off_of_clients_with_traces" if kind.under_a_trace else "off"]
        if kind.share is not None or name == "off_again":
            difference = statistics.median(map(operator.sub, rounds[name], baseline))
            added[f"{name}_added_us"] = round(difference, 3)
    result = {
        "check_us": round(statistics.median(rounds["off"]), 3),
        **added,
        "rounds": ROUNDS,
        "checks_a_round": WINDOWS * CHECKS_A_WINDOW,
        "limit_us": LIMIT_US,
    }
    keep(result_name("traces"), result, machine.document())
    worst = max(cost for name, cost in added.items() if name.startswith("one_in_a_hundred"))
    if worst > LIMIT_US:
        sys.exit(f"tracing one check in a hundred adds {worst} us to each, more than {LIMIT_US} us")


if __name__ == "__main__":
    main()

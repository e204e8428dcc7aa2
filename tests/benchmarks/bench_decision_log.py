"""What masks, sampling and the chain cost in the log's thread; what a destination that hangs does to answers.

One run, one pinned core, the requests of `check_requests`, all variants in turns. Costs of lines are CPU
time. Answers are timed by the wall, with a file, a pipe that is not read, and collectors that never answer;
after that 100,000 requests are answered with a chained log, which is verified, and verified again with one
byte changed.
"""

import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.lines import LineForm, Lines
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.masks import Masks
from extauthz.decisionlog.reading import read_lines
from extauthz.decisionlog.recorder import Recorder
from extauthz.decisionlog.verify import verify
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.runtime.composition import decision_log
from extauthz.runtime.reporting import spare_collector
from extauthz.settings import Mask, Settings, load_settings
from extauthz.telemetry.counts import Counts
from tests.benchmarks.bench_check import (
    DIFFERENT_REQUESTS,
    ISSUER,
    Keys,
    Parts,
    Policies,
    as_a_worker,
    compiled,
    ring,
)
from tests.benchmarks.check_requests import Caller, message
from tests.benchmarks.measuring import MachineLoad, keep, percentile, pin, result_name
from tests.benchmarks.workers import prefer
from tests.otlp_collector import grpc_collector, http_collector
from tests.tokens import SigningKey

KEY = "k" * 32
MASKS = {"subject": Mask.HASH, "source_address": Mask.DROP}
SUBJECTS = 500
ROUNDS = 25
SHOWN = 100_000
ANSWERS = 2_000
TURNS = 5
PAUSE_S = 0.0005
NEVER_LEFT_OUT = 1 - 1 / 2**31
"""A share with which every allow is judged and has a line: the cost of sampling alone."""
FORMS: dict[str, Callable[[], LineForm]] = {
    "plain": LineForm,
    "sampling": lambda: LineForm(None, NEVER_LEFT_OUT),
    "masks": lambda: LineForm(Masks(MASKS, KEY)),
    "chain": lambda: LineForm(chain=Chain(None)),
    "keyed_chain": lambda: LineForm(chain=Chain(KEY)),
    "all": lambda: LineForm(Masks(MASKS, KEY), NEVER_LEFT_OUT, Chain(KEY)),
    "all_of_one_percent": lambda: LineForm(Masks(MASKS, KEY), 0.01, Chain(KEY)),
}


def line_costs(verdicts: list[Any]) -> dict[str, float]:
    """Return the CPU time of one decision for each form: the least of the rounds, in turns.

    The first round fills the caches of subjects, as the first minutes of a process do.
    """
    least = dict.fromkeys(FORMS, float("inf"))
    entries = [(verdict, 1_763_917_200.0, "grpc", 33) for verdict in verdicts]
    writers = {name: Lines(uuid.uuid4(), 0, form()) for name, form in FORMS.items()}
    for _ in range(ROUNDS):
        for name, lines in writers.items():
            began = time.thread_time_ns()
            for entry in entries:
                if not (lines.samples and lines.leaves_out(entry[0])):
                    lines.decision(entry)
            least[name] = min(least[name], (time.thread_time_ns() - began) / 1e3 / len(entries))
    return {f"{name}_us": value for name, value in least.items()}


def settings_for(port: int, protocol: str) -> Settings:
    found = load_settings(
        {
            "DECISION_LOG": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        },
        serving=False,
    )
    assert isinstance(found, Settings)
    return found


@contextmanager
def destinations(folder: Path) -> Iterator[dict[str, DecisionLog]]:
    """A log into a file, into a pipe that is never read, and to collectors that never answer."""
    with ExitStack() as stack:
        over_http, over_grpc = (stack.enter_context(one()) for one in (http_collector, grpc_collector))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        for collector in (over_http, over_grpc):
            collector.held.set()
        logs = {
            "file": DecisionLog(str(folder / "answers.jsonl"), worker=0, instance=uuid.uuid4()),
            "hung_pipe": DecisionLog(f"/dev/fd/{writer}", worker=0, instance=uuid.uuid4()),
        }
        for name, port, protocol in (
            ("hung_http_collector", over_http.port, "http/protobuf"),
            ("hung_grpc_collector", over_grpc.port, "grpc"),
        ):
            logs[name] = decision_log(
                settings_for(port, protocol), 0, uuid.uuid4(), None, lambda _: None, None
            )
        for log in logs.values():
            log.start()
        yield logs
        for log in logs.values():
            log.close(0.5)


def answer_times(service: CheckService, raws: list[bytes]) -> list[float]:
    """Return how long each answer took by the wall, in microseconds, with pauses in which others run."""
    found = []
    for number in range(ANSWERS):
        began = time.perf_counter_ns()
        service.answer(raws[number % len(raws)], 0.2)
        found.append((time.perf_counter_ns() - began) / 1e3)
        time.sleep(PAUSE_S)
    return found


def shown(
    service_with: Callable[[DecisionLog], CheckService], raws: list[bytes], folder: Path
) -> dict[str, Any]:
    """Answer requests with a chained log, verify it, change one byte, and find it."""
    file = folder / "chained.jsonl"
    log = DecisionLog(str(file), worker=0, instance=uuid.uuid4(), form=FORMS["all"]())
    log.start()
    service = service_with(log)
    for number in range(SHOWN):
        service.answer(raws[number % len(raws)], 0.2)
        if number % 1000 == 0:
            assert log.flush(30)
    assert log.close(30)
    began = time.process_time()
    whole = verify(read_lines([file]), keys=[KEY])
    took = time.process_time() - began
    octets = bytearray(file.read_bytes())
    place = random.Random(7).randrange(len(octets))
    octets[place] ^= 1
    file.write_bytes(octets)
    edited = verify(read_lines([file]), keys=[KEY])
    line = octets[:place].count(b"\n") + 1
    errors = [each.line for each in edited.chain_errors] + [each.line for each in edited.schema_errors]
    return {
        "decisions": whole.decisions,
        "lost": whole.decisions_lost,
        "octets": len(octets),
        "whole_is_ok": whole.ok,
        "verify_us_a_line": took * 1e6 / whole.lines,
        "edited_line": line,
        "edited_is_ok": edited.ok,
        "first_line_reported": min(each for each in errors if each is not None),
    }


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
    judged = [parts.judge(parts.read(raw)) for raw in raws]
    verdicts = [
        verdict._replace(principal=replace(verdict.principal, id=f"user-{number % SUBJECTS}@example.com"))
        for number, verdict in enumerate(judged)
    ]

    def service_with(log: DecisionLog) -> CheckService:
        recorder = Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes)
        return CheckService(
            policies=Policies(where), keys=Keys(keys), policy=CheckPolicy(), recorder=recorder
        )

    costs = line_costs(verdicts)
    costs["masks_sampling_and_keyed_chain_us"] = costs["all_us"] - costs["plain_us"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with destinations(folder) as logs:
            services = {each: service_with(log) for each, log in logs.items()}
            times: dict[str, list[float]] = {each: [] for each in logs}
            for _ in range(TURNS):
                for each, service in services.items():
                    times[each] += answer_times(service, raws)
            lost = {f"{each}_lost": log.decisions_lost for each, log in logs.items()}
        answers = {
            f"{each}_{label}_us": percentile(found, share)
            for each, found in times.items()
            for label, share in (("p50", 0.5), ("p99", 0.99))
        }
        show = shown(service_with, raws, folder)
    keep(
        result_name("decision_log"),
        {"line": costs, "answers": answers | lost, "hundred_thousand": show},
        machine.document(),
    )


if __name__ == "__main__":
    main()

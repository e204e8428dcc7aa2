"""The log lines of a supervisor about a worker process."""

from __future__ import annotations

import os
import signal
from typing import Any

import orjson
import pytest

from extauthz.runtime.reports import MAX_REFUSAL_LENGTH, StartRefused, WorkerReport, decode
from extauthz.runtime.worker_process import WorkerProcess, cpu_seconds, how_it_ended
from extauthz.telemetry.counts import Counts


def report(**changes: Any) -> WorkerReport:
    usual: dict[str, Any] = {
        "ready": True, "ready_but_for_keys": True, "checks": {"casbin": True},
        "counts": Counts("one").snapshot(), "listening": True,
    }  # fmt: skip
    return WorkerReport(**(usual | changes))


def test_a_report_is_read_as_it_was_written() -> None:
    sent = report(problems=["a"], busy=True, stuck="b", draining=True)

    read = decode(sent.encode())

    assert isinstance(read, WorkerReport)
    assert read.encode() == sent.encode()


def test_a_long_refusal_fits_into_a_report() -> None:
    assert decode(StartRefused("x" * 10_000_000).encode()) == StartRefused("x" * MAX_REFUSAL_LENGTH)


@pytest.mark.parametrize("line", [b'{"ready":tr', b"", b"\xff\xfe"])
def test_half_a_report_is_an_error_that_is_expected(line: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode(line)


def test_the_problem_of_a_worker_follows_its_life() -> None:
    worker = WorkerProcess(3)

    def problem() -> str | None:
        return worker.problem

    assert problem() == "worker 3 is starting"
    worker.refused = "port 9194 is taken"
    assert problem() == "worker 3 cannot start: port 9194 is taken"
    worker.heard(report())
    assert problem() is None
    orders = [worker.is_reporting]
    worker.heard(report(busy=True, ready=False))
    assert problem() == "worker 3 loads policies"
    worker.heard(report(busy=True))
    assert problem() is None
    worker.heard(report(draining=True))
    assert problem() == "worker 3 is draining"
    worker.heard(report())
    for now in (0.0, 1.0, 2.0):
        worker.liveness.tick(now, None)
    assert problem() == "worker 3 does not report"
    orders.append(worker.is_reporting)
    assert orders == [True, False]
    worker.killed_because = "no report for 3 s"
    assert problem() == "worker 3 is replaced: no report for 3 s"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit status 0"),
        (1, "ended with exit status 1"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGTERM, "was ended by SIGTERM"),
        (-250, "was ended by signal 250"),
    ],
)
def test_an_exit_status_is_reported_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words


def test_a_kill_names_memory_as_a_cause() -> None:
    assert "out-of-memory" in how_it_ended(-signal.SIGKILL)


def test_cpu_time_is_that_of_the_process() -> None:
    before = cpu_seconds(os.getpid())
    assert before is not None
    while (now := cpu_seconds(os.getpid())) is not None and now < before + 0.02:
        pass
    assert cpu_seconds(2**22 + 1) is None

"""A worker that hangs is replaced within seconds, and readiness reports it meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from extauthz.shipped import shipped
from tests.command_line import run_extauthz
from tests.faults.hanging_worker import folder_of_faults
from tests.faults.worker_processes import (
    STARTS_WITHIN_S,
    log_lines,
    metric,
    number_of,
    readiness,
    workers_of,
)
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving
from tests.waiting import await_true, paced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNREADY_WITHIN_S = 4.0
ENDS_WITHIN_S = 12.0
"""3 s of silence, and what a loaded machine adds."""
STUCK_ENDS_WITHIN_S = 20.0
STANDS_STILL_S = 4.0
FROM_FILES = {"POLICY_SOURCE": f"files:{shipped('policies/demo')}"}
PUBLIC = "/demo/notices"
ALLOWED = 'extauthz_decisions_total{decision="allow",entrance="grpc",reason="rule_matched"}'
HUNG = 'extauthz_worker_restarts_total{reason="hung"}'
DIED = 'extauthz_worker_restarts_total{reason="died"}'


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A sidecar of two workers; each test leaves it ready."""
    folder = tmp_path_factory.mktemp("sidecar")
    faults = folder_of_faults(folder / "faults")
    with serving(folder, FROM_FILES, workers=2, PYTHONPATH=faults) as found:
        found.start("sidecar")
        yield found


@pytest.fixture(autouse=True)
def ready(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sidecar" in request.fixturenames:
        found: Serving = request.getfixturevalue("sidecar")
        await_true(lambda: readiness(found.sidecar_port)[0] == 200, within=STARTS_WITHIN_S, what="readiness")


def answers(found: Serving, worker: int = 0) -> bool:
    return found.check(worker=worker, path=PUBLIC, timeout=1) is not None


def await_replaced(found: Serving, worker: int, *, within: float = ENDS_WITHIN_S) -> float:
    """Wait until a worker has ended and its successor answers on the same port; return the first wait."""
    number = number_of(worker)
    ended_s = await_true(lambda: worker not in workers_of(found), within=within, what="its end")
    await_true(lambda: answers(found, number), within=STARTS_WITHIN_S, what="its successor")
    return ended_s


def last_cause(found: Serving) -> str:
    return str(log_lines(found, "worker_hung")[-1]["cause"])


def test_a_stopped_worker_is_replaced_and_serve_is_not_ready_meanwhile(tmp_path: Path) -> None:
    with postgres_in_folder() as server:
        server.start()
        with serving(tmp_path, server.environment | {"MIGRATE_ON_START": "true"}) as found:
            found.start()
            found.allow_anonymous_reads()
            await_true(found.allowed, within=5, what="the first allow")
            (worker,) = workers_of(found)

            os.kill(worker, signal.SIGSTOP)

            for port in (found.rest_port, found.sidecar_port):
                await_true(lambda: readiness(port)[0] == 503, within=UNREADY_WITHIN_S, what="503")  # noqa: B023
                status, body = readiness(port)
                assert (status, body["checks"]["workers"]) == (503, "unavailable")
                assert body["problems"][0].startswith("worker 0 ")
                assert metric(port, "extauthz_ready") == 0.0
            await_true(lambda: worker not in workers_of(found), within=ENDS_WITHIN_S, what="its end")
            await_true(found.allowed, within=STARTS_WITHIN_S, what="an allow of the next worker")
            await_true(lambda: readiness(found.rest_port)[0] == 200, within=3, what="readiness")
            await_true(lambda: log_lines(found, "ready_again"), within=3, what="readiness in the log")
            assert readiness(found.rest_port)[1]["status"] == "ok"
            for port in (found.rest_port, found.sidecar_port):
                assert (metric(port, HUNG), metric(port, DIED)) == (1.0, 0.0)

        (hung,) = log_lines(found, "worker_hung")
        assert (hung["worker"], hung["pid"], hung["cause"]) == (0, worker, "no report for 3 s")
        assert log_lines(found, "not_ready")[0]["problems"][0].startswith("worker 0 ")
        # The killed one has no stop line, and nothing else is amiss.
        report = json.loads(run_extauthz("logs", "verify", str(found.log), environ=found.environ).stdout)
        assert report["ok"]
        assert len(report["without_stop_line"]) == 1


def test_the_other_workers_go_on_and_what_the_killed_one_counted_stays(sidecar: Serving) -> None:
    before = metric(sidecar.sidecar_port, ALLOWED)
    for _ in range(10):
        assert answers(sidecar, worker=0)
    await_true(lambda: metric(sidecar.sidecar_port, ALLOWED) == before + 10, within=3, what="the counts")
    stopped, other = workers_of(sidecar)

    os.kill(stopped, signal.SIGSTOP)
    asked = 0
    for _ in paced():
        if stopped not in workers_of(sidecar):
            break
        assert answers(sidecar, worker=1)
        asked += 1
    assert other in workers_of(sidecar)
    await_true(
        lambda: metric(sidecar.sidecar_port, ALLOWED) == before + 10 + asked, within=3, what="all counts"
    )


def test_a_worker_that_continues_in_time_is_not_ended(sidecar: Serving) -> None:
    workers = workers_of(sidecar)
    before = metric(sidecar.sidecar_port, HUNG)

    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    await_true(lambda: readiness(sidecar.sidecar_port)[0] == 503, within=UNREADY_WITHIN_S, what="503")
    for worker in workers:
        os.kill(worker, signal.SIGCONT)

    await_true(lambda: readiness(sidecar.sidecar_port)[0] == 200, within=2, what="readiness")
    assert workers_of(sidecar) == workers
    assert metric(sidecar.sidecar_port, HUNG) == before


def test_a_blocked_event_loop_is_found_although_checks_are_answered(sidecar: Serving) -> None:
    worker = workers_of(sidecar)[0]

    os.kill(worker, signal.SIGUSR1)
    assert answers(sidecar, number_of(worker))

    await_replaced(sidecar, worker)
    assert last_cause(sidecar) == "no report for 3 s"


def test_stuck_check_threads_are_found_although_the_worker_reports(sidecar: Serving) -> None:
    worker = workers_of(sidecar)[0]
    number = number_of(worker)

    os.kill(worker, signal.SIGUSR2)
    # As many calls as there are threads, and more.
    callers = [threading.Thread(target=answers, args=(sidecar, number)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    await_replaced(sidecar, worker, within=STUCK_ENDS_WITHIN_S)
    assert "the threads that answer checks have made no progress" in last_cause(sidecar)


def test_a_worker_that_is_stuck_in_its_start_is_replaced(sidecar: Serving) -> None:
    first = workers_of(sidecar)[0]
    number = number_of(first)
    os.kill(first, signal.SIGKILL)

    def successor() -> int | None:
        return next((pid for pid in workers_of(sidecar) if pid != first and number_of(pid) == number), None)

    await_true(successor, within=5, what="a successor")
    second = successor()
    assert second is not None
    os.kill(second, signal.SIGSTOP)

    await_replaced(sidecar, second)
    assert last_cause(sidecar).startswith("no report")
    ended = log_lines(sidecar, "worker_died")[-2]
    assert ended["cause"].startswith("was ended by SIGKILL")


def test_a_supervisor_that_was_stopped_replaces_no_worker(sidecar: Serving) -> None:
    workers = workers_of(sidecar)
    before = len(log_lines(sidecar, "worker_hung"))

    sidecar.process.send(signal.SIGSTOP)
    for _ in paced(for_s=STANDS_STILL_S):
        assert all(answers(sidecar, number) for number in (0, 1))
    sidecar.process.send(signal.SIGCONT)

    await_true(lambda: readiness(sidecar.sidecar_port)[0] == 200, within=5, what="readiness")
    # Longer than a silence may last.
    for _ in paced(for_s=3.2):
        assert all(answers(sidecar, number) for number in (0, 1))
    assert workers_of(sidecar) == workers
    assert len(log_lines(sidecar, "worker_hung")) == before


def test_a_machine_that_was_suspended_goes_on_with_the_same_workers(sidecar: Serving) -> None:
    family = sidecar.process.family()
    workers = workers_of(sidecar)

    for process in family:
        os.kill(process, signal.SIGSTOP)
    threading.Event().wait(STANDS_STILL_S)
    for process in family:
        os.kill(process, signal.SIGCONT)

    await_true(lambda: readiness(sidecar.sidecar_port)[0] == 200, within=5, what="readiness")
    assert workers_of(sidecar) == workers


def test_a_worker_that_drains_is_given_the_time(sidecar: Serving) -> None:
    worker = workers_of(sidecar)[0]
    number = number_of(worker)
    assert answers(sidecar, number)

    os.kill(worker, signal.SIGTERM)
    await_true(
        lambda: f"worker {number} is draining" in readiness(sidecar.sidecar_port)[1].get("problems", ()),
        within=2,
        what="the drain in readiness",
    )
    await_replaced(sidecar, worker, within=10)

    assert log_lines(sidecar, "worker_died")[-1]["cause"] == "ended with exit status 0"
    lines = map(json.loads, sidecar.log.read_text().splitlines())
    stopped = [line["worker"] for line in lines if line["event"] == "log_stopped"]
    assert stopped[-1] == number


def test_a_worker_that_dies_repeatedly_is_started_with_growing_delay(sidecar: Serving) -> None:
    known = set(workers_of(sidecar))
    first = len(log_lines(sidecar, "worker_died"))
    victim = min(known)
    number = number_of(victim)
    for _ in range(4):
        os.kill(victim, signal.SIGKILL)
        known.add(victim)

        def successors() -> list[int]:
            return [pid for pid in workers_of(sidecar) if pid not in known and number_of(pid) == number]

        await_true(successors, within=5, what="a successor")
        (victim,) = successors()

    delays = [line["restart_in_s"] for line in log_lines(sidecar, "worker_died")[first:]]
    assert delays[-4:] == sorted(delays[-4:])
    assert delays[-1] >= 4 * delays[-4]

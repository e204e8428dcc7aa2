"""A worker loads policies in threads of a lower priority, and answers as before meanwhile."""

import os
import sys
from pathlib import Path

import pytest

from extauthz.publish.loading_threads import NICENESS
from tests.benchmarks.bench_reload import policy_text, put, revision
from tests.faults.worker_processes import workers_of
from tests.integration.serving import serving
from tests.waiting import await_true

RULES = 20_000


def niceness_of_threads(pid: int) -> dict[int, int]:
    """Return the nice value of each thread of a process, by the id of the thread."""
    found: dict[int, int] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        stat = (thread / "stat").read_text().rpartition(")")[2].split()
        found[int(thread.name)] = int(stat[16])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
def test_checks_are_allowed_while_policies_are_replaced_by_threads_of_lower_priority(tmp_path: Path) -> None:
    (folder := tmp_path / "policies").mkdir()
    put(folder, policy_text("a", RULES))
    with serving(tmp_path, {}, POLICY_SOURCE=f"files:{folder}") as found:
        found.start("sidecar")
        await_true(found.allowed, within=10, what="the first allow")
        answers: list[bool] = []

        def replaced() -> bool:
            answers.append(found.allowed())
            return revision(found) == 2

        put(folder, policy_text("b", RULES))
        await_true(replaced, within=30, what="the second revision")
        assert all(answers)
        (worker,) = workers_of(found)
        threads = niceness_of_threads(worker)
        of_process = os.getpriority(os.PRIO_PROCESS, worker)
        assert threads[worker] == of_process
        assert set(threads.values()) == {of_process, min(of_process + NICENESS, 19)}

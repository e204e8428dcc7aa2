"""Policy files that cannot be used: refused at the start, survived later, waited for by a new worker."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from extauthz.shipped import shipped
from tests.command_line import run_extauthz
from tests.faults.worker_processes import STARTS_WITHIN_S, readiness, workers_of
from tests.integration.serving import Serving, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from pathlib import Path

REPAIRED_WITHIN_S = 5.0


def reason(found: Serving, path: str) -> tuple[int | None, object]:
    answer = found.check(path=path)
    assert answer is not None
    return answer.status, answer.metadata["reason"]


def first_problem(found: Serving) -> str:
    return str(next(iter(readiness(found.sidecar_port)[1].get("problems", ())), ""))


def test_a_start_with_an_invalid_file_is_refused_and_a_replaced_worker_waits_for_the_repair(
    tmp_path: Path,
) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    good = (shipped("policies/demo") / "resources.yaml").read_text()
    file = policies / "all.yaml"
    file.write_text("resources: 7\n")
    with serving(tmp_path, {"POLICY_SOURCE": f"files:{policies}"}) as found:
        refused = run_extauthz("sidecar", environ=found.environ)
        assert refused.returncode == 2
        assert "all.yaml" in refused.stderr

        file.write_text(good)
        found.start("sidecar")
        path = "/demo/notices"
        expected = reason(found, path)
        assert expected[1] != "not_ready"
        file.write_text("resources: 7\n")
        await_true(
            lambda: "problems" in readiness(found.sidecar_port)[1], within=5, what="the problem in readiness"
        )
        status, body = readiness(found.sidecar_port)
        assert (status, body["status"]) == (200, "degraded")
        assert "all.yaml" in body["problems"][0]
        assert reason(found, path) == expected

        (worker,) = workers_of(found)
        os.kill(worker, signal.SIGKILL)
        await_true(
            lambda: workers_of(found) not in ([], [worker]) and found.check(path=path) is not None,
            within=STARTS_WITHIN_S,
            what="another worker",
        )
        assert reason(found, path) == (503, "not_ready")
        assert reason(found, "/nothing/here") == (503, "not_ready")
        await_true(lambda: "all.yaml" in first_problem(found), within=5, what="the file in readiness")
        status, body = readiness(found.sidecar_port)
        assert (status, body["checks"]["policies"]) == (503, "unavailable")

        file.write_text(good)
        await_true(
            lambda: reason(found, path) == expected, within=REPAIRED_WITHIN_S, what="the repaired files"
        )
        await_true(lambda: readiness(found.sidecar_port)[0] == 200, within=2, what="readiness")

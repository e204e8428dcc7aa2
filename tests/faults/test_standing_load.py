"""Faults are injected while the standing load goes on: no answer grants what the policies do not grant.

One stack takes all faults in turn; each test leaves it recovered.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.processes import http_answers
from tests.command_line import run_extauthz
from tests.faults.injected import FAULTS, Fault
from tests.faults.load import Load
from tests.faults.oracle import Verdict
from tests.faults.report import Row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.mesh import FaultyStack
    from tests.faults.oracle import Question

PHASE_S = 60.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_no_fault_changes_what_is_granted(
    fault: Fault,
    stack: FaultyStack,
    questions: tuple[Question, ...],
    requests_per_phase: int,
    pause_s: float,
    fault_rows: list[Row],
) -> None:
    with Load(stack.envoy_port, questions, pause_s=pause_s) as load:
        load.await_right_answers(within_s=fault.recovers_s)
        load.take()
        with fault.injected(stack):
            during = load.phase(requests_per_phase, within_s=PHASE_S, at_least_s=fault.lasts_s)
        ended = time.monotonic()
        # One worker may answer before the other is back.
        stack.child("extauthz").wait_ready(
            lambda: http_answers(stack.sidecar_port, "/healthz/ready"), timeout_s=fault.recovers_s
        )
        load.await_right_answers(within_s=fault.recovers_s)
        recovered_s = time.monotonic() - ended
        recovering = load.take()
        after = load.phase(requests_per_phase, within_s=PHASE_S)
    fault_rows.append(Row.counted(fault.name, [during, recovering, after], recovered_s))

    others = during.others + recovering.others + after.others
    wrong = {each: count for each, count in others.items() if each[2] not in {0, 503}}
    assert wrong == {}
    assert after.verdicts[Verdict.RIGHT] == after.total, after.others
    if fault.stays_up:
        assert others == {}


def test_the_log_of_all_faults_has_no_unexplained_gap(stack: FaultyStack, tmp_path: Path) -> None:
    stack.child("extauthz").stop()
    whole = tmp_path / "decisions.jsonl"
    parts = [stack.decision_log.with_suffix(".1"), stack.decision_log]
    whole.write_bytes(b"".join(part.read_bytes() for part in parts if part.exists()))

    finished = run_extauthz("logs", "verify", whole)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert json.loads(finished.stdout)["decisions"] > 0

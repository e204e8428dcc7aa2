"""Sampling of allows: those without a line are counted in the next line, and no count is ever lost."""

import json
import os
import random
import subprocess
import uuid
from pathlib import Path

from extauthz.decisionlog.lines import LineForm, Lines
from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import Allowed, Denied
from extauthz.settings import OverflowAction
from tests.builders import allowed
from tests.decision_logs import assert_sound, lines_of, put, report_of, run_python, running

RANDOM = random.Random(1)


def allows(count: int) -> list[Allowed]:
    return [allowed()._replace(decision_id=uuid7(1, RANDOM.randbytes(10))) for _ in range(count)]


def a_denial() -> Denied:
    return Denied(uuid7(1, RANDOM.randbytes(10)), Reason.NO_MATCHING_RULE)


def test_a_share_of_the_allows_gets_lines_and_the_next_line_counts_the_others(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, form=LineForm(sample_allows=0.1), capacity=100_000) as log:
        for one in allows(5000):
            put(log, one)
    lines = lines_of(path)
    written = [line for line in lines if line["event"] == "decision"]
    assert 350 < len(written) < 650
    left_out = sum(int(str(line.get("sampled_out_since_last", 0))) for line in lines)
    assert len(written) + left_out == 5000
    assert lines[0]["sample_allows"] == 0.1
    report = report_of(path)
    assert report.ok
    assert (report.decisions, report.sampled_out, report.decisions_lost) == (len(written), left_out, 0)


def test_the_last_digits_of_the_decision_id_say_which_allows_have_a_line() -> None:
    lines = Lines(uuid.uuid4(), 0, LineForm(sample_allows=0.5))
    entries = [(one, 1.0, "grpc", 1) for one in allows(200)]
    kept = {one.decision_id for one, *_ in entries if not lines.leaves_out(one)}
    assert kept == {one.decision_id for one, *_ in entries if int(one.decision_id[-8:], 16) < 2**31}
    assert 0 < len(kept) < 200


def test_a_share_close_to_all_leaves_out_next_to_none() -> None:
    lines = Lines(uuid.uuid4(), 0, LineForm(sample_allows=0.99999999999))
    assert not any(lines.leaves_out(one) for one in allows(200))


def test_denials_all_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, form=LineForm(sample_allows=0.0)) as log:
        for _ in range(100):
            put(log, a_denial())
            put(log, allows(1)[0])
    lines = lines_of(path)
    assert [line["event"] for line in lines] == ["log_started", *["decision"] * 100, "log_stopped"]
    assert {line["decision"] for line in lines[1:-1]} == {"deny"}
    assert [line["sampled_out_since_last"] for line in lines[1:-1]] == [0, *[1] * 99]
    assert lines[-1]["sampled_out_since_last"] == 1
    assert_sound(path)


def test_allows_alone_are_counted_at_the_end_and_in_heartbeats(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, form=LineForm(sample_allows=0.0)) as log:
        for one in allows(7):
            put(log, one)
    assert [(line["event"], line.get("sampled_out_since_last")) for line in lines_of(path)] == [
        ("log_started", None),
        ("log_stopped", 7),
    ]
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        with running(f"/dev/fd/{writer}", heartbeat_s=0.01, form=LineForm(sample_allows=0.0)) as log:
            os.close(writer)
            for one in allows(9):
                put(log, one)
            found = 0
            while found < 9:
                found += json.loads(pipe.readline()).get("sampled_out_since_last", 0)
            assert found == 9
        pipe.read()


def test_slots_of_allows_without_a_line_are_given_back(tmp_path: Path) -> None:
    with running(tmp_path / "log", form=LineForm(sample_allows=0.0), capacity=4) as log:
        for _ in range(5):
            for one in allows(4):
                assert put(log, one)
            assert log.flush(10)
    assert log.decisions_lost == 0


def test_a_full_disk_loses_no_count_of_allows_that_sampling_left_out(tmp_path: Path) -> None:
    """Written, left out and lost together are all decisions, whichever line could not be written."""
    path = tmp_path / "log"
    script = """
        import random, resource, signal
        from extauthz.decisionlog.lines import LineForm
        from extauthz.decisionlog.chain import Chain
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        rand = random.Random(3)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        form = LineForm(sample_allows=0.3, chain=Chain("k" * 32))
        with running(sys.argv[1], heartbeat_s=0.02, form=form,
                     on_overflow=OverflowAction(sys.argv[2])) as log:
            made = 0
            for limit in (9000, hard, 30000, hard):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
                for _ in range(60):
                    one = an_allow()._replace(decision_id=uuid7(1, rand.randbytes(10)))
                    made += 1
                    put(log, one)
                    if made % 7 == 0:
                        log.flush(0.02)
                while limit == hard and log.problem:
                    log.flush(0.05)
        print(made)
    """
    for action in OverflowAction:
        file = path.with_suffix(f".{action}")
        process = run_python(script, str(file), action, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        report = report_of(file, keys=["k" * 32])
        assert report.ok, report
        assert report.decisions + report.sampled_out + report.decisions_lost == int(out.split()[-1])
        assert (report.decisions_lost == 0) == (action is OverflowAction.DENY)
        assert report.sampled_out > 50

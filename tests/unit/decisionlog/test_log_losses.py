"""A decision log that cannot write: what is lost is counted and stated, and whole lines stay."""

import fcntl
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from extauthz.decisionlog.log import DecisionLog
from extauthz.settings import OverflowAction
from tests.decision_logs import (
    INSTANCE,
    an_allow,
    assert_sound,
    is_full,
    lines_of,
    problem_of,
    put,
    report_of,
    run_python,
    running,
)
from tests.waiting import await_true


def test_a_full_log_refuses_slots_and_what_is_lost_is_counted_and_explained(tmp_path: Path) -> None:
    path = tmp_path / "log"
    told: list[int] = []
    log = DecisionLog(str(path), worker=0, instance=INSTANCE, capacity=10, on_loss=told.append)
    assert [put(log, an_allow(number)) for number in range(13)] == [True] * 10 + [False] * 3
    log.start()
    assert log.flush(10)
    assert log.reserve()
    log.release()
    assert log.close(10)
    lines = lines_of(path)
    assert [line["event"] for line in lines] == ["log_started", *["decision"] * 10, "log_stopped"]
    assert lines[-1]["decisions_lost"] == log.decisions_lost == sum(told) == 3
    assert lines[-1]["seq"] == len(lines) + 3
    assert_sound(path)


def test_a_full_device_loses_decisions_and_nothing_else() -> None:
    with running("/dev/full") as log:
        for number in range(100):
            assert put(log, an_allow(number))
        assert log.flush(10)
        assert log.decisions_lost == 100
        assert put(log, an_allow())
        assert log.flush(10)
        assert log.decisions_lost == 101


def test_with_deny_a_full_device_keeps_decisions_until_there_are_no_slots() -> None:
    log = DecisionLog("/dev/full", worker=0, instance=INSTANCE, capacity=5, on_overflow=OverflowAction.DENY)
    log.start()
    assert [put(log, an_allow(number)) for number in range(6)] == [True] * 5 + [False]
    assert not log.flush(0.2)
    assert not log.reserve()
    assert log.decisions_lost == 1
    assert log.close(10)
    assert log.decisions_lost == 6


def test_a_reader_that_has_gone_away_is_a_loss_and_no_signal() -> None:
    reader, writer = os.pipe()
    with running(f"/dev/fd/{writer}") as log:
        os.close(writer)
        os.close(reader)
        put(log, an_allow())
        assert log.flush(10)
        assert log.decisions_lost == 1


def test_a_decision_after_the_end_is_counted(tmp_path: Path) -> None:
    with running(tmp_path / "log") as log:
        pass
    assert put(log, an_allow())
    assert log.decisions_lost == 1


def test_close_gives_up_in_time_without_a_reader() -> None:
    reader, writer = os.pipe()
    log = DecisionLog(f"/dev/fd/{writer}", worker=0, instance=INSTANCE)
    log.start()
    for number in range(1000):
        put(log, an_allow(number))
    assert not log.close(0.2)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert len(pipe.read().splitlines()) == 1002
    assert log.close(10)


@pytest.mark.parametrize("on_overflow", OverflowAction)
def test_a_disk_that_fills_up_and_recovers_leaves_whole_lines_and_an_honest_count(
    tmp_path: Path, on_overflow: OverflowAction
) -> None:
    path = tmp_path / "log"
    script = """
        import resource, signal
        path, on_overflow = sys.argv[1:]
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        with running(path, on_overflow=OverflowAction(on_overflow), heartbeat_s=0.01) as log:
            for number in range(20):
                assert put(log, an_allow(number))
            log.flush(10 if on_overflow == "drop" else 0.2)
            assert os.stat(path).st_size <= 5000
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            while log.flush(10) and os.stat(path).st_size <= 5000:
                assert put(log, an_allow(99))
        print(log.decisions_lost)
    """
    process = run_python(script, str(path), on_overflow, stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    lost = int(out.splitlines()[-1])
    assert (lost == 0) == (on_overflow is OverflowAction.DENY)
    report = report_of(path)
    assert report.ok, report
    assert not report.unfinished_lines
    assert report.instances[0].decisions_lost == report.instances[0].missing == lost
    assert report.instances[0].stopped


def test_without_heartbeats_losses_are_in_the_stop_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, heartbeat_s=0.0, capacity=2) as log:
        for number in range(2):
            assert put(log, an_allow(number))
        log.lost(3)
        assert log.flush(10)
    lines = lines_of(path)
    assert [line["event"] for line in lines] == ["log_started", "decision", "decision", "log_stopped"]
    assert lines[-1]["decisions_lost"] == 3
    assert_sound(path)


def test_a_deleted_file_is_made_anew_with_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path) as log:
        assert put(log, an_allow(1))
        assert log.flush(10)
        path.unlink()
        assert put(log, an_allow(2))
        assert log.flush(10)
        assert [line["event"] for line in lines_of(path)] == ["decision"]
        assert problem_of(log) is None
        assert log.decisions_lost == 0


def test_a_deleted_folder_is_a_problem_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    path.parent.mkdir()
    with running(path, heartbeat_s=0.0) as log:
        assert log.flush(10)
        path.unlink()
        path.parent.rmdir()
        while problem_of(log) is None:
            put(log, an_allow(1))
            assert log.flush(10)
        assert problem_of(log) == f"{path} cannot be written: no such file or directory"
        lost = log.decisions_lost
        assert lost > 0

        path.parent.mkdir()
        # Without traffic and without heartbeats: it is tried again all the same.
        await_true(lambda: problem_of(log) is None, what="the log is written again")
        (beat,) = lines_of(path)
        assert (beat["event"], beat["decisions_lost"]) == ("log_heartbeat", lost)


def test_a_full_log_is_a_problem_and_names_the_cause_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    # Smaller than what is written, so that its reader is waited for.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(reader, "rb") as pipe:
        with running(f"/dev/fd/{writer}", heartbeat_s=0.0, capacity=64) as log:
            os.close(writer)
            while put(log, an_allow(1)):
                pass
            assert is_full(log)
            assert problem_of(log) is not None
            assert "is full" in str(problem_of(log))
            for _ in range(5):
                assert not put(log, an_allow(1))
            reading = threading.Thread(target=lambda: [None for _ in pipe])
            reading.start()
            assert log.flush(10)
            assert not is_full(log)
            assert problem_of(log) is None
            said = list[str]()

            def ended() -> bool:
                said.extend(capfd.readouterr())
                return "decision_log_overflow_ended" in "".join(said)

            await_true(ended, what="the end of the overflow in the log")
        reading.join(10)
    assert "".join(said).count("lines are not written as fast as decisions are made") == 1


def test_a_disk_with_little_space_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("extauthz.decisionlog.log._LOOK_EVERY_S", 0.0)
    with running(tmp_path / "log") as log:
        assert log.flush(10)
        assert problem_of(log) is None
        with monkeypatch.context() as every_disk_is_small:
            every_disk_is_small.setattr("extauthz.decisionlog.disk._LOW_BYTES", 1 << 62)
            every_disk_is_small.setattr("extauthz.decisionlog.disk._LOW_SHARE", 2.0)
            await_true(lambda: problem_of(log) is not None)
            told_problem = str(problem_of(log))
            assert re.fullmatch(
                r"the disk of .*/log is almost full: [0-9]+ of [0-9]+ MiB are free", told_problem
            )
            assert not is_full(log)
        await_true(lambda: problem_of(log) is None)
    told = capsys.readouterr().out
    assert told.count("decision_log_disk_low") == told.count("decision_log_disk_recovered") == 1


def test_what_a_reader_that_hangs_has_not_taken_is_counted_when_the_process_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reader, writer = os.pipe()
    log = DecisionLog(f"/dev/fd/{writer}", worker=0, instance=INSTANCE, capacity=1000, heartbeat_s=0)
    log.start()
    try:
        while put(log, an_allow()):
            pass
        assert is_full(log)
        assert not log.close(0.3)
        lost = log.decisions_lost
        assert lost >= 1000
        assert f"decisions_lost={lost}" in capsys.readouterr().out
    finally:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            written = sum(b'"event":"decision"' in line for line in pipe)
    assert written + lost >= 1001

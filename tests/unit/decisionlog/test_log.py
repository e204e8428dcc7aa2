"""The decision log: each decision is written whole, in order and numbered, or counted as lost."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.verify import verify
from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.verdict import Allowed, Denied, Verdict
from extauthz.settings import OverflowAction
from tests.builders import allowed
from tests.waiting import await_true

ROOT = Path(__file__).parents[3]
INSTANCE = uuid.UUID("019ab1a8-7afb-7cd9-9139-63808e15452c")


def an_allow(number: int = 0, attributes: Mapping[str, object] = MappingProxyType({})) -> Allowed:
    return allowed()._replace(decision_id=uuid7(number, bytes(10)), attributes_used=attributes)


def put(log: DecisionLog, one: Verdict) -> bool:
    if not log.reserve():
        log.lost()
        return False
    log.write(one, ts=1_763_917_200.0, entrance="grpc", duration_us=33)
    return True


@contextmanager
def running(target: Path | str, **options: object) -> Iterator[DecisionLog]:
    defaults: dict[str, Any] = {"worker": 0, "instance": INSTANCE, "heartbeat_s": 3600.0}
    log = DecisionLog(str(target), **(defaults | options))
    log.start()
    try:
        yield log
    finally:
        assert log.close(10)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def assert_sound(path: Path) -> None:
    with path.open("rb") as file:
        report = verify(file)
    assert report.ok, report
    assert not report.unfinished_lines


def test_a_run_is_a_start_line_its_decisions_in_order_and_a_stop_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, worker=3) as log:
        for number in range(1000):
            assert put(log, an_allow(number))
    lines = lines_of(path)
    assert [line["event"] for line in lines] == ["log_started", *["decision"] * 1000, "log_stopped"]
    assert [line["decision_id"] for line in lines[1:-1]] == [
        uuid7(number, bytes(10)) for number in range(1000)
    ]
    assert [line["seq"] for line in lines] == list(range(1, 1003))
    assert {(line["instance"], line["worker"]) for line in lines} == {(str(INSTANCE), 3)}
    assert_sound(path)


def test_other_users_cannot_read_a_new_file(tmp_path: Path) -> None:
    with running(tmp_path / "log"):
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) & ~0o640 == 0


def test_flush_returns_when_everything_before_it_is_on_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path) as log:
        put(log, an_allow())
        assert log.flush(10)
        assert [line["event"] for line in lines_of(path)] == ["log_started", "decision"]


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


def test_a_released_slot_can_be_taken_again() -> None:
    log = DecisionLog("stdout", worker=0, instance=INSTANCE, capacity=1)
    assert log.reserve()
    assert not log.reserve()
    log.release()
    assert log.reserve()


def test_heartbeats_come_by_themselves_and_carry_the_losses() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        with running(f"/dev/fd/{writer}", heartbeat_s=0.01) as log:
            os.close(writer)
            assert json.loads(pipe.readline())["event"] == "log_started"
            log.lost(5)
            while (beat := json.loads(pipe.readline()))["decisions_lost"] == 0:
                assert beat["event"] == "log_heartbeat"
            assert beat["decisions_lost"] == 5
            following = json.loads(pipe.readline())
            assert following["seq"] == beat["seq"] + 1
        rest = pipe.read().splitlines()
    assert json.loads(rest[-1])["event"] == "log_stopped"


def test_every_decision_becomes_one_json_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    nested: object = "deep"
    for _ in range(500):
        nested = [nested]
    strange: list[dict[str, object]] = [
        {"resource.a": Decimal("1.10")},
        {"resource.a": MappingProxyType({"b": (1, 2)})},
        {"resource.a": 2**70},
        {"resource.a": "lone \udcff"},
        {"resource.a": {1: frozenset({"x"})}},
        {"resource.a": float("nan")},
        {"resource.a": nested},
        {"resource.a": "line\nfeed\u2028 \x00"},
    ]
    with running(path) as log:
        for attributes in strange:
            put(log, an_allow(attributes=attributes))
        request = Malformed(Reason.REQUEST_MALFORMED, "why", method="\ud800", request_id="\ud800")
        put(log, Denied(uuid7(1, bytes(10)), Reason.REQUEST_MALFORMED, request))
    lines = lines_of(path)
    assert len(lines) == len(strange) + 3
    shown = [line["attributes_used"] for line in lines[1:5]]
    assert shown == [
        {"resource.a": "1.10"},
        {"resource.a": {"b": [1, 2]}},
        {"resource.a": str(2**70)},
        {"resource.a": "lone \\udcff"},
    ]
    assert log.decisions_lost == 0
    assert_sound(path)


def test_only_the_decision_that_cannot_be_rendered_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path) as log:
        put(log, an_allow(1))
        put(log, None)  # type: ignore[arg-type]
        put(log, an_allow(2))
    assert [line["event"] for line in lines_of(path)] == [
        "log_started",
        "decision",
        "decision",
        "log_stopped",
    ]
    assert log.decisions_lost == 1
    assert_sound(path)


def test_many_threads_write_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, capacity=100_000) as log:

        def work() -> None:
            for number in range(2000):
                assert put(log, an_allow(number))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(line["event"] == "decision" for line in lines_of(path)) == 8000
    assert_sound(path)


def test_rotation_goes_on_in_a_new_file_and_the_two_files_make_one_log(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    with running(path) as log:
        put(log, an_allow(1))
        assert log.flush(10)
        path.rename(old)
        log.reopen()
        put(log, an_allow(2))
        assert log.flush(10)
    assert [line["event"] for line in lines_of(old)] == ["log_started", "decision"]
    assert [line["event"] for line in lines_of(path)] == ["decision", "log_stopped"]
    report = verify(old.read_bytes().splitlines(keepends=True) + path.read_bytes().splitlines(keepends=True))
    assert report.ok


def test_a_rotation_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with running(folder / "log") as log:
        put(log, an_allow(1))
        assert log.flush(10)
        folder.rename(tmp_path / "moved")
        log.reopen()
        put(log, an_allow(2))
        assert log.flush(10)
    assert_sound(tmp_path / "moved" / "log")
    assert len(lines_of(tmp_path / "moved" / "log")) == 4


def test_a_line_cut_by_a_killed_writer_does_not_join_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"ts":"2025-11-23T17:00:00.000000Z","event":"decis')
    with running(path) as log:
        put(log, an_allow())
    with path.open("rb") as file:
        report = verify(file)
    assert report.ok
    assert report.unfinished_lines == (1,)
    assert report.decisions == 1


@pytest.mark.parametrize("target", ["missing/log", "."])
def test_a_destination_that_cannot_be_opened_is_named(tmp_path: Path, target: str) -> None:
    log = DecisionLog(str(tmp_path / target), worker=0, instance=INSTANCE)
    with pytest.raises(OSError, match=str(tmp_path)):
        log.start()


def test_a_fifo_without_a_reader_is_an_error_and_not_a_start_that_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    log = DecisionLog(str(tmp_path / "fifo"), worker=0, instance=INSTANCE)
    with pytest.raises(OSError, match="fifo"):
        log.start()


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


def test_writers_of_one_file_never_interleave(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, instance=uuid.uuid4()) as one, running(path, worker=1, instance=uuid.uuid4()) as two:
        for number in range(3000):
            put(one, an_allow(number))
            put(two, an_allow(number))
    assert len(lines_of(path)) == 6004
    assert_sound(path)


def run_python(script: str, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    prelude = "import os, sys, uuid\nfrom tests.unit.decisionlog.test_log import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *arguments], cwd=ROOT, **options
    )


def test_workers_sharing_a_pipe_never_interleave_long_lines(tmp_path: Path) -> None:
    lock = os.memfd_create("decision-log-lock")
    reader, writer = os.pipe()
    script = """
        worker, lock_fd = map(int, sys.argv[1:])
        with running("stdout", worker=worker, instance=uuid.uuid4(), lock_fd=lock_fd) as log:
            for number in range(300):
                assert put(log, an_allow(number, {"resource.a": "x" * 6000}))
    """
    workers = [
        run_python(script, str(number), str(lock), stdout=writer, pass_fds=[lock]) for number in range(3)
    ]
    os.close(writer)
    os.close(lock)
    with os.fdopen(reader, "rb") as pipe:
        report = verify(pipe)
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert report.ok, report
    assert report.decisions == 900
    assert [one.stopped for one in report.instances] == [True] * 3


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
    with path.open("rb") as file:
        report = verify(file)
    assert report.ok, report
    assert not report.unfinished_lines
    assert report.instances[0].decisions_lost == report.instances[0].missing == lost
    assert report.instances[0].stopped


def problem_of(log: DecisionLog) -> str | None:
    return log.problem


def is_full(log: DecisionLog) -> bool:
    return log.full


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

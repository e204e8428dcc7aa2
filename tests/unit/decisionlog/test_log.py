"""The decision log: each decision is written whole, in order and numbered, or counted as lost."""

import json
import os
import stat
import threading
import uuid
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.lines import LineForm
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.reading import LogLine
from extauthz.decisionlog.verify import verify
from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.verdict import Denied
from tests.decision_logs import (
    INSTANCE,
    an_allow,
    assert_sound,
    lines_of,
    put,
    report_of,
    run_python,
    running,
)


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
    assert report_of(old, path).ok


def test_a_file_that_is_copied_and_cut_goes_on_and_its_chain_too(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    with running(path, form=LineForm(chain=Chain("k" * 32))) as log:
        for number in range(20):
            put(log, an_allow(number))
        assert log.flush(10)
        old.write_bytes(path.read_bytes())
        os.truncate(path, 0)
        for number in range(20):
            put(log, an_allow(number))
    report = report_of(old, path, keys=["k" * 32])
    assert report.ok, report
    assert report.decisions == 40
    assert not report.unfinished_lines


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
    report = report_of(path)
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


def test_writers_of_one_file_never_interleave(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with running(path, instance=uuid.uuid4()) as one, running(path, worker=1, instance=uuid.uuid4()) as two:
        for number in range(3000):
            put(one, an_allow(number))
            put(two, an_allow(number))
    assert len(lines_of(path)) == 6004
    assert_sound(path)


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
        report = verify(LogLine("pipe", number, raw) for number, raw in enumerate(pipe, 1))
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert report.ok, report
    assert report.decisions == 900
    assert [one.stopped for one in report.instances] == [True] * 3

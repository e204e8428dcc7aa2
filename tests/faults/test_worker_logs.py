"""What serving commands log of themselves, SIGHUP, and a decision log that cannot be written."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.processes import LOOPBACK
from extauthz.shipped import shipped
from tests.faults.worker_processes import (
    STARTS_WITHIN_S,
    await_true,
    log_lines,
    number_of,
    readiness,
    workers_of,
)
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, finished, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.demo.postgres import EmbeddedPostgres

FROM_FILES = {"POLICY_SOURCE": f"files:{shipped('policies/demo')}"}
PUBLIC = "/demo/notices"
SEEN_WITHIN_S = 8.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with postgres_in_folder() as server:
        server.start()
        yield server


@contextlib.contextmanager
def running(command: str, folder: Path, postgres: EmbeddedPostgres, **settings: str) -> Iterator[Serving]:
    source = FROM_FILES if command == "sidecar" else postgres.environment | {"MIGRATE_ON_START": "true"}
    with serving(folder, source, workers=2, **settings) as found:
        found.start(command, ready=False)
        yield found


def await_ready(found: Serving, command: str) -> None:
    port = found.sidecar_port if command == "sidecar" else found.rest_port
    await_true(lambda: readiness(port)[0] == 200, within=STARTS_WITHIN_S, what="readiness")


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ignores_hangups(pid: int) -> bool:
    """Tell whether SIGHUP is ignored, held back or handled: it does not end the process."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        masks = [
            line.split()[1] for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt"))
        ]
        return any(int(mask, 16) & 1 << (signal.SIGHUP - 1) for mask in masks)
    return False


def hang_up(found: Serving) -> None:
    """Send SIGHUP to every process of the command, as a service manager does."""
    for pid in found.process.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


def workers_that_wrote(path: Path) -> set[int]:
    return {line["worker"] for line in events(path)}


@pytest.mark.parametrize("command", ["sidecar", "serve", "control-plane"])
def test_a_command_says_where_it_listens_and_ends_with_no_hangup(
    command: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    with running(command, tmp_path, postgres) as found:
        port = found.sidecar_port if command == "sidecar" else found.rest_port
        await_true(lambda: ignores_hangups(found.process.pid), within=STARTS_WITHIN_S, what="its first steps")
        began = time.monotonic()
        # In every moment of the start, of the workers too.
        while readiness(port)[0] != 200:
            assert time.monotonic() < began + STARTS_WITHIN_S
            assert found.process.running
            hang_up(found)
        workers = workers_of(found)
        writers = {0, 1, 2} if command == "serve" else {0, 1} if command == "sidecar" else {2}
        await_true(lambda: workers_that_wrote(found.log) == writers, within=SEEN_WITHIN_S, what="all writers")

        found.log.rename(tmp_path / "rotated.jsonl")
        found.process.send(signal.SIGHUP)
        await_true(lambda: workers_that_wrote(found.log) == writers, within=SEEN_WITHIN_S, what="a new file")
        assert workers_of(found) == workers
        assert found.process.running
        await_true(lambda: log_lines(found, "ready"), within=2, what="readiness in the log")

    (line,) = log_lines(found, "listening")
    rest, health = f"{LOOPBACK}:{found.rest_port}", f"{LOOPBACK}:{found.sidecar_port}"
    grpc = [f"{LOOPBACK}:{found.grpc_port + worker}" for worker in (0, 1)]
    reason = "it listens on a loopback address without TLS"
    native = {"grpc_server": "native", "grpc_server_reason": reason}
    expected: dict[str, dict[str, object]] = {
        "sidecar": {"health": health, "grpc": grpc, **native},
        "serve": {"rest": rest, "health": health, "grpc": grpc, **native},
        "control-plane": {"rest": rest},
    }
    assert {name: line[name] for name in line if name not in {"ts", "level", "event"}} == expected[command]
    assert len(log_lines(found, "ready")) == 1
    assert log_lines(found, "worker_died") == []
    assert not log_lines(found, "not_ready")


def test_unix_sockets_and_the_http_entrance_are_named_too(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    sockets = tmp_path / "s"
    sockets.mkdir()
    port = 20_000 + os.getpid() % 10_000
    settings = {"GRPC_UDS_DIR": str(sockets), "HTTP_AUTHZ_PORT": str(port)}
    with running("sidecar", tmp_path, postgres, **settings) as found:
        await_ready(found, "sidecar")
        (line,) = log_lines(found, "listening")
        assert line["grpc"] == [f"unix:{sockets}/worker-{number}.sock" for number in (0, 1)]
        assert line["http_authz"] == [f"{LOOPBACK}:{port + number}" for number in (0, 1)]

        # Its socket is no obstacle for the next one.
        worker = workers_of(found)[0]
        os.kill(worker, signal.SIGSTOP)
        await_true(lambda: worker not in workers_of(found), within=15, what="its end")
        await_ready(found, "sidecar")


def heartbeats(path: Path) -> int:
    return sum(line["event"] == "log_heartbeat" for line in events(path))


def test_heartbeats_come_as_often_as_was_asked_for(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    for name, setting in (("none", "0"), ("often", "0.1")):
        folder = tmp_path / name
        folder.mkdir()
        with running("sidecar", folder, postgres, DECISION_LOG_HEARTBEAT=setting) as found:
            await_ready(found, "sidecar")
            assert found.check(path=PUBLIC) is not None
            if setting == "0":
                await_true(
                    lambda: any(line["event"] == "decision" for line in events(found.log)),
                    within=SEEN_WITHIN_S,
                    what="the decision",
                )
            else:
                await_true(lambda: heartbeats(found.log) > 20, within=SEEN_WITHIN_S, what="heartbeats")
        if setting == "0":
            assert heartbeats(found.log) == 0
        report = finished("logs", "verify", str(found.log), environ=found.environ)
        assert report.returncode == 0, report.stdout


def test_a_bad_heartbeat_is_refused_together_with_everything_else(tmp_path: Path) -> None:
    with serving(tmp_path, FROM_FILES) as found:
        for value in ("-1", "often", "0.01", "3601", "nan"):
            ended = finished(
                "sidecar", environ=found.environ | {"DECISION_LOG_HEARTBEAT": value, "WORKERS": "none"}
            )
            assert ended.returncode == 2
            assert (
                f"DECISION_LOG_HEARTBEAT is {value!r}; it must be seconds from 0.1 to 3600, or 0"
                in ended.stderr
            )
            assert "WORKERS" in ended.stderr


@pytest.mark.parametrize("heartbeat", ["0", "1"])
def test_a_log_that_cannot_be_written_is_named_and_recovers(
    heartbeat: str, tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    with running("sidecar", tmp_path, postgres, DECISION_LOG_HEARTBEAT=heartbeat) as found:
        await_ready(found, "sidecar")
        worker = workers_of(found)[0]
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (found.log.stat().st_size, hard))

        def asked() -> bool:
            answer = found.check(path=PUBLIC)
            return answer is not None and "decision_log" in readiness(found.sidecar_port)[1]["checks"]

        await_true(asked, within=SEEN_WITHIN_S, what="the log in readiness")
        status, body = readiness(found.sidecar_port)
        assert (status, body["status"], body["checks"]["decision_log"]) == (200, "degraded", "unavailable")
        assert f"decision log: {found.log} cannot be written: file too large" in body["problems"]

        await_true(lambda: log_lines(found, "degraded"), within=3, what="the problem in the log")
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
        await_true(
            lambda: readiness(found.sidecar_port)[1]["status"] == "ok", within=SEEN_WITHIN_S, what="recovery"
        )
        assert len(log_lines(found, "decision_log_failing")) == 1
        assert len(log_lines(found, "decision_log_recovered")) == 1
        await_true(lambda: log_lines(found, "no_longer_degraded"), within=3, what="the end in the log")
        (degraded,) = log_lines(found, "degraded")
        assert degraded["unavailable"] == ["decision_log"]
    report = finished("logs", "verify", str(found.log), environ=found.environ)
    assert report.returncode == 0, report.stdout
    assert sum(one["decisions_lost"] for one in json.loads(report.stdout)["instances"]) > 0


def test_a_deleted_log_is_made_anew(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    with running("sidecar", tmp_path, postgres) as found:
        await_ready(found, "sidecar")
        found.log.unlink()
        await_true(lambda: workers_that_wrote(found.log) == {0, 1}, within=SEEN_WITHIN_S, what="a new file")
        assert len(log_lines(found, "decision_log_deleted")) >= 1


def test_the_end_of_a_worker_names_its_signal_and_a_port_taken_meanwhile_is_waited_for(
    tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    with running("sidecar", tmp_path, postgres) as found:
        await_ready(found, "sidecar")
        worker = workers_of(found)[0]
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(worker, signal.SIGABRT)
            await_true(lambda: bind_and_listen(squatter, found.grpc_port), within=5, what="the port")
            await_true(
                lambda: any(
                    "address already in use" in line["cause"] for line in log_lines(found, "worker_died")
                ),
                within=STARTS_WITHIN_S,
                what="the port in the log",
            )
            status, body = readiness(found.sidecar_port)
            assert status == 503
            assert any("worker 0 " in problem for problem in body["problems"])
            assert found.check(worker=1, path=PUBLIC) is not None
        await_ready(found, "sidecar")
        assert found.check(worker=0, path=PUBLIC) is not None
        assert number_of(workers_of(found)[0]) == 0
        assert log_lines(found, "worker_died")[0]["cause"] == "was ended by SIGABRT"


def bind_and_listen(squatter: socket.socket, port: int) -> bool:
    try:
        squatter.bind((LOOPBACK, port))
        squatter.listen()
    except OSError:
        return False
    return True

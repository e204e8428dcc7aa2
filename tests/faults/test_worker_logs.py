"""Log lines of the serving commands, SIGHUP, and a decision log that cannot be written."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from extauthz.shipped import shipped
from tests.command_line import run_extauthz
from tests.faults.worker_processes import (
    STARTS_WITHIN_S,
    log_lines,
    number_of,
    readiness,
    workers_of,
)
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving
from tests.waiting import await_true

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


def send_sighup(found: Serving) -> None:
    """Send SIGHUP to every process of the command, as a service manager does."""
    for pid in found.process.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


def workers_that_wrote(path: Path) -> set[int]:
    return {line["worker"] for line in events(path)}


@pytest.mark.parametrize("command", ["sidecar", "serve", "control-plane"])
def test_a_command_reports_its_addresses_and_survives_sighup(
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
            send_sighup(found)
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


def test_unix_sockets_and_the_http_entrance_are_named_too(
    tmp_path: Path, postgres: EmbeddedPostgres, request: pytest.FixtureRequest
) -> None:
    sockets = tmp_path / "s"
    sockets.mkdir()
    reserved = ReservedPorts()
    request.addfinalizer(reserved.release)
    port, _ = reserved.take(2)
    settings = {"GRPC_UDS_DIR": str(sockets), "HTTP_AUTHZ_PORT": str(port)}
    with running("sidecar", tmp_path, postgres, **settings) as found:
        await_ready(found, "sidecar")
        (line,) = log_lines(found, "listening")
        assert line["grpc"] == [f"unix:{sockets}/worker-{number}.sock" for number in (0, 1)]
        assert line["http_authz"] == [f"{LOOPBACK}:{port + number}" for number in (0, 1)]

        # The next process replaces the socket of the one that was killed.
        worker = workers_of(found)[0]
        os.kill(worker, signal.SIGSTOP)
        await_true(lambda: worker not in workers_of(found), within=15, what="its end")
        await_ready(found, "sidecar")


def test_an_invalid_heartbeat_is_refused_together_with_all_other_problems(tmp_path: Path) -> None:
    with serving(tmp_path, FROM_FILES) as found:
        for value in ("-1", "0.01"):
            ended = run_extauthz(
                "sidecar", environ=found.environ | {"DECISION_LOG_HEARTBEAT": value, "WORKERS": "none"}
            )
            assert ended.returncode == 2
            assert (
                f"DECISION_LOG_HEARTBEAT is {value!r}; it must be seconds from 0.1 to 3600, or 0"
                in ended.stderr
            )
            assert "WORKERS" in ended.stderr


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres) -> Iterator[Serving]:
    """A sidecar without heartbeats in its decision log; each test leaves it ready."""
    folder = tmp_path_factory.mktemp("quiet")
    with running("sidecar", folder, postgres, DECISION_LOG_HEARTBEAT="0") as found:
        await_ready(found, "sidecar")
        yield found
    report = run_extauthz("logs", "verify", str(found.log), environ=found.environ)
    assert report.returncode == 0, report.stdout


def test_without_heartbeats_the_log_has_none(quiet: Serving) -> None:
    assert quiet.check(path=PUBLIC) is not None
    began = datetime.fromisoformat(events(quiet.log)[0]["ts"])
    await_true(lambda: datetime.now(UTC) - began > timedelta(seconds=2.5), within=4, what="two heartbeats")

    assert [line["event"] for line in events(quiet.log)] == ["log_started", "log_started", "decision"]


def test_a_log_that_cannot_be_written_is_named_and_recovers(quiet: Serving) -> None:
    worker = workers_of(quiet)[0]
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (quiet.log.stat().st_size, hard))

    def asked() -> bool:
        answer = quiet.check(path=PUBLIC)
        return answer is not None and "decision_log" in readiness(quiet.sidecar_port)[1]["checks"]

    await_true(asked, within=SEEN_WITHIN_S, what="the log in readiness")
    status, body = readiness(quiet.sidecar_port)
    assert (status, body["status"], body["checks"]["decision_log"]) == (200, "degraded", "unavailable")
    assert f"decision log: {quiet.log} cannot be written: file too large" in body["problems"]
    await_true(lambda: log_lines(quiet, "degraded"), within=3, what="the problem in the log")

    resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
    await_true(
        lambda: readiness(quiet.sidecar_port)[1]["status"] == "ok", within=SEEN_WITHIN_S, what="recovery"
    )
    await_true(lambda: log_lines(quiet, "no_longer_degraded"), within=3, what="the end in the log")
    (degraded,) = log_lines(quiet, "degraded")
    assert degraded["unavailable"] == ["decision_log"]
    assert len(log_lines(quiet, "decision_log_failing")) == 1
    assert len(log_lines(quiet, "decision_log_recovered")) == 1
    # The only heartbeat has the number of lost decisions.
    (beat,) = (line for line in events(quiet.log) if line["event"] == "log_heartbeat")
    assert beat["decisions_lost"] > 0


def test_the_end_of_a_worker_names_its_signal_and_a_port_taken_meanwhile_is_waited_for(
    quiet: Serving,
) -> None:
    worker = workers_of(quiet)[0]
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(worker, signal.SIGABRT)
        await_true(lambda: bind_and_listen(squatter, quiet.grpc_port), within=5, what="the port")
        await_true(
            lambda: any("address already in use" in cause for cause in causes(quiet)),
            within=STARTS_WITHIN_S,
            what="the port in the log",
        )
        status, body = readiness(quiet.sidecar_port)
        assert status == 503
        assert any("worker 0 " in problem for problem in body["problems"])
        assert quiet.check(worker=1, path=PUBLIC) is not None
    await_ready(quiet, "sidecar")
    assert quiet.check(worker=0, path=PUBLIC) is not None
    assert number_of(workers_of(quiet)[0]) == 0
    assert causes(quiet)[0] == "was ended by SIGABRT"


def causes(found: Serving) -> list[str]:
    return [line["cause"] for line in log_lines(found, "worker_died")]


def bind_and_listen(squatter: socket.socket, port: int) -> bool:
    try:
        squatter.bind((LOOPBACK, port))
        squatter.listen()
    except OSError:
        return False
    return True

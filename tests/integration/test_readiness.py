"""When a running process is ready, when it becomes unready, and how it ends."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.process_tree import descendants
from extauthz.demo.processes import LOOPBACK
from extauthz.demo.rest import RestApi
from extauthz.shipped import shipped
from tests.builders import Answer, check_request, read_answer
from tests.command_line import run_extauthz
from tests.faults.worker_processes import metric
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, command, serving
from tests.key_server import KeyServer, answering
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey, claims
from tests.waiting import await_true

CHECK = "/envoy.service.auth.v3.Authorization/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNREADY_WITHIN_S = 0.5
ENDS_WITHIN_S = 10.0
STALE_AFTER_S = 2.0
WITHIN_S = 20.0
OBSERVED_EVERY_S = 0.01
"""Without a pause the observer takes the CPU time that the observed process needs."""

FROM_FILES = {"POLICY_SOURCE": f"files:{shipped('policies/demo')}"}
PUBLIC = "/demo/notices"
INVOICE = "/demo/invoices/17"


def health(port: int) -> tuple[int, Mapping[str, str]]:
    """Return the readiness of a port: the status and the checks; 0 without an answer."""
    reply = RestApi(port, "").ask("GET", "/healthz/ready")
    return reply.status, {} if reply.document is None else reply.document["checks"]


def grpc_health(found: Serving, worker: int = 0) -> int | None:
    """Return the gRPC health status of a worker; None without an answer."""
    with grpc.insecure_channel(f"{LOOPBACK}:{found.grpc_port + worker}") as channel:
        request = health_pb2.HealthCheckRequest()
        try:
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)
        except grpc.RpcError:
            return None


def await_ready(found: Serving, status: int = 200) -> None:
    await_true(lambda: health(found.sidecar_port)[0] == status, within=WITHIN_S, what=f"readiness {status}")


@contextmanager
def watched(observe: Callable[[], object]) -> Iterator[list[object]]:
    """Observe again and again, in a thread of its own."""
    seen: list[object] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(OBSERVED_EVERY_S):
            seen.append(observe())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that a test may take away; it does not run yet."""
    with postgres_in_folder() as server:
        yield server


# Policies and the database ------------------------------------------------------------------------------


def test_a_sidecar_is_not_ready_before_its_first_policies(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_postgres.start()
    own_postgres.stop()
    (tmp_path / "control-plane").mkdir()
    with (
        serving(tmp_path, own_postgres.environment) as found,
        serving(tmp_path / "control-plane", found.environ, MIGRATE_ON_START="true") as control_plane,
    ):
        found.start("sidecar", ready=False)
        await_true(lambda: found.check() is not None, within=WITHIN_S, what="the gRPC port")

        def without_policies() -> None:
            assert health(found.sidecar_port) == (
                503,
                {"casbin": "unavailable", "policies": "unavailable", "database": "unavailable"},
            )
            assert grpc_health(found) == NOT_SERVING
            answer = found.check()
            assert answer is not None
            assert (answer.allowed, answer.status, answer.metadata["reason"]) == (False, 503, "not_ready")

        without_policies()
        assert RestApi(found.sidecar_port, "").ask("GET", "/healthz/live").status == 200
        own_postgres.start()
        without_policies()

        control_plane.start("control-plane")
        await_ready(found)
        assert health(found.sidecar_port) == (200, {"casbin": "ok", "policies": "ok", "database": "ok"})
        await_true(lambda: grpc_health(found) == SERVING, within=1, what="health over gRPC")


def test_a_database_that_is_away_gates_the_control_plane_and_no_sidecar(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_postgres.start()
    with serving(tmp_path, own_postgres.environment, MIGRATE_ON_START="true") as found:
        found.start()
        found.allow_anonymous_reads()
        await_true(found.allowed, within=5, what="the first allow")

        def observed() -> tuple[int, int | None, bool]:
            return health(found.sidecar_port)[0], grpc_health(found), found.allowed()

        with watched(observed) as seen:
            own_postgres.stop()
            await_true(lambda: health(found.rest_port)[0] == 503, within=5, what="the control plane's end")
            await_true(
                lambda: health(found.sidecar_port)[1]["database"] == "unavailable",
                within=5,
                what="the sidecar's report",
            )
            # Longer than several polls, reports and attempts to connect.
            until = time.monotonic() + 2
            await_true(lambda: time.monotonic() > until, within=3, what="time")
            assert health(found.rest_port)[1]["database"] == "unavailable"
            # Each port reports its own readiness on /healthz/ready.
            assert metric(found.rest_port, "extauthz_ready") == 0.0
            assert metric(found.sidecar_port, "extauthz_ready") == 1.0
            own_postgres.start()
            await_true(lambda: health(found.rest_port)[0] == 200, within=WITHIN_S, what="the database back")
        assert len(seen) > 10
        assert set(seen) == {(200, SERVING, True)}


def test_policies_too_old_to_decide_make_a_sidecar_unready_unless_they_are_served(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_postgres.start()
    database = own_postgres.environment | {"POLICY_MAX_STALENESS": str(STALE_AFTER_S)}
    (tmp_path / "b").mkdir()
    with (
        serving(tmp_path, database, MIGRATE_ON_START="true") as denying,
        serving(tmp_path / "b", database, POLICY_STALE_ACTION="serve") as lenient,
    ):
        denying.start()
        denying.allow_anonymous_reads()
        lenient.start("sidecar")
        await_true(lambda: denying.allowed() and lenient.allowed(), within=5, what="the first allows")

        own_postgres.stop()
        stopped_at = time.monotonic()
        await_ready(denying, 503)
        assert time.monotonic() - stopped_at > STALE_AFTER_S - 1.0
        status, checks = health(denying.sidecar_port)
        assert (status, checks["policies"], checks["casbin"]) == (503, "unavailable", "ok")
        await_true(lambda: grpc_health(denying) == NOT_SERVING, within=1, what="health over gRPC")
        answer = denying.check()
        assert answer is not None
        assert (answer.allowed, answer.status, answer.metadata["reason"]) == (False, 503, "policy_stale")
        assert health(lenient.sidecar_port)[0] == 200
        assert grpc_health(lenient) == SERVING
        assert lenient.allowed()

        own_postgres.start()
        await_ready(denying)
        await_true(denying.allowed, within=5, what="an allow")


# Keys ---------------------------------------------------------------------------------------------------


def with_provider(provider: KeyServer) -> dict[str, str]:
    return FROM_FILES | {
        "AUTH_SERVER_URL": provider.issuer,
        "OIDC_AUDIENCE": "demo",
        "JWKS_ALLOW_HOSTS": f"{LOOPBACK}:{provider.port}",
    }


def test_keys_gate_the_first_start_and_nothing_later(tmp_path: Path) -> None:
    away = answering(status=503)
    with (
        identity_provider(SigningKey.rs256()) as provider,
        serving(tmp_path, with_provider(provider), workers=2, OIDC_ENABLED="true") as found,
    ):
        provider.handler = away
        found.start("sidecar", ready=False)
        await_true(lambda: grpc_health(found) == NOT_SERVING, within=WITHIN_S, what="the gRPC port")
        await_true(
            lambda: (
                health(found.sidecar_port) == (503, {"casbin": "ok", "policies": "ok", "jwks": "unavailable"})
            ),
            within=WITHIN_S,
            what="the report of every worker, policies loaded and keys missing",
        )

        provider.handler = provider.serve_keys
        await_ready(found)

        provider.handler = away
        supervisor = found.process.pid
        with watched(lambda: health(found.sidecar_port)) as seen:
            for worker in descendants(supervisor):
                os.kill(worker.pid, signal.SIGKILL)
            await_true(
                lambda: (200, {"casbin": "ok", "policies": "ok", "jwks": "unavailable"}) in seen,
                within=WITHIN_S,
                what="readiness of workers without keys",
            )
        # The sidecar is ready, but a worker without keys leaves the requests to others that have them.
        assert {grpc_health(found, worker) for worker in (0, 1)} == {NOT_SERVING}

        provider.handler = provider.serve_keys
        await_true(
            lambda: {grpc_health(found, worker) for worker in (0, 1)} == {SERVING},
            within=WITHIN_S,
            what="keys",
        )
        assert health(found.sidecar_port)[1]["jwks"] == "ok"


# The end ------------------------------------------------------------------------------------------------


@contextmanager
def running(
    found: Serving, name: str = "sidecar", *, to_stdout: bool = False
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the command as a child of this process, whose exit status it can see."""
    with (found.folder / "extauthz.log").open("ab") as errors:
        process = subprocess.Popen(
            command(name),
            env=found.environ,
            stdout=subprocess.PIPE if to_stdout else errors,
            stderr=errors,
            start_new_session=True,
        )
    with process:
        try:
            await_ready(found)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ended(process: "subprocess.Popen[bytes]", asked_at: float) -> int:
    """Return the exit status of a process that ends in time."""
    return process.wait(timeout=max(0.0, asked_at + ENDS_WITHIN_S - time.monotonic()))


def verified(found: Serving, log: Path) -> Mapping[str, Any]:
    """Return the verdict of `extauthz logs verify` on a log that is complete."""
    verdict = run_extauthz("logs", "verify", str(log), environ=found.environ)
    assert verdict.returncode == 0, verdict.stdout
    report: Mapping[str, Any] = json.loads(verdict.stdout)
    assert report["unexplained_gaps"] == 0
    assert report["without_stop_line"] == []
    return report


def test_a_sidecar_asked_to_end_reports_it_at_once_and_answers_until_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, FROM_FILES, workers=2) as found, running(found) as process:
        for worker in (0, 1):
            assert grpc_health(found, worker) == SERVING
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await_true(lambda: health(found.sidecar_port)[0] != 200, within=UNREADY_WITHIN_S, what="503")
        await_true(
            lambda: {grpc_health(found, worker) for worker in (0, 1)} == {NOT_SERVING},
            within=asked_at + UNREADY_WITHIN_S - time.monotonic(),
            what="health over gRPC",
        )
        # Proxies that have not noticed yet are answered as ever.
        answered = sum(found.check(worker=worker, path=PUBLIC) is not None for worker in (0, 1) * 10)
        assert answered == 20
        assert health(found.sidecar_port)[0] == 503
        assert ended(process, asked_at) == 0

    report = verified(found, tmp_path / "decisions.jsonl")
    assert report["decisions"] == answered


def test_serve_becomes_unready_on_every_port_before_it_ends(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_postgres.start()
    with (
        serving(tmp_path, own_postgres.environment, MIGRATE_ON_START="true") as found,
        running(found, "serve") as process,
    ):
        assert grpc_health(found) == SERVING
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)

        def unready() -> bool:
            ports = (found.rest_port, found.sidecar_port)
            return all(health(port)[0] != 200 for port in ports) and grpc_health(found) != SERVING

        await_true(unready, within=UNREADY_WITHIN_S, what="503 on both ports")
        assert ended(process, asked_at) == 0
    verified(found, tmp_path / "decisions.jsonl")


def test_a_check_that_runs_is_finished(tmp_path: Path) -> None:
    """A check that waits for keys, from a provider that hangs, is under way when the end is asked for."""
    unseen = SigningKey.rs256("unseen")

    over = threading.Event()

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.to_thread(over.wait, WITHIN_S)
        return web.Response()

    with (
        identity_provider(SigningKey.rs256()) as provider,
        serving(tmp_path, with_provider(provider), OIDC_ENABLED="true") as found,
        running(found) as process,
        grpc.insecure_channel(f"{LOOPBACK}:{found.grpc_port}") as channel,
    ):
        now = int(time.time())
        token = unseen.sign(claims(iss=provider.issuer, aud="demo", iat=now, exp=now + 60))
        provider.handler = hang
        asked = provider.requests["/jwks"]
        headers = {"authorization": f"Bearer {token}"}
        call = channel.unary_unary(CHECK, None, None)
        answer = call.future(check_request(INVOICE, headers=headers), timeout=5)
        await_true(lambda: provider.requests["/jwks"] > asked, within=5, what="a fetch")
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)

        found_answer: Answer = read_answer(answer.result(5))
        assert (found_answer.status, found_answer.metadata["reason"]) == (503, "keys_unavailable")
        assert ended(process, asked_at) == 0
        over.set()
    assert verified(found, tmp_path / "decisions.jsonl")["decisions"] == 1


def test_a_caller_that_never_stops_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    with (
        serving(tmp_path, FROM_FILES) as found,
        running(found) as process,
        watched(lambda: found.check(path=PUBLIC, timeout=1) is not None) as answers,
    ):
        await_true(lambda: len(answers) > 10, within=5, what="answers")
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert ended(process, asked_at) == 0
    assert verified(found, tmp_path / "decisions.jsonl")["decisions"] >= sum(map(bool, answers))


def test_a_log_without_reader_does_not_delay_the_end_of_the_process(tmp_path: Path) -> None:
    with serving(tmp_path, FROM_FILES) as found:
        found.environ["DECISION_LOG"] = "stdout"
        with (
            running(found, to_stdout=True) as process,
            grpc.insecure_channel(f"{LOOPBACK}:{found.grpc_port}") as channel,
        ):
            call = channel.unary_unary(CHECK, None, None)
            # More lines than a pipe holds.
            for _ in range(200):
                call(check_request(PUBLIC), timeout=5)
            asked_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            ended(process, asked_at)

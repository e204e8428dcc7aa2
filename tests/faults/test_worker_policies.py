"""A worker that cannot compile its first policies is not ready, reports why, and recovers by itself."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from tests.faults.worker_processes import (
    STARTS_WITHIN_S,
    execute,
    log_lines,
    readiness,
)
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import PUBLIC, Serving, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from extauthz.demo.postgres import EmbeddedPostgres

REPAIRED_WITHIN_S = 5.0
BROKEN = (
    "ALTER TABLE role_rules DROP CONSTRAINT IF EXISTS role_rules_effect_check",
    "UPDATE role_rules SET effect = 'maybe'",
)
REPAIRED = "UPDATE role_rules SET effect = 'allow'"


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with postgres_in_folder() as server:
        server.start()
        yield server


def http_check(port: int) -> tuple[int, str | None, str | None]:
    """Ask the HTTP entrance; return status, reason and `Retry-After`."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    connection.request("GET", PUBLIC)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers["x-extauthz-reason"], response.headers["retry-after"]


def reason(found: Serving, path: str = PUBLIC) -> tuple[int | None, object]:
    answer = found.check(path=path)
    assert answer is not None
    return answer.status, answer.metadata["reason"]


def test_stored_policies_that_do_not_compile_are_not_ready_until_they_do(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    ports = ReservedPorts()
    (http_port,) = ports.take()
    settings = postgres.environment | {
        "MIGRATE_ON_START": "true",
        "HTTP_AUTHZ_PORT": str(http_port),
        # Neither a poll nor a notification reports a repair by hand.
        "POLICY_POLL_INTERVAL": "300",
    }
    with serving(tmp_path, settings) as found:
        found.start()
        found.allow_anonymous_reads()
        await_true(found.allowed, within=5, what="the first allow")
        found.process.stop()
        execute(postgres, *BROKEN)

        found.start(ready=False)
        await_true(lambda: found.check() is not None, within=STARTS_WITHIN_S, what="the gRPC port")
        await_true(
            lambda: "problems" in readiness(found.sidecar_port)[1],
            within=STARTS_WITHIN_S,
            what="the problem in readiness",
        )

        answer = found.check()
        assert answer is not None
        assert (answer.allowed, answer.status, answer.metadata["reason"]) == (False, 503, "not_ready")
        assert answer.headers["retry-after"] == "1"
        assert reason(found, "/nothing/here") == (503, "not_ready")
        assert http_check(http_port) == (403, "not_ready", "1")
        asked = {"subject": "anyone", "resource": "public:read", "action": "read"}
        reply = found.rest.ask("POST", "/api/v1/check", asked)
        assert (reply.status, reply.document["reason"]) == (503, "not_ready")
        for port in (found.sidecar_port, found.rest_port):
            await_true(lambda: readiness(port)[1]["checks"]["database"] == "ok", within=5, what="database")  # noqa: B023
            status, body = readiness(port)
            assert (status, body["checks"]["policies"]) == (503, "unavailable")
            (problem,) = body["problems"]
            assert problem.startswith("policies of tenant 'default': /role_rule/")
            assert "'maybe'" in problem

        execute(postgres, REPAIRED)
        await_true(found.allowed, within=REPAIRED_WITHIN_S, what="an allow after the repair")
        await_true(lambda: readiness(found.rest_port)[0] == 200, within=2, what="readiness")
        # The control plane reads the rows again by itself.
        await_true(
            lambda: readiness(found.rest_port)[1]["status"] == "ok",
            within=REPAIRED_WITHIN_S,
            what="no problem",
        )
        assert "problems" not in readiness(found.rest_port)[1]
    # Tried again each second, and logged once.
    refused = [line for line in log_lines(found, "policies_refused") if "not_ready" in line["message"]]
    assert len(refused) == 2  # the worker and the control plane
    assert log_lines(found, "policies_accepted")
    ports.release()

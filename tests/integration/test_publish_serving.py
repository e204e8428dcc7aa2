"""`serve` on a real database: supervised workers, starts that are refused, a database that comes late."""

import asyncio
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.processes import http_answers
from tests.command_line import run_extauthz
from tests.faults.worker_processes import workers_of
from tests.folder_postgres import CopiedPostgres
from tests.integration.serving import (
    PUBLIC_RESOURCE,
    Serving,
    database_environment,
    environment,
    finished,
    serving,
)
from tests.integration.storage_documents import connected
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

RESOURCES = 400
# Two seconds on an idle machine; with other tests running, a process gets less than a core.
REPLACED_WITHIN_S = 5.0 if "PYTEST_XDIST_WORKER" in os.environ else 2.0


@pytest.fixture
def two_workers(database: "Database", tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, database_environment(database.address), workers=2) as found:
        found.start()
        found.allow_anonymous_reads()
        await_true(
            lambda: found.allowed(worker=0) and found.allowed(worker=1), within=5, what="the first allows"
        )
        yield found


def decisions(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("extauthz_decisions_total")
    )


def test_a_killed_worker_is_replaced_within_two_seconds_and_its_counts_stay(two_workers: Serving) -> None:
    for worker in (0, 1):
        for _ in range(10):
            assert two_workers.allowed(worker=worker)
    before = decisions(two_workers.rest_port)
    await_true(lambda: decisions(two_workers.rest_port) >= 20, within=2, what="counts of both workers")
    assert decisions(two_workers.sidecar_port) >= max(before, 20)
    supervisor = two_workers.process.pid
    first = workers_of(two_workers)[0]
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen.append(decisions(two_workers.rest_port))

    watching = threading.Thread(target=watch)
    watching.start()
    os.kill(first, signal.SIGKILL)
    await_true(lambda: not two_workers.allowed(worker=0), within=1, what="the end of the worker")
    assert two_workers.allowed(worker=1)
    await_true(lambda: two_workers.allowed(worker=0), within=REPLACED_WITHIN_S, what="another worker")
    await_true(
        lambda: http_answers(two_workers.rest_port, "/healthz/ready"), within=1, what="readiness with it"
    )
    over.set()
    watching.join()

    assert seen == sorted(seen)
    assert two_workers.process.pid == supervisor


@pytest.mark.parametrize("variable", ["PORT", "SIDECAR_PORT", "GRPC_PORT", "HTTP_AUTHZ_PORT"])
def test_a_busy_port_is_one_line_and_exit_2(database: "Database", tmp_path: Path, variable: str) -> None:
    with (
        serving(tmp_path, database_environment(database.address), workers=2) as found,
        socket.create_server(("127.0.0.1", 0)) as busy,
    ):
        port = str(busy.getsockname()[1])
        ended = finished(
            "serve", environ=found.environ | {variable: port, "WORKERS": "1", "LOG_LEVEL": "error"}
        )

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert port in ended.stderr


@pytest.mark.parametrize("name", ["serve", "control-plane"])
def test_a_schema_that_is_behind_is_refused_until_it_is_migrated(
    empty_database: "Database", tmp_path: Path, name: str
) -> None:
    with serving(tmp_path, database_environment(empty_database.address)) as found:
        ended = run_extauthz(name, environ=found.environ)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert "extauthz migrate" in ended.stderr

        migrated = run_extauthz("migrate", environ=found.environ)
        assert migrated.returncode == 0, migrated.stderr
        found.start(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"POSTGRES_PASSWORD": "wrong"}, "password authentication failed"),
        ({"POSTGRES_DB": "nowhere"}, '"nowhere" does not exist'),
        ({"POSTGRES_PORT": "none", "WORKERS": "0"}, "POSTGRES_PORT is 'none'"),
        ({"POSTGRES_SSLMODE": "verify-full", "POSTGRES_SSLROOTCERT": "/nowhere"}, "POSTGRES_SSLROOTCERT"),
        ({"ADMIN_API_KEY": "short"}, "ADMIN_API_KEY"),
        ({"POLICY_SOURCE": "files:/tmp"}, "extauthz sidecar"),
        ({"OIDC_CA_FILE": "/nowhere"}, "OIDC_CA_FILE '/nowhere' cannot be read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_permanent_error_is_one_line_and_exit_2(
    database: "Database", changes: dict[str, str], said: str
) -> None:
    ended = run_extauthz("serve", environ=environment(database_environment(database.address), **changes))

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert said in ended.stderr
    assert "short" not in ended.stderr


def test_without_a_database_no_worker_is_ready_and_every_check_is_denied(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    late = CopiedPostgres(postgres.folder.with_name("late"))
    late.start()
    late.stop()
    try:
        with serving(tmp_path, late.environment, MIGRATE_ON_START="true") as found:
            found.start(ready=False)
            await_true(
                lambda: found.rest.ask("GET", "/healthz/ready").status == 503, within=15, what="the REST port"
            )
            await_true(lambda: found.check() is not None, within=15, what="the gRPC port")
            answer = found.check()
            assert answer is not None
            assert (answer.allowed, answer.status) == (False, 503)
            assert answer.metadata["reason"] == "not_ready"
            assert found.rest.ask("GET", "/healthz/live").status == 200
            assert found.rest.ask("GET", "/api/v1/resources").status == 503

            late.start()
            await_true(
                lambda: found.rest.ask("GET", "/healthz/ready").status == 200, within=15, what="readiness"
            )
            found.allow_anonymous_reads()
            await_true(found.allowed, within=5, what="the first allow")
    finally:
        late.stop()


def test_a_killed_control_plane_leaves_all_of_a_write_or_none(database: "Database", tmp_path: Path) -> None:
    acknowledged: list[str] = []
    with serving(tmp_path, database_environment(database.address)) as found:
        found.start("control-plane")
        rest = found.rest

        def write(own: int) -> None:
            for number in range(RESOURCES):
                name = f"thing-{own}-{number}:read"
                routes = [
                    {"methods": ["GET", "POST"], "path": f"/{own}/{number}/{part}"} for part in range(5)
                ]
                document = PUBLIC_RESOURCE | {"name": name, "routes": routes, "defaultRoles": ["a", "b", "c"]}
                if rest.ask("POST", "/api/v1/resources", document).status != 201:
                    return
                acknowledged.append(name)

        writers = [threading.Thread(target=write, args=(own,)) for own in range(6)]
        for writer in writers:
            writer.start()
        await_true(lambda: len(acknowledged) >= 40, within=20, what="forty writes")
        found.process.kill()
        for writer in writers:
            writer.join()

    rows = asyncio.run(what_is_there(database))
    assert set(acknowledged) <= {name for name, *_ in rows}
    # Five paths for two methods, three default roles; one change record and one audit event for each row.
    assert {tuple(counts) for _, *counts in rows} == {(10, 3, 1, 4, 4)}
    assert len(acknowledged) < 6 * RESOURCES


async def what_is_there(database: "Database") -> list[tuple[object, ...]]:
    """Return for each resource its name and how much of its write is stored; revisions have no gap."""
    async with connected(database.superuser) as connection:
        without_gap = await connection.fetchval(
            "SELECT (SELECT revision FROM tenants) = max(revision) AND max(revision) = count(*)"
            " FROM policy_changes"
        )
        assert without_gap is True
        records = await connection.fetch(
            """
            SELECT r.name,
              (SELECT count(*) FROM route_claims AS c WHERE c.resource_id = r.id),
              (SELECT count(*) FROM role_rules AS p WHERE p.obj = r.name),
              (SELECT count(*) FROM default_roles_applied AS d WHERE d.resource_name = r.name),
              (SELECT json_array_length(changes) FROM policy_changes AS h WHERE h.revision = r.revision),
              (SELECT count(*) FROM audit_events AS a WHERE a.revision = r.revision)
            FROM resources AS r
            """
        )
    return [tuple(record) for record in records]

"""A worker without file descriptors: readiness names it, and the log does not repeat it."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from extauthz.demo.processes import LOOPBACK
from tests.faults.worker_processes import log_lines, readiness, workers_of
from tests.integration.serving import database_environment, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

FAILED = "gRPC accept failed: Too many open files (os error 24)"


def test_a_worker_without_descriptors_is_named_by_readiness(tmp_path: Path, database: "Database") -> None:
    with serving(tmp_path, database_environment(database.address), GRPC_SERVER="native") as found:
        found.start()
        port = found.rest_port
        await_true(lambda: readiness(port)[1]["status"] == "ok", within=10, what="readiness")
        (worker,) = workers_of(found)
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        # A few more than it has, which clients take.
        limit = len(list(Path(f"/proc/{worker}/fd").iterdir())) + 4
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, before[1]))
        with ExitStack() as clients:
            for _ in range(limit):
                clients.enter_context(socket.create_connection((LOOPBACK, found.grpc_port), timeout=5))
            problem = f"all {limit} file descriptors in use"
            await_true(
                lambda: any(problem in each for each in readiness(port)[1].get("problems", ())),
                within=10,
                what="the problem in readiness",
            )
            assert readiness(port)[1]["status"] == "degraded"
            # The server tries to accept many times a second.
            assert len(log_lines(found, FAILED)) == 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        await_true(lambda: readiness(port)[1]["status"] == "ok", within=10, what="an end of the problem")

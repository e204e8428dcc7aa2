"""`extauthz` as a process on a real database, without identity provider and Envoy."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.demo.rest import RestApi
from extauthz.storage.pool import DatabaseAddress
from tests.builders import Answer, check_request, read_answer
from tests.light_processes import LIGHT
from tests.waiting import await_true

ADMIN_KEY = "an operator's key of more than 32 bytes: 0123456789"
PUBLIC = "/public/17"
PUBLIC_RESOURCE = {
    "name": "public:read",
    "displayName": "Read what is public",
    "serviceName": "demo",
    "routes": [{"methods": ["GET"], "path": "/public/{it}", "authentication": "optional"}],
}
ANONYMOUS_READS = {"sub": "anonymous", "dom": "*", "obj": "public:read", "act": "read", "effect": "allow"}


def database_environment(address: DatabaseAddress) -> dict[str, str]:
    return {
        "POSTGRES_HOST": address.host,
        "POSTGRES_PORT": str(address.port),
        "POSTGRES_USER": address.user,
        "POSTGRES_PASSWORD": address.password,
        "POSTGRES_DB": address.database,
        "POSTGRES_SSLMODE": "disable",
    }


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "extauthz", name, *arguments]


def environment(database: Mapping[str, str], **extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {
        **LIGHT,
        **kept,
        **database,
        "OIDC_ENABLED": "false",
        "ADMIN_API_KEY": ADMIN_KEY,
        "POLICY_POLL_INTERVAL": "0.5",
        # Any free one: other tests run meanwhile.
        "PORT": "0",
        "SIDECAR_PORT": "0",
        **extra,
    }


def finished(
    name: str, *arguments: str, environ: Mapping[str, str], timeout: float = 30
) -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own: for tests of the process; others have `run_extauthz`."""
    return subprocess.run(
        command(name, *arguments),
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass
class Serving:
    """One running command and the ports it has."""

    folder: Path
    environ: dict[str, str]
    rest_port: int
    sidecar_port: int
    grpc_port: int
    child: Child | None = field(default=None)

    @property
    def rest(self) -> RestApi:
        return RestApi(self.rest_port, ADMIN_KEY)

    @property
    def log(self) -> Path:
        """The decision log."""
        return self.folder / "decisions.jsonl"

    @property
    def process(self) -> Child:
        assert self.child is not None
        return self.child

    def start(self, name: str = "serve", *, ready: bool = True) -> None:
        self.child = spawn(
            "extauthz", command(name), output=self.folder / "extauthz.log", environment=self.environ
        )
        if ready:
            port = self.sidecar_port if name == "sidecar" else self.rest_port
            self.child.wait_ready(lambda: http_answers(port, "/healthz/ready"), timeout_s=30)

    def check(self, *, worker: int = 0, path: str = PUBLIC, timeout: float = 5, **more: Any) -> Answer | None:
        """Ask a worker as Envoy does; None: no answer."""
        with grpc.insecure_channel(f"{LOOPBACK}:{self.grpc_port + worker}") as channel:
            call = channel.unary_unary(
                "/envoy.service.auth.v3.Authorization/Check",
                request_serializer=None,
                response_deserializer=None,
            )
            try:
                return read_answer(call(check_request(path, **more), timeout=timeout, wait_for_ready=False))
            except grpc.RpcError:
                return None

    def settled(self, **asked: Any) -> Answer:
        """Ask until providers have answered, which on a busy machine takes longer than a check waits."""
        answers: list[Answer] = []

        def is_settled() -> bool:
            answer = self.check(**asked)
            if answer is not None:
                answers.append(answer)
            return answer is not None and answer.status != 503

        await_true(is_settled, within=60, what="an answer of the provider")
        return answers[-1]

    def allowed(self, *, worker: int = 0) -> bool:
        answer = self.check(worker=worker)
        return answer is not None and answer.allowed

    def allow_anonymous_reads(self) -> int | None:
        """Create the public resource and its rule; return the revision they are in effect at."""
        self.rest.create("/api/v1/resources", PUBLIC_RESOURCE)
        return self.rest.create("/api/v1/resources/policies", ANONYMOUS_READS).revision


@contextlib.contextmanager
def serving(
    folder: Path, database: Mapping[str, str], *, workers: int = 1, **extra: str
) -> Iterator[Serving]:
    """Choose ports; every started process is ended."""
    ports = ReservedPorts()
    rest_port, sidecar_port = ports.take(2)
    grpc_port = ports.take(workers)[0]
    environ = environment(
        database,
        HOST=LOOPBACK,
        PORT=str(rest_port),
        SIDECAR_PORT=str(sidecar_port),
        GRPC_PORT=str(grpc_port),
        WORKERS=str(workers),
        DECISION_LOG=str(folder / "decisions.jsonl"),
        **extra,
    )
    found = Serving(folder, environ, rest_port, sidecar_port, grpc_port)
    try:
        yield found
    finally:
        if found.child is not None:
            found.child.stop(grace_s=8)
        ports.release()

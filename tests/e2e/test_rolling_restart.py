"""Sidecars behind real Envoy are restarted, one after the other, while requests arrive: none is lost."""

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extauthz.demo import envoy, identity_provider
from extauthz.demo.process_tree import descendants
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.demo.stack import PUBLIC_PATH
from extauthz.shipped import shipped
from tests.command_line import run_extauthz
from tests.e2e.demo_servers import DemoServers
from tests.e2e.demo_tokens import demo_token
from tests.e2e.patient_stack import patient
from tests.light_processes import LIGHT
from tests.volume import volume
from tests.waiting import await_true

READY_S = 30.0
ENDS_WITHIN_S = 10.0
ROUNDS = volume(1, verify=3)
BUSY_S, SPARSE_S = 0.03, 0.4
"""Between two requests of one client. The sparse one leaves an endpoint idle between two health checks."""

INVOICE = "/demo/invoices/17"


@dataclass
class Sidecar:
    """One place that Envoy knows, and the process that is there now; each start has a log of its own."""

    name: str
    folder: Path
    environ: dict[str, str]
    child: Child | None = None
    logs: list[Path] = field(default_factory=list)

    @property
    def process(self) -> Child:
        assert self.child is not None
        return self.child

    def is_ready(self) -> bool:
        return http_answers(int(self.environ["SIDECAR_PORT"]), "/healthz/ready")

    def start(self) -> None:
        log = self.folder / f"{self.name}-{len(self.logs)}.jsonl"
        self.logs.append(log)
        self.child = spawn(
            self.name,
            [sys.executable, "-m", "extauthz", "sidecar"],
            output=self.folder / f"{self.name}.log",
            environment=self.environ | {"DECISION_LOG": str(log)},
        )

    def await_requests(self, *, worker: int = 0, starts: int = 1) -> None:
        """Wait until Envoy has sent requests to `starts` starts of a worker."""
        decided = Decided(self.logs[-1], worker)
        self.process.wait_ready(lambda: len(decided.instances()) == starts, timeout_s=READY_S)

    def end(self) -> float:
        """Ask the process to end; return the seconds it took."""
        self.process.send(signal.SIGTERM)
        took = await_true(
            lambda: not self.process.running, within=ENDS_WITHIN_S, what=f"the end of {self.name}"
        )
        self.process.kill()
        return took


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Return the whole lines that a log holds by now."""
    return [json.loads(line) for line in (log.read_bytes() if log.exists() else b"").split(b"\n")[:-1]]


@dataclass
class Decided:
    """The process starts of a worker that decided requests of the clients, by a log that is being written."""

    log: Path
    worker: int
    read_to: int = 0
    found: set[str] = field(default_factory=set)

    def instances(self) -> set[str]:
        """Read the lines that are new since the last call, and return the starts that all lines name."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as stream:
            stream.seek(self.read_to)
            whole, newline, _ = stream.read().rpartition(b"\n")
            self.read_to += len(whole) + len(newline)
            for line in map(json.loads, whole.splitlines()):
                if line["event"] == "decision" and (line["worker"], line["path"]) == (self.worker, INVOICE):
                    self.found.add(line["instance"])
        return self.found


@dataclass
class Mesh:
    """Envoy, its upstream, the identity provider, and the sidecars."""

    envoy_port: int
    provider_port: int
    sidecars: list[Sidecar]

    def token(self, name: str) -> str:
        return demo_token(self.provider_port, name)


@pytest.fixture
def mesh(request: pytest.FixtureRequest, tmp_path: Path, servers: DemoServers) -> Iterator[Mesh]:
    """Two endpoints in the shipped configuration: two sidecars, or two workers of one."""
    sidecars_wanted, grpc_server = request.param
    ports = ReservedPorts()
    (listener,), endpoints = ports.take(), ports.take(2)
    children: list[Child] = []
    sidecars: list[Sidecar] = []

    def part(name: str, command: list[str | Path], answers: Callable[[], bool]) -> None:
        children.append(spawn(name, command, output=tmp_path / f"{name}.log"))
        children[-1].wait_ready(answers, timeout_s=READY_S)

    try:
        for number in range(sidecars_wanted):
            environ = {
                **LIGHT,
                "PATH": os.defpath,
                "AUTH_SERVER_URL": servers.issuer,
                "OIDC_AUDIENCE": identity_provider.AUDIENCE,
                "JWKS_ALLOW_HOSTS": f"{LOOPBACK}:{servers.provider}",
                "POLICY_SOURCE": f"files:{shipped('policies/demo')}",
                "HOST": LOOPBACK,
                "GRPC_PORT": str(endpoints[number]),
                "GRPC_SERVER": grpc_server,
                "SIDECAR_PORT": str(ports.take()[0]),
                "WORKERS": str(len(endpoints) // sidecars_wanted),
            }
            sidecars.append(Sidecar(f"sidecar-{number}", tmp_path, environ))
            sidecars[-1].start()
        for sidecar in sidecars:
            sidecar.process.wait_ready(sidecar.is_ready, timeout_s=READY_S)
        configuration = tmp_path / "envoy.yaml"
        configuration.write_text(
            patient(envoy.bootstrap(listener=listener, extauthz=endpoints, upstream=servers.upstream))
        )
        part("envoy", envoy.command(configuration), lambda: http_answers(listener, PUBLIC_PATH))
        yield Mesh(listener, servers.provider, sidecars)
    finally:
        for sidecar in sidecars:
            if sidecar.child is not None:
                sidecar.child.kill()
        for child in reversed(children):
            child.kill()
        ports.release()


@dataclass
class Load:
    """Clients that send until stopped; every answer is counted by the expected and the received one."""

    port: int
    over: threading.Event = field(default_factory=threading.Event)
    answers: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    threads: list[threading.Thread] = field(default_factory=list)

    def client(
        self, name: str, path: str, expected: int, *, every_s: float, token: str | None = None
    ) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}

        def send_all() -> None:
            connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
            counted: Counter[tuple[str, int, int]] = Counter()
            while not self.over.wait(every_s):
                try:
                    connection.request("GET", path, headers=headers)
                    response = connection.getresponse()
                    response.read()
                    status = response.status
                except (OSError, http.client.HTTPException):
                    connection.close()
                    status = 0
                counted[name, expected, status] += 1
            connection.close()
            self.answers.update(counted)

        self.threads.append(threading.Thread(target=send_all))
        self.threads[-1].start()

    def stop(self) -> Counter[tuple[str, int, int]]:
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.answers

    @property
    def unexpected(self) -> dict[tuple[str, int, int], int]:
        return {answer: count for answer, count in self.answers.items() if answer[1] != answer[2]}


@pytest.fixture
def load(mesh: Mesh, request: pytest.FixtureRequest) -> Iterator[Load]:
    """Send all the time, or now and then."""
    clients = Load(mesh.envoy_port)
    alice, bob = mesh.token("alice"), mesh.token("bob")
    if request.param:
        clients.client("alice", INVOICE, 200, every_s=BUSY_S, token=alice)
        clients.client("bob", INVOICE, 403, every_s=BUSY_S, token=bob)
        clients.client("nobody", INVOICE, 401, every_s=BUSY_S)
    clients.client("sparse", INVOICE, 200, every_s=SPARSE_S, token=alice)
    yield clients
    clients.stop()


def verified(log: Path) -> dict[str, Any]:
    """Return the report of `extauthz logs verify`; the log has neither gap nor error."""
    finished = run_extauthz("logs", "verify", log)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    verdict: dict[str, Any] = json.loads(finished.stdout)
    return verdict


def every_request_was_decided_once(mesh: Mesh, load: Load) -> None:
    """Nothing but what was expected was answered, and the logs hold one decision for each answer."""
    logs = [log for sidecar in mesh.sidecars for log in sidecar.logs]
    reports = [verified(log) for log in logs]
    print(f"{len(logs)} logs; (client, expected, got): {dict(load.answers)}")
    assert load.unexpected == {}
    assert all(report["without_stop_line"] == [] for report in reports)
    lines = [line for log in logs for line in lines_of(log) if line["event"] == "decision"]
    assert len([line for line in lines if line["path"] == INVOICE]) == load.answers.total()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mesh", "load"),
    [((2, "native"), True), ((2, "native"), False), ((2, "grpcio"), True), ((2, "grpcio"), False)],
    indirect=True,
    ids=["native-busy", "native-sparse", "grpcio-busy", "grpcio-sparse"],
)
def test_sidecars_restarted_in_turn_lose_no_request(mesh: Mesh, load: Load) -> None:
    took: list[float] = []
    for _ in range(ROUNDS):
        for sidecar in mesh.sidecars:
            sidecar.await_requests()
            took.append(sidecar.end())
            sidecar.start()
            # As Kubernetes goes on: when the new one is ready, and Envoy has noticed.
            sidecar.await_requests()
    for sidecar in mesh.sidecars:
        sidecar.await_requests()
    load.stop()
    took += [sidecar.end() for sidecar in mesh.sidecars]
    print(f"ended after {', '.join(f'{seconds:.1f} s' for seconds in took)}")
    every_request_was_decided_once(mesh, load)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mesh", [(1, "native"), (1, "grpcio")], indirect=True, ids=["native", "grpcio"])
@pytest.mark.parametrize("load", [True], indirect=True, ids=["busy"])
def test_workers_restarted_in_turn_lose_no_request(mesh: Mesh, load: Load) -> None:
    (sidecar,) = mesh.sidecars
    for start in range(1, ROUNDS + 1):
        for worker in (0, 1):
            sidecar.await_requests(worker=worker, starts=start)
            os.kill(pid_of(sidecar, worker), signal.SIGTERM)
            sidecar.await_requests(worker=worker, starts=start + 1)
    load.stop()
    sidecar.end()
    every_request_was_decided_once(mesh, load)


def pid_of(sidecar: Sidecar, worker: int) -> int:
    """Return the process that is a worker now."""
    (found,) = (
        each.pid
        for each in descendants(sidecar.process.pid)
        if f"worker\0{worker}\0".encode() in Path(f"/proc/{each.pid}/cmdline").read_bytes()
    )
    return found

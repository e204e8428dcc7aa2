"""The sample application of docs/client.md behind real Envoy: the mesh enforces what its code declares."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.demo.stack import Stack
from tests.docs.samples import samples
from tests.light_processes import LIGHT


@dataclass(frozen=True)
class Application:
    """The running sample: its process, its own port, and the port of the Envoy before it."""

    process: Child
    port: int
    envoy_port: int

    def is_enforced(self) -> bool:
        """Tell whether its anonymous route passes through Envoy, as only a registration can make it."""
        return http_answers(self.envoy_port, "/prices")


@contextmanager
def sample_application(stack: Stack, folder: Path) -> Iterator[Application]:
    """Start the page's application, and an Envoy before it that asks the stack's extauthz."""
    (source,) = [sample.text for sample in samples() if sample.title == "billing.py"]
    (folder / "billing.py").write_text(source, "utf-8")
    ports = ReservedPorts()
    port, envoy_port = ports.take()[0], ports.take()[0]
    workers = list(range(stack.grpc_port, stack.grpc_port + stack.workers))
    configuration = folder / "envoy.yaml"
    configuration.write_text(envoy.bootstrap(listener=envoy_port, extauthz=workers, upstream=port), "utf-8")
    process = spawn(
        "billing",
        [
            sys.executable,
            "-m",
            "uvicorn",
            "billing:app",
            "--app-dir",
            folder,
            "--host",
            LOOPBACK,
            "--port",
            str(port),
        ],
        output=folder / "billing.log",
        environment=stack.environment()
        | {
            "EXTAUTHZ_URL": stack.rest_url,
            "ADMIN_CLIENT_ID": "operations",
            "ADMIN_CLIENT_SECRET": "operations-secret",
        },
    )
    proxy = spawn("envoy", envoy.command(configuration), output=folder / "envoy.log")
    try:
        process.wait_ready(lambda: http_answers(port, "/internal"), timeout_s=20)
        proxy.wait_ready(lambda: send(envoy_port, "/internal").status != 0, timeout_s=20)
        yield Application(process, port, envoy_port)
    finally:
        proxy.stop(grace_s=1.0)
        process.stop()
        ports.release()


@pytest.fixture(scope="module")
def billing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Application, Stack]]:
    with Stack(environ=LIGHT) as stack:
        stack.start()
        with sample_application(stack, tmp_path_factory.mktemp("billing")) as application:
            application.process.wait_ready(application.is_enforced, timeout_s=10)
            yield application, stack


@pytest.mark.parametrize(
    ("person", "method", "path", "status", "reason"),
    [
        ("alice", "GET", "/bills/7", 200, None),
        ("alice", "HEAD", "/bills/7", 405, None),
        ("bob", "GET", "/bills/7", 403, "no_matching_rule"),
        (None, "GET", "/bills/7", 401, "token_missing"),
        ("alice", "DELETE", "/bills/7", 403, "no_matching_rule"),
        ("alice", "POST", "/bills/7", 403, "unmapped_route"),
        ("alice", "GET", "/bills/7/", 403, "unmapped_route"),
        (None, "GET", "/prices", 200, None),
        ("alice", "GET", "/prices", 200, None),
        ("bob", "GET", "/prices", 403, "no_matching_rule"),
        (None, "GET", "/terms", 200, None),
        ("bob", "GET", "/terms", 200, None),
        (None, "POST", "/terms", 401, "token_missing"),
        ("alice", "GET", "/internal", 403, "unmapped_route"),
        ("alice", "GET", "/openapi.json", 403, "unmapped_route"),
    ],
)
def test_the_mesh_enforces_what_the_code_declares(
    billing: tuple[Application, Stack],
    person: str | None,
    method: str,
    path: str,
    status: int,
    reason: str | None,
) -> None:
    application, stack = billing
    token = None if person is None else stack.people.token(person)

    answer = send(application.envoy_port, path, method=method, token=token)

    assert (answer.status, answer.reason) == (status, reason)


def test_an_application_starts_without_extauthz_and_is_enforced_when_it_is_back(
    own_stack: Stack, tmp_path: Path
) -> None:
    own_stack.child("extauthz").kill()
    with sample_application(own_stack, tmp_path) as application:
        process, alice = application.process, own_stack.people.token("alice")
        assert http_answers(application.port, "/internal")
        process.wait_ready(
            lambda: "the registration at extauthz failed" in process.last_lines(), timeout_s=10
        )
        assert send(application.envoy_port, "/bills/7", token=alice).status == 503

        own_stack.start_extauthz()

        process.wait_ready(application.is_enforced, timeout_s=20)
        assert send(application.envoy_port, "/bills/7", token=alice).status == 200
        assert send(application.envoy_port, "/internal", token=alice).status == 403

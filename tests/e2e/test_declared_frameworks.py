"""The Flask and Django samples of docs/client.md behind real Envoy: the mesh enforces what they declare."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK, ReservedPorts, spawn
from extauthz.demo.stack import Stack
from tests.docs.samples import samples


def source(title: str) -> str:
    if title == "notes_flask.py":
        (text,) = [sample.text for sample in samples() if sample.title == "notes_flask.py"]
    else:
        (text,) = [sample.text for sample in samples() if sample.title == "parcels_django.py"]
    return text


@contextmanager
def sample_application(
    stack: Stack, folder: Path, title: str, registered: str, **changes: str
) -> Iterator[int]:
    """Start a sample and an Envoy before it; yield Envoy's port once alice may read `registered`."""
    (folder / title).write_text(source(title), "utf-8")
    ports = ReservedPorts()
    port, envoy_port = ports.take()[0], ports.take()[0]
    module = title.removesuffix(".py")
    command = {
        "notes_flask.py": ["-m", "flask", "--app", module, "run", "--host", LOOPBACK, "--port", str(port)],
        "parcels_django.py": [title],
    }[title]
    configuration = folder / "envoy.yaml"
    workers = list(range(stack.grpc_port, stack.grpc_port + stack.workers))
    configuration.write_text(envoy.bootstrap(listener=envoy_port, extauthz=workers, upstream=port), "utf-8")
    environment = stack.environment() | {
        "EXTAUTHZ_URL": stack.rest_url,
        "ADMIN_CLIENT_ID": "operations",
        "ADMIN_CLIENT_SECRET": "operations-secret",
        "PORT": str(port),
        "PYTHONPATH": str(folder),
    }
    process = spawn(
        "sample",
        [sys.executable, *([folder / title] if command == [title] else command)],
        output=folder / "sample.log",
        environment=environment | changes,
    )
    proxy = spawn("envoy", envoy.command(configuration), output=folder / "envoy.log")
    alice = stack.people.token("alice")
    try:
        process.wait_ready(lambda: send(port, "/nothing").status == 404, timeout_s=30)
        proxy.wait_ready(lambda: send(envoy_port, "/nothing").status != 0, timeout_s=20)
        process.wait_ready(lambda: send(envoy_port, registered, token=alice).status == 200, timeout_s=20)
        yield envoy_port
    finally:
        proxy.stop(grace_s=1.0)
        process.stop()
        ports.release()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(environ={}) as started:
        started.start()
        yield started


@pytest.mark.parametrize(("title", "noun"), [("notes_flask.py", "notes"), ("parcels_django.py", "parcels")])
def test_the_mesh_enforces_what_the_code_declares(
    stack: Stack, tmp_path: Path, title: str, noun: str
) -> None:
    with sample_application(stack, tmp_path, title, f"/{noun}/7") as port:
        alice, bob = (stack.people.token(name) for name in ("alice", "bob"))

        def answered(method: str, path: str, token: str | None) -> tuple[int, str | None]:
            answer = send(port, path, method=method, token=token)
            return answer.status, answer.reason

        assert [
            answered("GET", f"/{noun}/7", alice),
            answered("GET", f"/{noun}/7", bob),
            answered("GET", f"/{noun}/7", None),
            answered("POST", f"/{noun}", alice),
            answered("GET", f"/{noun}", alice),
            answered("GET", "/nothing", alice),
        ] == [
            (200, None),
            (403, "no_matching_rule"),
            (401, "token_missing"),
            (403, "no_matching_rule"),
            (403, "unmapped_route"),
            (403, "unmapped_route"),
        ]

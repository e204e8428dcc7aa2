"""Real processes: a control plane writes, `snapshot publish` signs into files, a sidecar follows a server."""

from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import Child, spawn
from tests.command_line import run_extauthz
from tests.integration.serving import Serving, command, database_environment, environment, serving
from tests.integration.signed_server import SignedServer, honest, signed_server
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

WITHIN_S = 15.0
SERVICE_KEY = "sak_live_" + "0" * 32 + "_" + "1" * 64
RULES = "/api/v1/resources/policies"


def new_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(pem: str) -> str:
    """Return what `snapshot public-key` prints, as an operator would paste it."""
    printed = run_extauthz("snapshot", "public-key", environ={"POLICY_SIGNING_KEY": pem})
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


@dataclass
class Stage:
    """A control plane, what signs its policies, a server of the files, and a sidecar that follows it."""

    control: Serving
    publisher: Child
    server: SignedServer
    sidecar: Serving

    def log(self) -> str:
        return (self.sidecar.folder / "extauthz.log").read_text("utf-8")


@pytest.fixture
def stage(database: "Database", tmp_path: Path) -> Iterator[Stage]:
    key = new_key()
    folders = [tmp_path / name for name in ("control", "signed", "sidecar")]
    for folder in folders:
        folder.mkdir()
    control_folder, signed_folder, sidecar_folder = folders
    address = database_environment(database.address)
    with (
        serving(control_folder, address) as control,
        signed_server(signed_folder) as server,
        serving(
            sidecar_folder,
            {},
            POLICY_SOURCE=server.url,
            POLICY_PUBLIC_KEYS=public_key(key),
            POLICY_API_KEY=SERVICE_KEY,
        ) as sidecar,
    ):
        control.start("control-plane")
        control.allow_anonymous_reads()
        publisher = spawn(
            "publisher",
            command("snapshot", "publish", str(signed_folder), "--every", "0.2"),
            output=tmp_path / "publisher.log",
            environment=environment(address, POLICY_SIGNING_KEY=key),
        )
        try:
            yield Stage(control, publisher, server, sidecar)
        finally:
            publisher.stop(grace_s=3)


def test_a_sidecar_follows_the_control_plane_through_files(stage: Stage) -> None:
    keys: set[str | None] = set()

    def answer(request: BaseHTTPRequestHandler, octets: bytes) -> None:
        keys.add(request.headers.get("x-service-api-key"))
        honest(request, octets)

    stage.server.head = stage.server.body = answer
    stage.sidecar.start("sidecar")
    assert stage.sidecar.allowed()
    rule = stage.control.rest.ask("GET", RULES).document["items"][0]
    assert stage.control.rest.ask("DELETE", f"{RULES}/{rule['id']}").status == 204
    await_true(lambda: not stage.sidecar.allowed(), within=WITHIN_S, what="the deleted rule")
    stage.control.rest.create(RULES, {name: rule[name] for name in ("sub", "dom", "obj", "act", "effect")})
    await_true(stage.sidecar.allowed, within=WITHIN_S, what="the new rule")
    bodies = [path for path in stage.server.asked if path.endswith(".json.gz")]
    assert len(bodies) == len(set(bodies)), "each body is read once"
    assert keys == {SERVICE_KEY}
    assert SERVICE_KEY not in stage.log()
    assert "policy_head_refused" not in stage.log()


def test_a_sidecar_decides_while_control_plane_and_database_are_stopped(
    stage: Stage, database: "Database"
) -> None:
    stage.sidecar.start("sidecar")
    assert stage.sidecar.allowed()
    stage.publisher.stop(grace_s=3)
    stage.control.process.stop(grace_s=8)
    assert stage.sidecar.allowed()
    # A sidecar that starts now needs the files alone.
    stage.sidecar.process.stop(grace_s=8)
    stage.sidecar.start("sidecar")
    assert stage.sidecar.allowed()

"""Real processes: a control plane writes, `snapshot publish` signs into files, a sidecar follows a server."""

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import Child, spawn
from tests.command_line import run_extauthz
from tests.integration.serving import Serving, command, database_environment, environment, serving
from tests.integration.signed_server import SignedServer, honest, send, signed_server
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

WITHIN_S = 15.0
SERVICE_KEY = "sak_live_" + "0" * 32 + "_" + "1" * 64
RULES = "/api/v1/resources/policies"


def new_key() -> str:
    return pem_of(Ed25519PrivateKey.generate())


def pem_of(key: Ed25519PrivateKey) -> str:
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


def test_a_sidecar_decides_while_everything_else_is_stopped(stage: Stage, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    stage.sidecar.environ["POLICY_CACHE_DIR"] = str(cache)
    stage.sidecar.start("sidecar")
    assert stage.sidecar.allowed()
    stage.publisher.stop(grace_s=3)
    stage.control.process.stop(grace_s=8)
    assert stage.sidecar.allowed()
    await_true(lambda: list(cache.rglob("head.json")), within=WITHIN_S, what="the cached head")
    # A sidecar that starts now has its cache alone.
    stage.server.head = stage.server.body = lambda request, _: send(request, b"", 503)
    stage.sidecar.process.stop(grace_s=8)
    stage.sidecar.start("sidecar")
    assert stage.sidecar.allowed()
    url = f"http://127.0.0.1:{stage.sidecar.sidecar_port}/healthz/ready"

    def problems() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    await_true(lambda: "the server answered 503" in problems(), within=WITHIN_S, what="the problem")


@dataclass
class Direct:
    """A control plane that signs, and a sidecar that follows it."""

    control: Serving
    sidecar: Serving
    key: str
    database: dict[str, str]

    def service_key(self, *scopes: str) -> tuple[str, str]:
        """Create a service key; return its id and its text."""
        name = f"key {scopes}"
        made = self.control.rest.create("/api/v1/service-api-keys", {"name": name, "scopes": list(scopes)})
        return made.id, str(made.document["key"])

    def ask(self, path: str, *headers: tuple[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Send one request to the control plane."""
        url = f"http://127.0.0.1:{self.control.rest_port}/signed-policies/{path}"
        request = urllib.request.Request(url)
        for name, value in headers:
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read(), {}


@pytest.fixture
def direct(database: "Database", tmp_path: Path) -> Iterator[Direct]:
    key = new_key()
    folders = [tmp_path / name for name in ("control", "sidecar")]
    for folder in folders:
        folder.mkdir()
    address = database_environment(database.address)
    with (
        serving(folders[0], address, POLICY_SIGNING_KEY=key) as control,
        serving(folders[1], {}, POLICY_PUBLIC_KEYS=public_key(key)) as sidecar,
    ):
        control.start("control-plane")
        control.allow_anonymous_reads()
        found = Direct(control, sidecar, key, address)
        sidecar.environ["POLICY_SOURCE"] = f"http://127.0.0.1:{control.rest_port}"
        yield found


def test_a_sidecar_follows_the_control_plane_itself(direct: Direct) -> None:
    key_id, direct.sidecar.environ["POLICY_API_KEY"] = direct.service_key("policies:follow")
    direct.sidecar.start("sidecar")
    assert direct.sidecar.allowed()
    rule = direct.control.rest.ask("GET", RULES).document["items"][0]
    assert direct.control.rest.ask("DELETE", f"{RULES}/{rule['id']}").status == 204
    # A waiting follower is told at once, not at its next poll.
    await_true(lambda: not direct.sidecar.allowed(), within=WITHIN_S, what="the deleted rule")

    def shown() -> dict[str, Any]:
        listed = direct.control.rest.ask("GET", "/api/v1/service-api-keys").document["items"]
        return next(each for each in listed if each["id"] == key_id)

    assert shown()["scopes"] == ["policies:follow"]
    await_true(lambda: shown()["last_used_at"], within=WITHIN_S, what="the use of the key")


def test_followers_need_a_key_of_their_tenant_with_the_scope(direct: Direct) -> None:
    _, follows = direct.service_key("policies:follow")
    _, reads = direct.service_key("policies:read")
    revoked_id, revoked = direct.service_key("policies:follow")
    assert direct.control.rest.ask("DELETE", f"/api/v1/service-api-keys/{revoked_id}").status == 204
    head = "default/head.json"
    await_true(
        lambda: direct.ask(head, ("x-service-api-key", follows))[0] == 200, within=WITHIN_S, what="the head"
    )
    assert direct.ask(head)[0] == 401
    assert direct.ask(head, ("x-service-api-key", "sak_live_x"))[0] == 401
    assert direct.ask(head, ("x-service-api-key", revoked))[0] == 401
    assert direct.ask(head, ("x-service-api-key", reads))[0] == 403
    assert direct.ask("another/head.json", ("x-service-api-key", follows))[0] == 403
    status, octets, headers = direct.ask(head, ("x-service-api-key", follows))
    assert (status, headers["vary"]) == (200, "x-service-api-key")
    document = json.loads(base64.b64decode(json.loads(octets)["payload"]))
    whole = document["digests"]["whole"]
    status, octets, headers = direct.ask(f"default/{whole['sha256']}.json.gz", ("x-service-api-key", follows))
    assert status == 200
    assert "immutable" in headers["cache-control"]
    assert hashlib.sha256(octets).hexdigest() == whole["sha256"]
    assert direct.ask(f"default/{'0' * 64}.json.gz", ("x-service-api-key", follows))[0] == 404
    assert direct.ask("default/..%2Fhead.json", ("x-service-api-key", follows))[0] == 404
    for query in ("after=x", "wait=-1", "after=1&after=2", "since=1", "after=99999999999999999"):
        assert direct.ask(f"{head}?{query}", ("x-service-api-key", follows))[0] == 400, query


def test_without_a_signing_key_there_is_nothing_to_follow(database: "Database", tmp_path: Path) -> None:
    with serving(tmp_path, database_environment(database.address)) as control:
        control.start("control-plane")
        direct = Direct(control, control, "", {})
        _, follows = direct.service_key("policies:follow")
        assert direct.ask("default/head.json", ("x-service-api-key", follows))[0] == 404


def test_replicas_serve_the_same_head(direct: Direct, tmp_path: Path) -> None:
    _, follows = direct.service_key("policies:follow")
    folder = tmp_path / "replica"
    folder.mkdir()
    with serving(folder, direct.database, POLICY_SIGNING_KEY=direct.key) as replica:
        replica.start("control-plane")
        other = Direct(replica, direct.sidecar, direct.key, direct.database)

        def same() -> bool:
            header = ("x-service-api-key", follows)
            return direct.ask("default/head.json", header)[1] == other.ask("default/head.json", header)[1]

        direct.control.rest.create("/api/v1/resources", {"name": "a", "displayName": "a", "serviceName": "s"})
        await_true(same, within=WITHIN_S, what="one head")
        assert replica.rest.create(
            "/api/v1/resources", {"name": "b", "displayName": "b", "serviceName": "s"}
        ).status in {200, 201}
        await_true(same, within=WITHIN_S, what="one head again")

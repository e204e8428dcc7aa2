"""Assertions behind real Envoy: given on an allow, verified by the sample workload, rotated, never forged."""

import base64
import importlib.util
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK
from extauthz_client import AssertionVerifier
from tests.e2e.gate import ask_over_http
from tests.e2e.test_credential_places import bootstrap, check_of, start
from tests.e2e.test_envoy_config import READY_S, Parts, parts
from tests.tokens import SigningKey, claims, jwks
from tests.waiting import await_true

__all__ = ["parts"]

ROOT = Path(__file__).parents[2]
KEY = SigningKey.es256("assertions")
ISSUER, MESH = "https://people.example", "https://mesh.example"
FOLLOWED_WITHIN_S = 15.0


def resource(name: str, **more: object) -> dict[str, object]:
    routes = [{"methods": ["GET"], "path": f"/{name}", "authentication": "optional"}]
    return {"name": f"{name}:read", "serviceName": "ledger", "routes": routes, **more}


POLICIES = {
    "resources": [resource("ledger"), resource("without", assertion=False)],
    "role_rules": [
        {
            "id": f"{name}-{sub}",
            "sub": sub,
            "dom": "*",
            "obj": f"{name}:read",
            "act": "read",
            "effect": "allow",
        }
        for name in ("ledger", "without")
        for sub in ("*", "anonymous")
    ]
    + [
        {
            "id": "no-mallory",
            "sub": "mallory",
            "sub_kind": "user",
            "dom": "*",
            "obj": "ledger:read",
            "act": "read",
            "effect": "deny",
        }
    ],
}


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def bearer(subject: str = "alice", **changes: object) -> str:
    now = int(time.time())
    return KEY.sign(claims(iss=ISSUER, aud="ledger", sub=subject, iat=now - 5, exp=now + 600, **changes))


@dataclass
class Mesh:
    """A sidecar with a key of assertions, and the Envoy before the workload."""

    listener: int
    health: int
    key_file: Path
    log: Path

    def replace_key(self, content: bytes) -> None:
        new = self.key_file.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self.key_file)

    @property
    def keys_url(self) -> str:
        return f"http://{LOOPBACK}:{self.health}/.well-known/jwks.json"

    def published(self) -> set[str]:
        with urllib.request.urlopen(self.keys_url, timeout=5) as answer:
            return {key["kid"] for key in json.load(answer)["keys"]}


def mesh(parts: Parts, upstream: int, variant: str) -> Mesh:
    policies, providers = parts.folder / "policies", parts.folder / "providers.yaml"
    policies.mkdir()
    (policies / "all.yaml").write_text(yaml.safe_dump(POLICIES))
    provider = {"issuer": ISSUER, "audiences": ["ledger"], "jwks": json.loads(jwks(KEY))}
    providers.write_text(json.dumps({"providers": [provider]}))
    key_file = parts.folder / "assertion.pem"
    key_file.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    key_file.chmod(0o400)
    grpc_port, http_port = parts.ports.take()[0], parts.ports.take()[0]
    environ = parts.settings(
        POLICY_SOURCE=f"files:{policies}",
        IDENTITY_PROVIDERS=str(providers),
        ASSERTION_ISSUER=MESH,
        ASSERTION_KEY_FILE=str(key_file),
        GRPC_PORT=str(grpc_port),
        HTTP_AUTHZ_PORT=str(http_port),
        **({"GRPC_SERVER": "grpcio"} if variant == "grpcio" else {}),
    )
    parts.sidecar(environ)
    parts.upstream_port = upstream
    (listener,) = parts.ports.take()
    document, manager = bootstrap(parts, listener, grpc_port)
    if variant == "http":
        (cluster,) = [each for each in document["static_resources"]["clusters"] if each["name"] == "extauthz"]
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = http_port
        ask_over_http(check_of(manager), cluster, http_port, timeout="0.5s")
    start(parts, document, "envoy")
    parts.children[-1].wait_ready(
        lambda: send(listener, "/without").status not in {0, 503}, timeout_s=READY_S
    )
    return Mesh(listener, int(environ["SIDECAR_PORT"]), key_file, parts.folder / "sidecar.log")


@contextmanager
def served(app: Any, listener: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The workload of docs/samples, whose keys and clock a test may replace."""
    monkeypatch.setenv("ASSERTION_KEYS_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("ASSERTION_ISSUER", MESH)
    spec = importlib.util.spec_from_file_location("ledger_sample", ROOT / "docs" / "samples" / "ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ledger_sample", module)
    spec.loader.exec_module(module)
    return module


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


@pytest.mark.parametrize("variant", ["native", "grpcio", "http"])
def test_a_workload_accepts_what_passed_extauthz_and_refuses_the_rest(
    parts: Parts, sample: Any, variant: str
) -> None:
    seen: list[str] = []
    late = [0.0]

    async def watched(scope: Any, receive: Any, send_back: Any) -> None:
        seen.extend(v.decode() for n, v in scope.get("headers", ()) if n == b"x-auth-assertion")
        await sample.app(scope, receive, send_back)

    with socket.create_server((LOOPBACK, 0)) as listener:
        workload = listener.getsockname()[1]
        with served(watched, listener):
            door = mesh(parts, workload, variant)
            sample.verifier = AssertionVerifier(
                door.keys_url, issuer=MESH, audience="ledger", clock=lambda: time.time() + late[0]
            )
            token = {"authorization": f"Bearer {bearer(realm_access={'roles': ['finance']})}"}
            forged = {"x-auth-assertion": "a.b.c", "X-Auth-Assertion": "a.b.c"}

            accepted = get(door.listener, "/ledger", token | forged)
            expected = {"subject": "alice", "kind": "user", "roles": ["finance"], "tenant": "default"}
            assert accepted == (200, expected)
            (assertion,) = seen
            anonymous = get(door.listener, "/ledger", forged)
            assert anonymous[0] == 200
            assert (anonymous[1]["subject"], anonymous[1]["kind"]) == (None, "anonymous")

            # Without an assertion: not through extauthz, or from a resource that gives none.
            assert get(workload, "/ledger")[0] == 401
            assert get(workload, "/ledger", {"x-auth-subject": "alice"} | forged)[0] == 401
            before = len(seen)
            assert get(door.listener, "/without", token | forged)[0] == 401
            assert len(seen) == before
            # A denial carries none, and does not reach the workload.
            refused = {"authorization": f"Bearer {bearer('mallory')}"}
            assert get(door.listener, "/ledger", refused | forged)[0] == 403
            assert len(seen) == before

            # What was given once is good for a minute, and then refused.
            captured = {"x-auth-assertion": assertion}
            assert get(workload, "/ledger", captured)[0] == 200
            late[0] = 66.0
            assert get(workload, "/ledger", captured) == (401, {"error": "the assertion has expired"})
            late[0] = 0.0
            sample.verifier = AssertionVerifier(door.keys_url, issuer=MESH, audience="other")
            assert get(workload, "/ledger", captured)[0] == 401
            sample.verifier = AssertionVerifier(f"http://{LOOPBACK}:1/", issuer=MESH, audience="ledger")
            assert get(workload, "/ledger", captured)[0] == 503


def test_a_key_is_rotated_under_the_running_sidecar_and_garbage_is_not_taken(
    parts: Parts, sample: Any
) -> None:
    seen: list[str] = []

    async def watched(scope: Any, receive: Any, send_back: Any) -> None:
        seen.extend(v.decode() for n, v in scope.get("headers", ()) if n == b"x-auth-assertion")
        await sample.app(scope, receive, send_back)

    def asked(door: Mesh, subject: str) -> int:
        return get(door.listener, "/ledger", {"authorization": f"Bearer {bearer(subject)}"})[0]

    with socket.create_server((LOOPBACK, 0)) as listener:
        workload = listener.getsockname()[1]
        with served(watched, listener):
            door = mesh(parts, workload, "native")
            sample.verifier = AssertionVerifier(door.keys_url, issuer=MESH, audience="ledger")
            assert asked(door, "alice") == 200
            old = door.published()
            first = seen[-1]

            door.replace_key(b"-----BEGIN PRIVATE KEY-----\ngarbage\n-----END PRIVATE KEY-----\n")
            await_true(
                lambda: door.log.read_text().count("assertion_keys_refused") >= 2,
                within=FOLLOWED_WITHIN_S,
                what="both processes to log the refused file",
            )
            assert "garbage" not in door.log.read_text()
            assert asked(door, "bob") == 200
            assert door.published() == old

            door.replace_key(pem(ed25519.Ed25519PrivateKey.generate()))
            await_true(
                lambda: len(door.published()) == 2, within=FOLLOWED_WITHIN_S, what="the new key, published"
            )
            (new,) = door.published() - old
            number = iter(range(10_000))

            def is_signed_by_the_new_key() -> bool:
                # Every moment of the rotation: each request is accepted.
                assert asked(door, f"user-{next(number)}") == 200
                return kid_of(seen[-1]) == new

            await_true(is_signed_by_the_new_key, within=FOLLOWED_WITHIN_S, what="the new key to sign")
            # What the old key has signed is still good.
            assert get(workload, "/ledger", {"x-auth-assertion": first})[0] == 200
            assert kid_of(first) in door.published()


def kid_of(token: str) -> str:

    head = token.split(".")[0]
    found: str = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]
    return found

"""Tokens of a real authorization server (npm's `oidc-provider`) at a real sidecar: opaque ones and JWTs."""

import http.client
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from tests.authorization_server import (
    AUDIENCE,
    JWT,
    SECRET,
    AuthorizationServer,
    authorization_server,
    install,
)
from tests.builders import Answer
from tests.certificates import Authority
from tests.integration.serving import Serving, serving
from tests.tokens import SigningKey
from tests.waiting import await_true

CLIENT_KEY = SigningKey.es256("gateway")
CACHE_S = 600
POLICIES = {
    "resources": [{"name": "all:use", "serviceName": "all", "routes": [{"methods": ["*"], "path": "/**"}]}],
    "role_rules": [
        {"id": "reads", "sub": "orders:read", "dom": "*", "obj": "all:use", "act": "*", "effect": "allow"}
    ],
}
METHODS: dict[str, dict[str, object]] = {
    "client_secret_basic": {"client_id": "gateway-basic", "client_secret_file": "secret"},
    "client_secret_post": {"client_id": "gateway-post", "client_secret_file": "secret"},
    "private_key_jwt": {"client_id": "gateway-jwt", "key_file": "key.pem", "key_id": "gateway"},
}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    problem = install()
    if problem is not None:
        pytest.skip(problem)


@pytest.fixture(scope="module")
def server(_installed: None) -> Iterator[AuthorizationServer]:
    with authorization_server(CLIENT_KEY.jwk()) as found:
        yield found


@pytest.fixture
def mortal() -> Iterator[AuthorizationServer]:
    """A server that the test may stop."""
    with authorization_server(CLIENT_KEY.jwk()) as found:
        yield found


def write_files(folder: Path, issuer: str, method: str = "client_secret_basic", **changes: object) -> Path:
    """Write policies, secret, key and the file of IDENTITY_PROVIDERS; return the last."""
    (folder / "policies").mkdir()
    (folder / "policies" / "all.json").write_text(json.dumps(POLICIES))
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "key.pem").write_bytes(
        CLIENT_KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    introspection = {"auth_method": method, "cache": CACHE_S, "timeout": 3, **METHODS[method], **changes}
    provider = {
        "issuer": issuer,
        "audiences": [AUDIENCE],
        "subject_claims": ["sub", "client_id"],
        "service_claim": "client_id",
        "roles": [{"claim": "scope", "shape": "space"}],
        "introspection": introspection,
    }
    file = folder / "providers.yaml"
    file.write_text(json.dumps({"providers": [provider]}))
    return file


@contextmanager
def sidecar(folder: Path, file: Path, **settings: Any) -> Iterator[Serving]:
    with serving(
        folder,
        {"POLICY_SOURCE": f"files:{folder / 'policies'}"},
        OIDC_ENABLED="true",
        IDENTITY_PROVIDERS=str(file),
        **settings,
    ) as found:
        found.start("sidecar")
        yield found


def ask(found: Serving, token: str, **more: Any) -> Answer:
    answer = found.check(path="/x", headers={"authorization": f"Bearer {token}"}, timeout=20, **more)
    assert answer is not None
    return answer


def settled(found: Serving, token: str, **more: Any) -> Answer:
    return found.settled(path="/x", headers={"authorization": f"Bearer {token}"}, timeout=20, **more)


def metric(found: Serving, name: str) -> float:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{found.sidecar_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def nothing_says(found: Serving, *secrets: str) -> None:
    """Assert that no file of the service holds one of these texts."""
    for file in found.folder.rglob("*"):
        if file.is_file() and file.name not in {"secret", "key.pem"}:
            text = file.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text], file


@pytest.mark.parametrize("method", METHODS)
def test_an_opaque_token_is_introspected_with_each_client_authentication(
    tmp_path: Path, server: AuthorizationServer, method: str
) -> None:
    token = server.token()
    assert "." not in token
    with sidecar(tmp_path, write_files(tmp_path, server.issuer, method)) as found:
        answer = settled(found, token)
        assert answer.allowed, answer
        assert unquote(answer.headers["x-auth-subject"]) == "worker"
        assert answer.headers["x-auth-kind"] == "service"
        assert unquote(answer.headers["x-auth-roles"]) == "orders:read"
        assert settled(found, "an-invented-token").metadata["reason"] == "token_inactive"
        assert ask(found, token).allowed
        await_true(
            lambda: metric(found, 'extauthz_introspections_total{outcome="active"}') == 1,
            within=5,
            what="one question about the token",
        )
        await_true(
            lambda: metric(found, "extauthz_introspection_cache_hits_total") == 1,
            within=5,
            what="the second use",
        )
    nothing_says(found, token, SECRET, "an-invented-token")
    lines = [json.loads(line) for line in found.log.read_text().splitlines()]
    assert "introspection" in {line.get("authentication") for line in lines}


def test_a_jwt_of_the_same_server_is_verified_by_its_keys(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    token = server.token(resource=JWT)
    assert token.count(".") == 2
    file = write_files(tmp_path, server.issuer)
    document = json.loads(file.read_text())
    document["providers"][0]["required_type"] = "at+jwt"
    file.write_text(json.dumps(document))
    with sidecar(tmp_path, file) as found:
        assert settled(found, token).allowed
        assert settled(found, server.token()).allowed
        signed, _, signature = token.rpartition(".")
        forged = f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        assert ask(found, forged).metadata["reason"] == "token_bad_signature"
        await_true(
            lambda: metric(found, 'extauthz_introspections_total{outcome="active"}') == 1,
            within=5,
            what="one answer in all",
        )


def test_a_revoked_token_is_refused_when_its_answer_no_longer_counts(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    token, other = server.token(), server.token()
    with sidecar(tmp_path, write_files(tmp_path, server.issuer, cache=1)) as found:
        assert settled(found, token).allowed
        server.revoke(token)
        await_true(
            lambda: ask(found, token).metadata["reason"] == "token_inactive", within=60, what="the revocation"
        )
        assert settled(found, other).allowed


def test_with_the_server_stopped_a_new_token_is_503_and_a_known_one_counts_on(
    tmp_path: Path, mortal: AuthorizationServer
) -> None:
    known, new = mortal.token(), mortal.token()
    with sidecar(tmp_path, write_files(tmp_path, mortal.issuer)) as found:
        assert settled(found, known).allowed
        mortal.stop()
        for _ in range(3):
            answer = ask(found, new)
            assert (answer.status, answer.metadata["reason"]) == (503, "introspection_unavailable")
            assert not answer.allowed
        assert ask(found, known).allowed
        log = (tmp_path / "extauthz.log").read_text()
        assert "introspection_failed" in log
        assert "unreachable" in log
        with urllib.request.urlopen(
            f"http://{LOOPBACK}:{found.sidecar_port}/healthz/ready", timeout=10
        ) as ready:
            assert ready.status == 200
        port = int(mortal.issuer.rpartition(":")[2])
        with authorization_server(CLIENT_KEY.jwk(), port=port) as again:
            # It has forgotten its tokens, as a server without a store does.
            assert settled(found, again.token()).allowed
            assert settled(found, new).metadata["reason"] == "token_inactive"
    nothing_says(found, known, new, SECRET)


def test_a_refused_client_is_503_and_the_log_names_the_cause(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    file = write_files(tmp_path, server.issuer)
    (tmp_path / "secret").write_text("another secret")
    with sidecar(tmp_path, file) as found:
        answer = ask(found, server.token())
        assert (answer.status, answer.metadata["reason"]) == (503, "introspection_unavailable")
        log = (tmp_path / "extauthz.log").read_text()
        assert "status 401, error invalid_client" in log
        assert "another secret" not in log
        # The file is read at each use: a rotated secret needs no restart.
        (tmp_path / "secret").write_text(SECRET)
        assert settled(found, server.token()).allowed


def test_a_bound_opaque_token_is_accepted_from_the_holder_of_its_certificate_alone(
    tmp_path: Path, server: AuthorizationServer
) -> None:
    authority = Authority("mesh")
    mine, other = authority.issue("worker").chain.decode(), authority.issue("other").chain.decode()
    token = server.token(client="bound-worker", certificate=mine)
    with sidecar(tmp_path, write_files(tmp_path, server.issuer)) as found:
        for _ in range(2):
            assert settled(found, token).metadata["reason"] == "token_claims_invalid"
            assert settled(found, token, certificate=quote(mine)).allowed
            answer = settled(found, token, certificate=quote(other))
            assert answer.metadata["reason"] == "token_claims_invalid"


@pytest.mark.parametrize("grpc", ["native", "grpcio"])
def test_every_entrance_introspects(tmp_path: Path, mortal: AuthorizationServer, grpc: str) -> None:
    ports = ReservedPorts()
    (http_port,) = ports.take()
    token, other = mortal.token(), mortal.token()
    settings = {"GRPC_SERVER": grpc, "HTTP_AUTHZ_PORT": str(http_port)}
    with sidecar(tmp_path, write_files(tmp_path, mortal.issuer), **settings) as found:
        assert settled(found, token).allowed
        assert settled(found, "invented").status == 401

        def over_http(text: str) -> int:
            connection = http.client.HTTPConnection(LOOPBACK, http_port, timeout=10)
            connection.request("GET", "/x", headers={"Authorization": f"Bearer {text}"})
            response = connection.getresponse()
            body = response.read()
            connection.close()
            # Over HTTP no denial is a 5xx, which Envoy would take for a failed check.
            return 503 if b"introspection_unavailable" in body else response.status

        await_true(lambda: over_http(other) == 200, within=60, what="an answer of the server")
        await_true(lambda: over_http("invented-too") == 401, within=60, what="an answer of the server")
        mortal.stop()
        assert over_http("new") == 503
        assert over_http(other) == 200
    ports.release()

"""Assertions of `extauthz serve` on a real database, and the ports that publish their keys."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import LOOPBACK
from extauthz_client import AssertionRejected, AssertionVerifier, VerifiedAssertion
from tests.integration.serving import database_environment, finished, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

MESH = "https://mesh.example"
PATH = "/.well-known/jwks.json"


def key_file(folder: Path) -> Path:
    key = ed25519.Ed25519PrivateKey.generate()
    file = folder / "assertion.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def test_both_ports_publish_the_key_that_verifies_an_assertion(database: "Database", tmp_path: Path) -> None:
    told = database_environment(database.address)
    file = key_file(tmp_path)
    with serving(tmp_path, told, ASSERTION_ISSUER=MESH, ASSERTION_KEY_FILE=str(file)) as service:
        service.start("serve")
        service.allow_anonymous_reads()
        await_true(service.allowed, within=10, what="the policies at the worker")
        answer = service.check()
        assert answer is not None
        token = answer.headers["x-auth-assertion"]
        assert "x-auth-assertion" not in answer.removed
        # The same for the same caller, and none with a denial.
        again, denied = service.check(), service.check(path="/elsewhere")
        assert again is not None
        assert denied is not None
        assert again.headers["x-auth-assertion"] == token
        assert "x-auth-assertion" not in denied.headers

        async def verified(port: int, audience: str) -> VerifiedAssertion:
            url = f"http://{LOOPBACK}:{port}{PATH}"
            return await AssertionVerifier(url, issuer=MESH, audience=audience).verify(token)

        for port in (service.rest_port, service.sidecar_port):
            found = asyncio.run(verified(port, "demo"))
            assert (found.subject, found.kind, found.tenant) == (None, "anonymous", "default")
            assert 0 <= time.time() - found.issued_at < 60
            with pytest.raises(AssertionRejected):
                asyncio.run(verified(port, "billing"))
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{PATH}") as served:
                (jwk,) = json.load(served)["keys"]
            assert "d" not in jwk


def test_without_a_key_there_are_neither_keys_nor_assertions(database: "Database", tmp_path: Path) -> None:
    with serving(tmp_path, database_environment(database.address)) as service:
        service.start("serve")
        service.allow_anonymous_reads()
        await_true(service.allowed, within=10, what="the policies at the worker")
        answer = service.check(headers={"x-auth-assertion": "a.b.c"})
        assert answer is not None
        assert "x-auth-assertion" in answer.removed
        for port in (service.rest_port, service.sidecar_port):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{LOOPBACK}:{port}{PATH}")
            assert refused.value.code == 404


@pytest.mark.parametrize("command", ["serve", "sidecar", "control-plane"])
@pytest.mark.parametrize("content", ["missing", "garbage", "RSA", "folder"])
def test_an_unusable_key_is_refused_at_the_start(
    database: "Database", tmp_path: Path, command: str, content: str
) -> None:
    file = tmp_path / "assertion.pem"
    if content == "garbage":
        file.write_text("SECRET-GARBAGE")
    elif content == "RSA":
        key = rsa.generate_private_key(65537, 2048)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    elif content == "folder":
        file.mkdir()
    told = database_environment(database.address)
    with serving(tmp_path, told, ASSERTION_ISSUER=MESH, ASSERTION_KEY_FILE=str(file)) as service:
        done = finished(command, environ=service.environ)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("extauthz: ")]
    assert len(said) == 1
    assert "ASSERTION_KEY_FILE" in said[0]
    assert "SECRET-GARBAGE" not in done.stderr

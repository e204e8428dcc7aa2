"""The Java client gets tokens from a real authorization server, by each method of client authentication.

The server is npm's oidc-provider; without Node this is skipped with the reason. The API answers lists and
records what the requests carry.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.authorization_server import JWT, SECRET, AuthorizationServer, authorization_server, install
from tests.integration.scripted_server import Scripted, says, scripted
from tests.tokens import SigningKey
from tools.test_java import class_path, found_tools, java_command

KEY: Final = SigningKey.es256("client-key")
METHODS: Final = {
    "client_secret_basic": {"ADMIN_CLIENT_ID": "worker", "ADMIN_CLIENT_SECRET": SECRET},
    "client_secret_post": {"ADMIN_CLIENT_ID": "worker-post", "ADMIN_CLIENT_SECRET": SECRET},
    "private_key_jwt": {"ADMIN_CLIENT_ID": "worker-jwt", "ADMIN_CLIENT_KEY_ID": "client-key"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[AuthorizationServer]:
    problem = install()
    if problem is not None:
        pytest.skip(problem)
    with authorization_server(KEY.jwk()) as found:
        yield found


@pytest.fixture(scope="module")
def classes() -> str:
    return class_path(found_tools(os.environ)[1])


@asynccontextmanager
async def api() -> AsyncIterator[Scripted]:
    async with scripted(says(200, {"items": [], "next_cursor": None})) as found:
        yield found


def listed(classes: str, environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
    command = [java_command(os.environ), "-cp", classes, "io.extauthz.client.ListResources"]
    return subprocess.run(
        command, env=kept | environ, capture_output=True, text=True, timeout=60, check=False
    )


def answered(classes: str, server: AuthorizationServer, **variables: str) -> tuple[str, list[web.Request]]:
    return asyncio.run(_answered(classes, server, variables))


async def _answered(
    classes: str, server: AuthorizationServer, variables: dict[str, str]
) -> tuple[str, list[web.Request]]:
    async with api() as control_plane:
        environ = {
            "EXTAUTHZ_URL": control_plane.url,
            "AUTH_SERVER_URL": server.issuer,
            "ADMIN_CLIENT_SCOPE": "orders:read",
            "ADMIN_CLIENT_RESOURCE": JWT,
            **variables,
        }
        done = await asyncio.to_thread(listed, classes, environ)
        assert done.stderr == ""
        return done.stdout.strip(), list(control_plane.requests)


@pytest.mark.parametrize("method", METHODS)
def test_the_client_gets_a_token_by_each_method(
    server: AuthorizationServer, classes: str, method: str, tmp_path: Path
) -> None:
    variables = METHODS[method] | {"ADMIN_CLIENT_AUTH_METHOD": method}
    if method == "private_key_jwt":
        file = tmp_path / "key.pem"
        file.write_bytes(KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        variables["ADMIN_CLIENT_KEY_FILE"] = str(file)
    said, requests = answered(classes, server, **variables)

    assert said == "[]"
    (request,) = requests
    token = request.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["client_id"], claims["scope"], claims["aud"]) == (
        variables["ADMIN_CLIENT_ID"], "orders:read", "orders-api",
    )  # fmt: skip


def test_a_wrong_secret_is_named_and_not_shown(server: AuthorizationServer, classes: str) -> None:
    said, requests = answered(
        classes, server, ADMIN_CLIENT_ID="worker", ADMIN_CLIENT_SECRET="not-the-secret-0123"
    )

    assert said == f"POST {server.issuer}/token: answered 401 'invalid_client'"
    assert requests == []

"""Real processes: providers and their last good keys reach sidecars without provider settings."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.processes import Child, spawn
from tests.integration.serving import Serving, command, database_environment, environment, finished, serving
from tests.integration.signed_server import signed_server
from tests.integration.test_signed_serving import new_key, public_key
from tests.key_server import KeyServer, answering
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey, claims
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

WITHIN_S = 15.0
KEY = SigningKey.rs256("provider")
FILE_KEY = SigningKey.es256("file")
INVOICES = {
    "name": "invoices:read",
    "displayName": "Read invoices",
    "serviceName": "demo",
    "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
}
READERS = {"sub": "reader", "dom": "*", "obj": "invoices:read", "act": "read", "effect": "allow"}
AWAY = answering(status=503)
ROLES = {"OIDC_ENABLED": "true", "ROLES_CLAIM": "roles"}
"""The sidecars have the default of ROLES_CLAIM, which is another claim."""


def allowed(sidecar: Serving, issuer: str, key: SigningKey = KEY, role: str = "reader") -> bool:
    now = int(time.time())
    token = key.sign(claims(iss=issuer, roles=[role], aud="demo", iat=now, exp=now + 300))
    answer = sidecar.check(path="/invoices/7", headers={"authorization": f"Bearer {token}"})
    return answer is not None and answer.allowed


@pytest.fixture
def provider() -> Iterator[KeyServer]:
    with identity_provider(KEY) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    return made


def settings_of(provider: KeyServer) -> dict[str, str]:
    return ROLES | {"AUTH_SERVER_URL": provider.issuer, "OIDC_AUDIENCE": "demo"}


def file_of(folder: Path, *entries: dict[str, object]) -> dict[str, str]:
    file = folder / "providers.yaml"
    file.write_text(json.dumps({"providers": entries}))
    return ROLES | {"IDENTITY_PROVIDERS": str(file)}


@contextmanager
def policies(database: "Database", folder: Path, **more: str) -> Iterator[Serving]:
    """Run a control plane whose policies let readers read invoices."""
    with serving(folder, database_environment(database.address), workers=1, **more) as control:
        control.start("control-plane")
        control.rest.create("/api/v1/resources", INVOICES)
        control.rest.create("/api/v1/resources/policies", READERS)
        yield control


@contextmanager
def publishing(folder: Path, environ: Mapping[str, str]) -> Iterator[Child]:
    """Run `snapshot publish --every` in a folder of signed policies."""
    child = spawn(
        "publisher",
        command("snapshot", "publish", str(folder), "--every", "0.2"),
        output=folder.with_suffix(".log"),
        environment=environ,
    )
    try:
        yield child
    finally:
        child.stop(grace_s=3)


@contextmanager
def follower(folder: Path, url: str, key: str, **more: str) -> Iterator[Serving]:
    """Run a sidecar that has no settings of a provider."""
    with serving(
        folder,
        {},
        POLICY_SOURCE=url,
        POLICY_PUBLIC_KEYS=public_key(key),
        OIDC_ENABLED="true",
        workers=1,
        **more,
    ) as sidecar:
        sidecar.start("sidecar")
        yield sidecar


def test_a_sidecar_verifies_with_published_keys_while_the_provider_is_away(
    database: "Database", folder: Callable[[str], Path], provider: KeyServer
) -> None:
    key, signed = new_key(), folder("signed")
    environ = environment(
        database_environment(database.address), POLICY_SIGNING_KEY=key, **settings_of(provider)
    )
    with policies(database, folder("control")), signed_server(signed) as server:
        once = finished("snapshot", "publish", str(signed), environ=environ)
        assert once.returncode == 0, once.stderr
        assert once.stdout.startswith("default revision="), "the log is on standard error"
        provider.handler = AWAY
        head = next(signed.rglob("head.json"))
        before = head.read_bytes()
        with publishing(signed, environ):
            # It starts while the provider is away, and keeps the keys that are in the folder.
            await_true(lambda: head.read_bytes() != before, within=WITHIN_S, what="another head")
            with follower(folder("sidecar"), server.url, key) as sidecar:
                await_true(lambda: allowed(sidecar, provider.issuer), within=WITHIN_S, what="a good token")
                assert not allowed(sidecar, provider.issuer, SigningKey.rs256("provider", serial=1))
                assert not allowed(sidecar, "https://another.example")
                assert not allowed(sidecar, provider.issuer, role="auditor")
                rotated = SigningKey.rs256("rotated", serial=2)
                assert not allowed(sidecar, provider.issuer, rotated)
                provider.keys = [rotated]
                provider.handler = provider.serve_keys
                await_true(
                    lambda: allowed(sidecar, provider.issuer, rotated), within=WITHIN_S, what="the new key"
                )
                assert not allowed(sidecar, provider.issuer)


def test_providers_of_the_file_are_signed_without_the_files_that_they_name(
    database: "Database", folder: Callable[[str], Path], provider: KeyServer
) -> None:
    key, control_folder = new_key(), folder("control")
    (control_folder / "keys.json").write_text(json.dumps({"keys": [FILE_KEY.jwk()]}))
    listed: list[dict[str, object]] = [
        {"issuer": "urn:issuer:of:file", "audiences": ["demo"], "jwks_file": "keys.json"},
        {"issuer": provider.issuer, "audiences": ["demo"], "jwks_proxy": "environment"},
    ]
    files = file_of(control_folder, *listed)
    with policies(database, control_folder, POLICY_SIGNING_KEY=key, **files) as control:
        made = control.rest.create("/api/v1/service-api-keys", {"name": "f", "scopes": ["policies:follow"]})
        await_true(lambda: provider.requests["/jwks"], within=WITHIN_S, what="a fetch by the control plane")
        source, api_key = f"http://127.0.0.1:{control.rest_port}", str(made.document["key"])
        with follower(folder("sidecar"), source, key, POLICY_API_KEY=api_key) as sidecar:
            provider.handler = AWAY
            for issuer, used in (("urn:issuer:of:file", FILE_KEY), (provider.issuer, KEY)):
                await_true(partial(allowed, sidecar, issuer, used), within=WITHIN_S, what=issuer)
            assert not allowed(sidecar, provider.issuer, FILE_KEY)
            log = (control_folder / "extauthz.log").read_text()
            assert '"left_out":["jwks_proxy"]' in log
            # The file is followed: a provider that it loses is refused by followers.
            file_of(control_folder, listed[0])
            await_true(
                lambda: not allowed(sidecar, provider.issuer), within=WITHIN_S, what="the provider that went"
            )
            assert allowed(sidecar, "urn:issuer:of:file", FILE_KEY)


def test_a_control_plane_that_starts_while_the_provider_is_away_keeps_signing_its_keys(
    database: "Database", folder: Callable[[str], Path], provider: KeyServer
) -> None:
    key = new_key()
    more = settings_of(provider) | {"POLICY_SIGNING_KEY": key}
    with policies(database, folder("control"), **more) as control:
        made = control.rest.create("/api/v1/service-api-keys", {"name": "f", "scopes": ["policies:follow"]})
        source, api_key = f"http://127.0.0.1:{control.rest_port}", str(made.document["key"])
        with follower(folder("first"), source, key, POLICY_API_KEY=api_key) as sidecar:
            await_true(lambda: allowed(sidecar, provider.issuer), within=WITHIN_S, what="a good token")
        provider.handler = AWAY
        control.process.stop(grace_s=8)
        control.start("control-plane")
        # The next head is of this process.
        control.rest.create("/api/v1/resources/policies", READERS | {"sub": "auditor"})
        with follower(folder("second"), source, key, POLICY_API_KEY=api_key) as sidecar:
            await_true(
                lambda: allowed(sidecar, provider.issuer, role="auditor"),
                within=WITHIN_S,
                what="a good token",
            )

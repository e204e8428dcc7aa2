"""`snapshot publish` with several tenants: each gets the keys of the providers that it registered."""

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.domain.tenant_config import TenantConfig
from extauthz.signed.bodies import config_of
from extauthz.signed.folder import PolicyFolder
from extauthz.signed.head import verify
from extauthz.signed.signing_keys import pinned
from extauthz.storage import identity_providers
from tests.command_line import run_extauthz
from tests.integration.serving import database_environment
from tests.integration.storage_documents import new_id, pool_of, succeed
from tests.integration.test_head_signing import KEY
from tests.integration.test_signed_serving import pem_of
from tests.key_server import KeyServer, key_server
from tests.tokens import SigningKey

if TYPE_CHECKING:
    from extauthz.storage.write import Change
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


def config(folder: Path, tenant: str) -> TenantConfig:
    """Return the configuration that is signed for a tenant."""
    files = PolicyFolder(folder, tenant)
    envelope = files.head()
    assert envelope is not None
    keys = pinned([KEY.public_key().public_bytes_raw()])
    head = verify(envelope, keys, tenant, now=time.time(), max_age_s=None)
    octets = files.body(head.config)
    assert octets is not None
    return config_of(head.config, octets, tenant)


async def register(change: "Change", provider: KeyServer) -> None:
    document: dict[str, object] = {"issuer_url": provider.issuer, "audience": "any", "active": True}
    await identity_providers.create(change, document | {"id": new_id()})


async def test_each_tenant_gets_the_keys_of_its_own_providers(database: "Database", tmp_path: Path) -> None:
    async with (
        pool_of(database.address, "acme", "globex") as pool,
        key_server(SigningKey.rs256("a")) as acme,
        key_server(SigningKey.es256("b")) as globex,
    ):
        for tenant, provider in (("acme", acme), ("globex", globex)):
            await succeed(pool, partial(register, provider=provider), tenant=tenant)
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (acme, globex))
        environ = database_environment(database.address) | {
            "MODE": "saas",
            "TENANTS": "acme,globex",
            "JWKS_ALLOW_HOSTS": hosts,
            "POLICY_SIGNING_KEY": pem_of(KEY),
        }
        done = await asyncio.to_thread(
            run_extauthz, "snapshot", "publish", tmp_path, "--json", environ=environ
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [each["tenant"] for each in lines] == ["acme", "globex"]
        assert all(each.keys() == {"tenant", "revision", "serial"} for each in lines)
        for tenant, provider, kid in (("acme", acme, "a"), ("globex", globex, "b")):
            found = config(tmp_path, tenant)
            assert [each.issuer for each in found.keys] == [provider.issuer]
            assert [key["kid"] for key in found.keys[0].jwks["keys"]] == [kid]  # type: ignore[attr-defined]

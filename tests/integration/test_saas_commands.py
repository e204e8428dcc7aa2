"""`extauthz serve` for many tenants, as its own process."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import grpc.aio
import pytest

from extauthz.demo.processes import free_port
from extauthz.storage import tenants
from extauthz.storage.tenants import TenantStatus
from tests.builders import check_request, read_answer
from tests.integration.published_tenants import Firm, mesh
from tests.integration.storage_documents import succeed
from tests.light_processes import LIGHT

if TYPE_CHECKING:
    from extauthz.storage.rows import Document
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(database: "Database", firms: Iterable[Firm]) -> AsyncIterator[dict[str, int]]:
    """Run `extauthz serve` for many tenants, as its own processes; yield its ports."""
    ports = {name: free_port() for name in ("PORT", "SIDECAR_PORT", "GRPC_PORT")}
    address = database.address
    environ = {name: str(port) for name, port in ports.items()} | {
        "MODE": "saas",
        "PATH": os.environ["PATH"],
        "POSTGRES_HOST": address.host,
        "POSTGRES_PORT": str(address.port),
        **LIGHT,
        "POSTGRES_USER": address.user,
        "POSTGRES_PASSWORD": address.password,
        "POSTGRES_DB": address.database,
        "ADMIN_API_KEY": "0123456789abcdef" * 4,
        "JWKS_ALLOW_HOSTS": ",".join(f"127.0.0.1:{firm.provider.port}" for firm in firms),
        "DECISION_LOG": os.devnull,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extauthz", "serve", env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield ports
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0


async def ready(port: int) -> "Document":
    """Wait until the health port reports readiness, and return the document."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.get(f"http://127.0.0.1:{port}/healthz/ready") as response:
                    if response.status == 200:
                        body: Document = await response.json()
                        return body
            await asyncio.sleep(0.05)


async def test_the_commands_serve_many_tenants(database: "Database") -> None:
    async with (
        mesh(database, slugs=["acme", "globex"]) as found,
        serving(database, found.firms.values()) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports['GRPC_PORT']}") as channel,
        aiohttp.ClientSession() as session,
    ):
        # keys gate no start: which of a thousand providers would?
        said = await ready(ports["SIDECAR_PORT"])
        assert said == {"status": "ok", "checks": {"database": "ok", "casbin": "ok", "policies": "ok"}}
        check = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check", None, None)

        async def reason(host: str, token: str) -> object:
            raw = check_request("/orders", host=host, headers={"authorization": f"Bearer {token}"})
            answer = read_answer(await check(raw, timeout=5))
            return "allowed" if answer.allowed else answer.metadata["reason"]

        async def settled(host: str, token: str) -> object:
            # On a busy machine the first keys of a provider take longer than a check waits.
            async with asyncio.timeout(60):
                while True:
                    if (found := await reason(host, token)) != "keys_unavailable":
                        return found
                    await asyncio.sleep(0.05)

        acme, globex = found.firms["acme"], found.firms["globex"]
        assert await settled("acme.local", acme.token()) == "allowed"
        assert await settled("acme.local", globex.token()) == "tenant_mismatch"
        await succeed(found.pool, partial(tenants.replace, status=TenantStatus.SUSPENDED), tenant="acme")
        async with asyncio.timeout(1):
            while True:
                if await reason("acme.local", acme.token()) == "tenant_suspended":
                    break
                await asyncio.sleep(0.01)
        async with session.get(f"http://127.0.0.1:{ports['SIDECAR_PORT']}/metrics") as response:
            metrics = await response.text()
        assert "\nextauthz_policy_age_seconds" in metrics
        assert "\nextauthz_policy_revision" not in metrics

"""The servers of the client: the REST API, and the identity provider of the demo."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.demo.identity_provider import AUDIENCE, IdentityProvider, application
from extauthz.demo.processes import free_port
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.source import IssuerSource
from extauthz_client import ClientCredentials, ExtauthzClient, ServiceKey
from tests.integration.rest_harness import ADMIN_KEY, rest
from tests.integration.scripted_server import Handler, serving

if TYPE_CHECKING:
    from tests.integration.conftest import Database


@dataclass
class Provider:
    """The demo's identity provider; `flaws` are taken by the next tokens, one each."""

    issuer: str
    flaws: list[str] = field(default_factory=list)
    token_requests: int = 0


@asynccontextmanager
async def identity_provider() -> AsyncIterator[Provider]:
    port = free_port()
    provider = Provider(f"http://127.0.0.1:{port}")

    @web.middleware
    async def watching(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/token":
            provider.token_requests += 1
            if provider.flaws:
                form = dict(await request.post()) | {"flaw": provider.flaws.pop(0)}
                request.post = lambda: _ready(form)  # type: ignore[method-assign]
        return await handler(request)

    inner = application(IdentityProvider(provider.issuer))
    inner.middlewares.append(watching)
    async with serving(inner, port):
        yield provider


async def _ready(form: Any) -> Any:
    return form


@dataclass
class ControlPlane:
    """A served API that knows the provider."""

    url: str
    provider: Provider

    def client(self, client_id: str = "operations", **options: Any) -> ExtauthzClient:
        credentials = ClientCredentials(self.provider.issuer, client_id, f"{client_id}-secret")
        return ExtauthzClient(self.url, credentials, **options)

    async def service_key(self, **members: object) -> ServiceKey:
        """Create a service API key, as the operator does."""
        async with (
            aiohttp.ClientSession(headers={"X-Admin-Api-Key": ADMIN_KEY}) as session,
            session.post(f"{self.url}/api/v1/service-api-keys", json=members) as response,
        ):
            document = await response.json()
            assert response.status == 201, document
            return ServiceKey(document["key"])

    @property
    def environment(self) -> dict[str, str]:
        return {
            "EXTAUTHZ_URL": self.url,
            "AUTH_SERVER_URL": self.provider.issuer,
            "ADMIN_CLIENT_ID": "operations",
            "ADMIN_CLIENT_SECRET": "operations-secret",
        }


@asynccontextmanager
async def control_plane(database: "Database") -> AsyncIterator[ControlPlane]:
    async with identity_provider() as provider, KeyFetcher() as fetcher:
        keys = JwksCache(fetcher)
        config = IssuerConfig.usual(
            provider.issuer, "default", (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset()
        )
        keys.configure([IssuerSource(config, operator_configured=True)])
        fetching = asyncio.create_task(keys.run())
        try:
            async with rest(database, keys=keys) as api:
                yield ControlPlane(api.url, provider)
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


async def run_python(script: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run a program in another process; return its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()

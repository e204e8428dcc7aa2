"""The REST API with many tenants: each with its own provider, made as an operator makes them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extauthz.domain.tenancy import TenancyMode
from tests.integration.rest_harness import ADMIN_KEY, Api, rest
from tests.key_server import KeyServer, key_server
from tests.tokens import AUDIENCE, SigningKey
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database


@dataclass
class Firm:
    """A tenant, its provider, and its bootstrap key."""

    slug: str
    provider: KeyServer
    signing: SigningKey
    bootstrap: str
    idp: str

    def bearer(self, **claims: Any) -> dict[str, str]:
        now = int(time.time())
        usual = {
            "iss": self.provider.issuer, "sub": "root", "aud": AUDIENCE, "iat": now - 5, "exp": now + 600,
        }  # fmt: skip
        return {"Authorization": f"Bearer {self.signing.sign(usual | claims)}"}

    @property
    def key(self) -> dict[str, str]:
        return {"X-Service-Api-Key": self.bootstrap}


@dataclass
class Firms:
    """A served API with its firms; its callers are `acme/admin`, `acme/key` and so on."""

    api: Api
    firms: dict[str, Firm]

    async def published(self, tenant: str, revision: int) -> None:
        assert await self.api.services.wait_for(tenant, revision, 10)


@asynccontextmanager
async def firms(database: "Database", *slugs: str, **changes: Any) -> AsyncIterator[Firms]:
    async with AsyncExitStack() as stack:
        signing = {slug: SigningKey.es256(f"key of {slug}") for slug in slugs}
        providers = {slug: await stack.enter_async_context(key_server(key)) for slug, key in signing.items()}
        allowed = frozenset(f"127.0.0.1:{provider.port}" for provider in providers.values())
        api = await stack.enter_async_context(
            rest(database, mode=TenancyMode.SAAS, allow_hosts=allowed, **changes)
        )
        operator = {"X-Admin-Api-Key": ADMIN_KEY}
        api.callers["operator"] = operator
        session = (await api.post("/admin/session", caller="operator")).succeeded(201).body
        api.callers["session"] = {"Authorization": f"Bearer {session['token']}"}
        found: dict[str, Firm] = {}
        for slug in slugs:
            provider = providers[slug]
            made = await api.post("/admin/tenants", {"name": slug, "slug": slug}, caller="session")
            bootstrap = made.succeeded(201).body["bootstrapKey"]
            hosts = {"hosts": [f"{slug}.local"]}
            (await api.put(f"/admin/tenants/{slug}/hosts", hosts, caller="session")).succeeded(200)
            idp = await api.post(
                f"/admin/tenants/{slug}/identity-providers",
                {
                    "issuer_url": provider.issuer,
                    "jwks_uri": provider.jwks_uri,
                    "audience": AUDIENCE,
                    "claim_config": {
                        "roles_claim": "roles", "domain_claim": "dom", "admin_domain_claim": "adm",
                    },
                },
                caller="operator",
            )  # fmt: skip
            firm = Firm(slug, provider, signing[slug], bootstrap, idp.succeeded(201).body["id"])
            found[slug] = firm
            api.callers[f"{slug}/key"] = firm.key
            api.callers[f"{slug}/admin"] = firm.bearer(adm="*")
            api.callers[f"{slug}/emea"] = firm.bearer(sub="eve", adm=["emea"])
            api.callers[f"{slug}/alice"] = firm.bearer(sub="alice", dom="emea", roles=["finance"])
        issuers = {firm.provider.issuer for firm in found.values()}
        await until(
            lambda: issuers <= set(api.services.keys.current().issuers), what="the issuers of every tenant"
        )
        yield Firms(api, found)

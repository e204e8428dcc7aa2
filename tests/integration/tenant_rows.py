"""Tenants and identity providers as the tests of their storage make and read them."""

from typing import TYPE_CHECKING

from extauthz.domain.tenant_config import TenantConfig
from extauthz.storage import (
    audit,
    service_keys,
    tenant_configs,
    tenants,
)
from extauthz.storage.outcome import Refusal
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change, Written
from tests.integration.storage_documents import (
    ACTOR,
    new_id,
)

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Document


SECRET = bytes(range(32))


async def made(pool: "Pool", slug: str, name: str = "A tenant") -> Written[Stored] | Refusal:
    key_id = f"sak_{new_id()}"

    async def also(change: Change, _: Stored) -> Stored | Refusal:
        return await service_keys.rotate_bootstrap(change, key_id, secret=SECRET)

    return await tenants.create(pool, ACTOR, slug=slug, name=name, also=also, new_id=new_id)


def provider(issuer: str = "https://idp.acme.example", **members: object) -> "Document":
    return {
        "id": new_id(), "issuer_url": issuer, "jwks_uri": None, "audience": "mesh", "claim_config": {},
        "active": True,
    } | members  # fmt: skip


async def registered(reader: "Connection", tenant: str) -> TenantConfig:
    return (await tenant_configs.read(reader, [tenant]))[tenant]


async def trail(pool: "Pool", tenant: str) -> list[tuple[str, str, object, object]]:
    async with tenant_transaction(pool, tenant) as connection:
        page = await audit.page(connection, tenant)
    return [(event.action, event.kind, event.before, event.after) for event in reversed(page.items)]

"""Tenants as the installation's operator sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.storage.outcome import Refusal, refusal_of
from extauthz.storage.pool import tenant_transaction

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool


async def ensure_tenant(pool: Pool, slug: str, name: str) -> bool | Refusal:
    """Create a tenant unless it is there, at revision 0; return whether it was created.

    `MODE=selfhost` has one, `default`, from the first start on.
    """
    try:
        async with tenant_transaction(pool, slug, operator=True) as connection:
            created = await connection.fetchval(
                "INSERT INTO tenants (tenant_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                slug,
                name,
            )
            return bool(created)
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        return refusal

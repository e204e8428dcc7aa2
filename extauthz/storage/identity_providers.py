"""The identity providers of a tenant: the issuers whose tokens are accepted, and the paths of their claims.

A document is `{id, issuer_url, jwks_uri, audience, claim_config, active}`; `audience` is a string or a list
of strings, `claim_config` has any of `roles_claim`, `domain_claim`, `admin_domain_claim`, `excluded_roles`.
This module sends no request to a provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from extauthz.storage import editing
from extauthz.storage.outcome import Clash, Conflict
from extauthz.storage.rows import MAX_PAGE, Column, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from extauthz.storage.outcome import NotFound
    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "identity_provider",
    "identity_providers",
    [
        Column("issuer_url", "issuer"),
        Column("jwks_uri", "jwks_uri"),
        Column("audience", "audience", "jsonb"),
        Column("claim_config", "claim_config", "jsonb"),
        Column("active", "active", "boolean"),
    ],
)


async def create(change: Change, document: Mapping[str, object]) -> Stored | Conflict:
    """Insert a provider. A second active one, or an issuer registered by any tenant, is a conflict."""
    row = TABLE.normalised(document)
    if clash := await _second_active(change, row):
        return clash
    inserted = await TABLE.insert(change.connection, change.tenant, [row], revision=change.revision)
    if not inserted:
        return _issuer_taken(row)
    (stored,) = inserted.values()
    change.note("create", TABLE.kind, stored.id, after=row)
    return stored


async def replace(change: Change, document: Mapping[str, object]) -> Stored | NotFound | Conflict:
    """Replace a provider by id, atomically."""
    row = TABLE.normalised(document)
    if clash := await _second_active(change, row):
        return clash
    try:
        async with change.connection.transaction():
            return await editing.replace(change, TABLE, document)
    except asyncpg.UniqueViolationError:
        # The row of another tenant, which row-level security hides; the unique index still applies.
        return _issuer_taken(row)


async def delete(change: Change, provider_id: UUID) -> Stored | NotFound:
    """Delete a provider; its tokens are refused from then on."""
    return await editing.remove(change, TABLE, provider_id)


async def get(connection: Connection, tenant: str, provider_id: UUID) -> Stored | None:
    """Return one provider; None if it does not exist."""
    return await TABLE.fetch(connection, tenant, provider_id)


async def page(
    connection: Connection, tenant: str, *, after: UUID | None = None, limit: int = MAX_PAGE
) -> Page:
    """Return a page of a tenant's providers in the order of ids."""
    return await TABLE.page(connection, tenant, where={}, after=after, limit=limit)


async def _second_active(change: Change, row: Mapping[str, object]) -> Conflict | None:
    if row["active"] is not True:
        return None
    other = await change.connection.fetchval(
        "SELECT id::text FROM identity_providers WHERE tenant_id = $1 AND active AND id <> $2::uuid",
        change.tenant,
        row["id"],
    )
    if other is None:
        return None
    return Conflict(TABLE.kind, (Clash(0, other, "the tenant already has an active identity provider"),))


def _issuer_taken(row: Mapping[str, object]) -> Conflict:
    return Conflict(TABLE.kind, (Clash(0, str(row["issuer_url"]), "the issuer is already registered"),))

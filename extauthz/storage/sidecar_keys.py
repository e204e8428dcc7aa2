"""Keys with which sidecars of many tenants report: they belong to the installation and have no other use.

Keys have the form of service keys; of their secret only a digest is stored.
INVARIANT: no event or error holds a secret or its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.domain.service_key import ID_PREFIX, PresentedKey, row_id, secret_digest
from extauthz.storage import audit
from extauthz.storage.audit import INSTALLATION, Occurrence
from extauthz.storage.columns import bounded_times
from extauthz.storage.outcome import NotFound, refusals_returned
from extauthz.storage.pool import key_transaction, tenant_transaction
from extauthz.storage.rows import MAX_PAGE, Page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Pool

KIND: Final = "sidecar_key"
_SELECTED: Final = f"id::text, name, {bounded_times('created_at', 'expires_at', 'last_used_at')}"


@dataclass(frozen=True, slots=True)
class SidecarKey:
    """A key that is not revoked. `id` is `sak_` and a UUID."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@refusals_returned
async def create(
    pool: Pool,
    key_id: str,
    name: str,
    *,
    secret: bytes,
    expires_at: datetime | None,
    actor: Mapping[str, object],
    event_id: str,
    once: Once[None] | None = None,
) -> SidecarKey:
    """Store a key, and its author in the audit trail."""
    async with tenant_transaction(pool, INSTALLATION, operator=True) as connection:
        if once is not None:
            await once.begin(connection)
        record = await connection.fetchrow(
            "INSERT INTO sidecar_keys (id, name, secret_sha256, expires_at)"  # noqa: S608
            f" VALUES ($1::uuid, $2, $3, $4) RETURNING {_SELECTED}",
            row_id(key_id),
            name,
            secret_digest(secret),
            expires_at,
        )
        assert record is not None
        event = Occurrence(event_id, actor, "create", KIND, key_id, {"name": name})
        await audit.record_in(connection, INSTALLATION, [event])
        if once is not None:
            await once.end(connection, None)
    return _key(record)


@refusals_returned
async def page(pool: Pool, *, after: str | None = None, limit: int = MAX_PAGE) -> Page[SidecarKey]:
    """Return a page of the keys that are not revoked, expired ones too, in the order of creation."""
    limit = max(1, min(limit, MAX_PAGE))
    async with tenant_transaction(pool, INSTALLATION, operator=True, read_only=True) as connection:
        records = await connection.fetch(
            f"SELECT {_SELECTED} FROM sidecar_keys AS t"  # noqa: S608
            f" WHERE revoked_at IS NULL AND ($1::uuid IS NULL OR t.id > $1) ORDER BY t.id LIMIT {limit + 1}",
            None if after is None else row_id(after),
        )
    items = tuple(_key(record) for record in records[:limit])
    return Page(items, items[-1].id if len(records) > limit else None)


@refusals_returned
async def revoke(pool: Pool, key_id: str, *, actor: Mapping[str, object], event_id: str) -> NotFound | None:
    """Revoke a key. One that is unknown or already revoked is not found."""
    async with tenant_transaction(pool, INSTALLATION, operator=True) as connection:
        found = await connection.fetchval(
            "UPDATE sidecar_keys SET revoked_at = now() WHERE id = $1::uuid AND revoked_at IS NULL"
            " RETURNING true",
            row_id(key_id),
        )
        if not found:
            return NotFound(KIND, key_id)
        event = Occurrence(event_id, actor, "delete", KIND, key_id)
        await audit.record_in(connection, INSTALLATION, [event])
    return None


@refusals_returned
async def find(pool: Pool, presented: PresentedKey, *, now: datetime) -> SidecarKey | None:
    """Return a presented key at `now`; None if it is unknown, revoked, expired or wrong."""
    async with key_transaction(pool, row_id(presented.id)) as connection:
        record = await connection.fetchrow(
            f"SELECT {_SELECTED}, secret_sha256 FROM sidecar_keys WHERE id = $1::uuid AND revoked_at IS NULL",  # noqa: S608
            row_id(presented.id),
        )
    if record is None or not presented.opens(record["secret_sha256"]):
        return None
    key = _key(record)
    return None if key.expires_at is not None and now >= key.expires_at else key


@refusals_returned
async def note_used(pool: Pool, used: Mapping[str, datetime]) -> None:
    """Store when keys (by id) were last used."""
    async with tenant_transaction(pool, INSTALLATION, operator=True) as connection:
        await connection.execute(
            "UPDATE sidecar_keys AS k SET last_used_at = GREATEST(k.last_used_at, r.at)"
            " FROM unnest($1::text[]::uuid[], $2::text[]::timestamptz[]) AS r (id, at) WHERE k.id = r.id",
            [row_id(key_id) for key_id in used],
            [at.isoformat() for at in used.values()],
        )


def _key(record: asyncpg.Record) -> SidecarKey:
    return SidecarKey(
        ID_PREFIX + record["id"],
        record["name"],
        record["created_at"],
        record["expires_at"],
        record["last_used_at"],
    )

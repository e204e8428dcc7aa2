"""Service API keys: creation, lists, revocation with all descendants, and verification of a presented key.

A document is `{id, name, description, scopes, service_name, prefixes, domain, parent, bootstrap,
expires_at?}` with ids `sak_<uuid>`.
INVARIANT: no document, event, change record or error holds a secret or its digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.domain.service_key import ID_PREFIX, PresentedKey, Scope, row_id, secret_digest
from extauthz.domain.time_text import instant, rfc3339
from extauthz.storage.columns import bounded_time, bounded_times
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import Clash, Conflict, NotFound, refusals_returned
from extauthz.storage.pool import key_transaction, tenant_transaction
from extauthz.storage.rows import MAX_PAGE, Page, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

KIND: Final = "service_key"
BOOTSTRAP_NAME: Final = "bootstrap"

_DOCUMENT: Final = (
    "id::text, name, description, scopes, service_name, prefixes::text, domain"
    f", parent_id::text, bootstrap, {bounded_time('expires_at')} AS expires_at"
)
_TIMES: Final = bounded_times("created_at", "updated_at", "last_used_at", "revoked_at")
_SELECTED: Final = f"{_DOCUMENT}, revision, {_TIMES}"


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """The permissions of a valid key. A `bootstrap` key has those of a tenant admin, without scopes.

    `prefixes` and `domain` limit the scopes; `expires_at` limits the expiry of keys that it creates.
    """

    id: str
    tenant: str
    name: str
    bootstrap: bool
    scopes: frozenset[Scope]
    service_name: str | None
    prefixes: tuple[str, ...]
    domain: str | None
    expires_at: datetime | None


async def create(
    change: Change, document: Mapping[str, object], *, secret: bytes
) -> Stored | NotFound | Conflict:
    """Insert a key from its complete document and its secret of 32 random bytes.

    `domain.service_key.key_text` returns the key text of an id and a secret, which is shown once. A `parent`
    must be a valid key of the tenant; a revoked one is not found.
    """
    row = _normalised(document)
    connection = change.connection
    if row["parent"] is not None and not await _is_good(change, str(row["parent"])):
        return NotFound(KIND, str(row["parent"]))
    if row["bootstrap"] and (present := await _bootstrap_id(change)) is not None:
        return Conflict(KIND, (Clash(0, ID_PREFIX + present, "the tenant already has a bootstrap key"),))
    record = await connection.fetchrow(
        "INSERT INTO service_api_keys (tenant_id, id, name, description, secret_sha256, bootstrap, scopes,"  # noqa: S608
        " service_name, prefixes, domain, parent_id, expires_at, revision)"
        " VALUES ($1, $2::uuid, $3, $4, $5, $6, $7::text[], $8, $9::jsonb, $10, $11::uuid, $12, $13)"
        f" RETURNING {_SELECTED}",
        change.tenant,
        row_id(str(row["id"])),
        row["name"],
        row["description"],
        secret_digest(secret),
        row["bootstrap"],
        row["scopes"],
        row["service_name"],
        encode_json(row["prefixes"]),
        row["domain"],
        None if row["parent"] is None else row_id(str(row["parent"])),
        instant(str(row["expires_at"])) if "expires_at" in row else None,
        change.revision,
    )
    assert record is not None
    stored = _stored(record)
    change.note("create", KIND, stored.id, after=stored.document)
    return stored


async def rotate_bootstrap(change: Change, key_id: str, *, secret: bytes) -> Stored | NotFound | Conflict:
    """Create a bootstrap key for the tenant; an existing one is revoked.

    The keys that the old one created become children of the new one and stay valid.
    """
    document: Document = {"id": key_id, "name": BOOTSTRAP_NAME, "bootstrap": True}
    before = await _bootstrap_id(change)
    if before is None:
        return await create(change, document, secret=secret)
    await _revoke(change, [before])
    stored = await create(change, document, secret=secret)
    if isinstance(stored, Stored):
        await change.connection.execute(
            "UPDATE service_api_keys SET parent_id = $3::uuid WHERE tenant_id = $1 AND parent_id = $2::uuid",
            change.tenant,
            before,
            row_id(key_id),
        )
    return stored


async def revoke_bootstrap(change: Change) -> tuple[str, ...] | NotFound:
    """Revoke the tenant's bootstrap key and all its descendants; return their ids."""
    present = await _bootstrap_id(change)
    if present is None:
        return NotFound(KIND, BOOTSTRAP_NAME)
    return await _revoke(change, await _family(change, present))


async def revoke(change: Change, key_id: str) -> tuple[str, ...] | NotFound:
    """Revoke a key and all its descendants; return their ids, the key's own first.

    The rows stay for the audit trail. A key that is already revoked is not found.
    """
    before = await get(change.connection, change.tenant, key_id)
    if before is None or before.revoked_at is not None:
        return NotFound(KIND, key_id)
    return await _revoke(change, await _family(change, str(row_id(key_id))))


async def get(connection: Connection, tenant: str, key_id: str) -> Stored | None:
    """Return one key, also a revoked one; None if it does not exist."""
    record = await connection.fetchrow(
        f"SELECT {_SELECTED} FROM service_api_keys WHERE tenant_id = $1 AND id = $2::uuid",  # noqa: S608
        tenant,
        row_id(key_id),
    )
    return None if record is None else _stored(record)


async def page(
    connection: Connection,
    tenant: str,
    *,
    parent: str | None = None,
    after: str | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of the tenant's keys that are not revoked, expired ones too, in the order of creation.

    `parent` selects the children of a key. Ids are `sak_<uuid>`; another text in `after` has no effect.
    """
    limit = max(1, min(limit, MAX_PAGE))
    records = await connection.fetch(
        f"SELECT {_SELECTED} FROM service_api_keys AS t"  # noqa: S608
        " WHERE tenant_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR t.id > $2)"
        " AND ($3::uuid IS NULL OR parent_id = $3) ORDER BY t.id LIMIT $4",
        tenant,
        None if after is None else row_id(after),
        None if parent is None else row_id(parent),
        limit + 1,
    )
    items = tuple(_stored(record) for record in records[:limit])
    return Page(items, items[-1].id if len(records) > limit else None)


@refusals_returned
async def find(pool: Pool, presented: PresentedKey, *, now: datetime) -> KeyGrant | None:
    """Return the permissions of a presented key at `now`; None if it is unknown, revoked, expired or wrong.

    The result is not cached, so a revocation takes effect with its commit. The caller checks whether the
    tenant is suspended.
    """
    async with key_transaction(pool, row_id(presented.id)) as connection:
        record = await connection.fetchrow(
            f"SELECT tenant_id, secret_sha256, {bounded_times('revoked_at')}, {_DOCUMENT}"  # noqa: S608
            " FROM service_api_keys WHERE id = $1::uuid",
            row_id(presented.id),
        )
    if record is None or not presented.opens(record["secret_sha256"]) or record["revoked_at"] is not None:
        return None
    if record["expires_at"] is not None and now >= record["expires_at"]:
        return None
    return _grant(record)


async def grant_of(connection: Connection, tenant: str, key_id: str) -> KeyGrant | None:
    """Return the permissions that a key of the tenant has now; None if it is unknown, revoked or expired."""
    record = await connection.fetchrow(
        f"SELECT tenant_id, {_DOCUMENT} FROM service_api_keys WHERE tenant_id = $1 AND id = $2::uuid"  # noqa: S608
        " AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        tenant,
        row_id(key_id),
    )
    return None if record is None else _grant(record)


def _grant(record: asyncpg.Record) -> KeyGrant:
    return KeyGrant(
        id=ID_PREFIX + record["id"],
        tenant=record["tenant_id"],
        name=record["name"],
        bootstrap=record["bootstrap"],
        # A scope of a later version permits nothing in this version.
        scopes=frozenset(scope for scope in Scope if scope.value in record["scopes"]),
        service_name=record["service_name"],
        prefixes=tuple(_prefixes(record)),
        domain=record["domain"],
        expires_at=record["expires_at"],
    )


@refusals_returned
async def note_used(pool: Pool, tenant: str, used: Mapping[str, datetime]) -> None:
    """Store when keys of a tenant (by id) were last used, without a revision and an audit event."""
    async with tenant_transaction(pool, tenant) as connection:
        await connection.execute(
            "UPDATE service_api_keys AS k SET last_used_at = GREATEST(k.last_used_at, r.at)"
            " FROM unnest($2::text[]::uuid[], $3::text[]::timestamptz[]) AS r (id, at)"
            " WHERE k.tenant_id = $1 AND k.id = r.id",
            tenant,
            [row_id(key_id) for key_id in used],
            [at.isoformat() for at in used.values()],
        )


async def _is_good(change: Change, key_id: str) -> bool:
    found = await change.connection.fetchval(
        "SELECT true FROM service_api_keys WHERE tenant_id = $1 AND id = $2::uuid AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now())",
        change.tenant,
        row_id(key_id),
    )
    return bool(found)


async def _bootstrap_id(change: Change) -> str | None:
    found: str | None = await change.connection.fetchval(
        "SELECT id::text FROM service_api_keys WHERE tenant_id = $1 AND bootstrap AND revoked_at IS NULL",
        change.tenant,
    )
    return found


async def _family(change: Change, row: str) -> list[str]:
    """Return the ids of a key and its descendants that are not revoked: the key's own first, then by age."""
    records = await change.connection.fetch(
        # UNION drops rows that were found before, so that a cycle of parents (a damaged row) ends.
        "WITH RECURSIVE family AS ("
        " SELECT id FROM service_api_keys WHERE tenant_id = $1 AND id = $2::uuid"
        " UNION"
        " SELECT k.id FROM service_api_keys AS k"
        " JOIN family ON k.parent_id = family.id WHERE k.tenant_id = $1)"
        " SELECT id::text FROM family JOIN service_api_keys AS k USING (id)"
        " WHERE tenant_id = $1 AND revoked_at IS NULL ORDER BY k.id <> $2::uuid, k.id",
        change.tenant,
        row,
    )
    return [record["id"] for record in records]


async def _revoke(change: Change, rows: list[str]) -> tuple[str, ...]:
    records = await change.connection.fetch(
        "UPDATE service_api_keys SET revoked_at = now(), updated_at = now(), revision = $3"  # noqa: S608
        f" WHERE tenant_id = $1 AND id = ANY($2::text[]::uuid[]) RETURNING {_SELECTED}",
        change.tenant,
        rows,
        change.revision,
    )
    revoked = {record["id"]: _stored(record) for record in records}
    for row in rows:
        change.note("delete", KIND, revoked[row].id, before=revoked[row].document)
    return tuple(revoked[row].id for row in rows)


def _normalised(document: Mapping[str, object]) -> Document:
    members: Document = {
        "description": "",
        "scopes": [],
        "service_name": None,
        "prefixes": [],
        "domain": None,
        "parent": None,
        "bootstrap": False,
    } | dict(document)
    if members.get("expires_at") is None:
        members.pop("expires_at", None)
    return members


def _stored(record: asyncpg.Record) -> Stored:
    document: Document = {
        "id": ID_PREFIX + record["id"],
        "name": record["name"],
        "description": record["description"],
        "scopes": list(record["scopes"]),
        "service_name": record["service_name"],
        "prefixes": _prefixes(record),
        "domain": record["domain"],
        "parent": None if record["parent_id"] is None else ID_PREFIX + record["parent_id"],
        "bootstrap": record["bootstrap"],
    }
    if record["expires_at"] is not None:
        document["expires_at"] = rfc3339(record["expires_at"])
    return Stored(
        document,
        record["revision"],
        record["created_at"],
        record["updated_at"],
        last_used_at=record["last_used_at"],
        revoked_at=record["revoked_at"],
    )


def _prefixes(record: asyncpg.Record) -> list[str]:
    prefixes = decode_stored(record["prefixes"])
    # Fail closed: with unreadable prefixes a registrar may register nothing.
    return [prefix for prefix in prefixes if isinstance(prefix, str)] if isinstance(prefixes, list) else []

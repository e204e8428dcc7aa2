"""Drafts: their rows, their digest, and their state in the form in which live policies are read.

Input: a connection in a transaction of the tenant. Output: `Draft`, `Page`, `feed.TenantDocuments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from extauthz.storage import attribute_policies, draft_view, feed
from extauthz.storage.columns import bounded_times
from extauthz.storage.conditions import conditions_of
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.rows import MAX_PAGE, Page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document

KIND: Final = "draft"
OPEN: Final = "open"
_WITHIN_S: Final = 15.0
_TIMES: Final = bounded_times("t.created_at", "t.updated_at")
_COLUMNS: Final = (
    "t.id, t.title, t.state, t.version, t.base_revision, t.created_by::text, t.published_by::text,"  # noqa: S608
    " t.published_revision, h.revision AS live_revision, ("
    "SELECT count(*) FROM draft_changes AS c"
    " WHERE c.tenant_id = t.tenant_id AND c.draft_id = t.id) AS changes, " + _TIMES
)
_FROM: Final = "FROM drafts AS t JOIN tenants AS h ON h.tenant_id = t.tenant_id"


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft. `base_revision` is the live revision that it was made for, `changes` is how many it has."""

    id: UUID
    title: str | None
    state: str
    version: int
    base_revision: int
    created_by: Mapping[str, Any]
    published_by: Mapping[str, Any] | None
    published_revision: int | None
    created_at: datetime
    updated_at: datetime
    live_revision: int
    changes: int

    @property
    def is_open(self) -> bool:
        """Whether changes can be added to it; not after it was published."""
        return self.state == OPEN


async def create(
    connection: Connection, tenant: str, draft_id: UUID, *, title: str | None, author: Mapping[str, object]
) -> Draft | None:
    """Insert a draft on the tenant's present revision; None if there is no such tenant."""
    inserted = await connection.fetchval(
        "INSERT INTO drafts (tenant_id, id, title, base_revision, created_by)"
        " SELECT t.tenant_id, $2, $3, t.revision, $4::jsonb FROM tenants AS t"
        " WHERE t.tenant_id = $1 AND t.deleted_at IS NULL RETURNING true",
        tenant,
        draft_id,
        title,
        encode_json(author),
    )
    return await get(connection, tenant, draft_id) if inserted else None


async def get(connection: Connection, tenant: str, draft_id: UUID, *, locked: bool = False) -> Draft | None:
    """Return a draft of the tenant; None if it does not exist. `locked` keeps it as it is until the end."""
    record = await connection.fetchrow(
        f"SELECT {_COLUMNS} {_FROM} WHERE t.tenant_id = $1 AND t.id = $2"
        f"{' FOR UPDATE OF t' if locked else ''}",
        tenant,
        draft_id,
    )
    return None if record is None else _draft(record)


async def page(
    connection: Connection,
    tenant: str,
    *,
    state: str | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Draft]:
    """Return a page of drafts in the order of their creation."""
    values: list[object] = [tenant]
    where = {"t.id > {}": after, "t.state = {}": state}
    given = {condition: value for condition, value in where.items() if value is not None}
    conditions = ["t.tenant_id = $1", *conditions_of(given, values)]
    records = await connection.fetch(
        f"SELECT {_COLUMNS} {_FROM} WHERE {' AND '.join(conditions)} ORDER BY t.id LIMIT {limit + 1}",
        *values,
    )
    items = tuple(_draft(record) for record in records[:limit])
    return Page(items, str(items[-1].id) if len(records) > limit else None)


async def live_revision(connection: Connection, tenant: str) -> int:
    """Return the revision of a tenant; 0 if there is no such tenant."""
    found = await connection.fetchval("SELECT revision FROM tenants WHERE tenant_id = $1", tenant)
    return int(found or 0)


async def count_open(connection: Connection, tenant: str) -> int:
    """Return how many drafts of the tenant are open."""
    found = await connection.fetchval(
        "SELECT count(*) FROM drafts WHERE tenant_id = $1 AND state = 'open'", tenant
    )
    return int(found)


async def delete(connection: Connection, tenant: str, draft_id: UUID) -> None:
    """Delete a draft with its changes."""
    await connection.execute("DELETE FROM drafts WHERE tenant_id = $1 AND id = $2", tenant, draft_id)


async def raise_version(
    connection: Connection, tenant: str, draft_id: UUID, *, base_revision: int | None = None
) -> int:
    """Count the version of a draft up, and return it; `base_revision` is another base, if given.

    Approvals were of the version before.
    """
    await connection.execute(
        "DELETE FROM draft_approvals WHERE tenant_id = $1 AND draft_id = $2", tenant, draft_id
    )
    version = await connection.fetchval(
        "UPDATE drafts SET version = version + 1, updated_at = now(),"
        " base_revision = coalesce($3, base_revision)"
        " WHERE tenant_id = $1 AND id = $2 RETURNING version",
        tenant,
        draft_id,
        base_revision,
    )
    return int(version)


async def draft_digest(connection: Connection, tenant: str, draft_id: UUID) -> str:
    """Return the SHA-256 of what a draft would make of the rows that it changes, in hexadecimal."""
    digest: str = await connection.fetchval(
        "SELECT encode(sha256(convert_to(coalesce(string_agg(jsonb_build_array(kind, row_id,"
        " row - '{revision,created_at,updated_at,version,deleted_at}'::text[],"
        " row -> 'deleted_at' IS DISTINCT FROM 'null', live_revision)::text, E'\\n'"
        " ORDER BY kind, row_id), ''), 'UTF8')), 'hex') FROM draft_rows"
        " WHERE tenant_id = $1 AND draft_id = $2",
        tenant,
        draft_id,
        timeout=_WITHIN_S,
    )
    return digest


async def draft_policies(connection: Connection, tenant: str, draft_id: UUID) -> feed.TenantDocuments | None:
    """Return all policy documents of a tenant as a draft would leave them; None if either does not exist.

    `revision` is that of the live policies. The transaction has to see one moment (`REPEATABLE READ`).
    """
    if await get(connection, tenant, draft_id) is None:
        return None
    return await feed.documents(await draft_view.view(connection, draft_id), tenant)


async def open_policies(connection: Connection, tenant: str) -> list[Document]:
    """Return the documents of the attribute policies that open drafts of a tenant write."""
    table = attribute_policies.TABLE
    records = await connection.fetch(
        f"SELECT {table.selected} FROM draft_rows AS d,"  # noqa: S608
        f" jsonb_populate_record(NULL::{table.name}, d.row) AS t"
        f" WHERE d.tenant_id = $1 AND d.kind = '{table.kind}' AND d.row IS NOT NULL AND deleted_at IS NULL",
        tenant,
        timeout=_WITHIN_S,
    )
    return table.documents(records)


def _draft(record: asyncpg.Record) -> Draft:
    members = dict(record)
    for name in ("created_by", "published_by"):
        members[name] = None if members[name] is None else decode_stored(members[name])
    return Draft(**members)

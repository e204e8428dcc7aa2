"""Creates, replaces and deletes rows of any kind in a `Change`, and records each of them there.

Input: documents. Output: `Stored`, or `Conflict`, `NotFound`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Clash, Conflict, NotFound
from extauthz.storage.rows import Stored

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from extauthz.storage.rows import Document, Table
    from extauthz.storage.write import Change


async def create(
    change: Change, table: Table, documents: Sequence[Mapping[str, object]], *, by_domain_admin: bool = False
) -> tuple[Stored, ...] | Conflict:
    """Insert complete documents, ids included, and return their rows in the same order."""
    rows = tuple(table.normalised(document) for document in documents)
    stored = await table.insert(
        change.connection, change.tenant, rows, revision=change.revision, by_domain_admin=by_domain_admin
    )
    if len(stored) < len(rows):
        clashes = await table.clashes(change.connection, change.tenant, rows)
        return clashes or _same_ids(table, rows, stored)
    for row in rows:
        change.note("create", table.kind, str(row["id"]), after=row)
    return tuple(stored[str(row["id"])] for row in rows)


async def current(change: Change, table: Table, row_id: UUID) -> Stored | NotFound:
    """Return the row that is about to be changed."""
    stored = await table.fetch(change.connection, change.tenant, row_id)
    return NotFound(table.kind, str(row_id)) if stored is None else stored


async def replace(
    change: Change, table: Table, document: Mapping[str, object], *, by_domain_admin: bool = False
) -> Stored | NotFound | Conflict:
    """Store another complete document under the id of an existing one.

    The same document again has no effect.
    """
    row = table.normalised(document)
    before = await current(change, table, UUID(str(row["id"])))
    if not isinstance(before, Stored):
        return before
    if same(before, row, by_domain_admin=by_domain_admin):
        return before
    if clashes := await table.clashes(change.connection, change.tenant, [row]):
        return clashes
    after = await table.update(
        change.connection, change.tenant, row, revision=change.revision, by_domain_admin=by_domain_admin
    )
    change.note("update", table.kind, after.id, before=before.document, after=row)
    return after


async def remove(change: Change, table: Table, row_id: UUID) -> Stored | NotFound:
    """Delete a row and return it."""
    before = await current(change, table, row_id)
    if isinstance(before, Stored):
        await remove_all(change, table, [before])
    return before


async def remove_all(change: Change, table: Table, rows: Sequence[Stored]) -> None:
    """Delete rows that the change has read."""
    await table.delete(change.connection, change.tenant, [row.id for row in rows])
    for row in rows:
        change.note("delete", table.kind, row.id, before=row.document)


async def wait_for_other_tenants(change: Change, kind: str) -> None:
    """Wait for writers of this kind in other tenants, until they commit.

    For names of which each belongs to one tenant: two that give up and take each other's would deadlock.
    """
    await change.connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('extauthz ' || $1::text, 0))", kind
    )


def same(stored: Stored, row: Document, *, by_domain_admin: bool) -> bool:
    """Return whether `row` equals the stored row. Compared as JSON text, because in Python True equals 1."""
    return stored.by_domain_admin == by_domain_admin and encode_json(stored.document) == encode_json(row)


def _same_ids(table: Table, rows: Sequence[Document], stored: Collection[str]) -> Conflict:
    taken = [(index, str(row["id"])) for index, row in enumerate(rows) if row["id"] not in stored]
    return Conflict(table.kind, tuple(Clash(index, row_id, "has the same id") for index, row_id in taken))

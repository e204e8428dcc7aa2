"""Many rows of one kind replaced or deleted at once, in a few statements instead of a few for each row.

Input: rows that the change has read. Output: the rows afterwards, or `Conflict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.storage import attribute_policies, editing
from extauthz.storage.rows import Stored, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.storage.outcome import Conflict
    from extauthz.storage.rows import Document, Table
    from extauthz.storage.write import Change

_WITHIN_S = 15.0


async def replace_all(
    change: Change,
    table: Table,
    documents: Sequence[Mapping[str, object]],
    present: Mapping[str, Stored],
    *,
    by_domain_admin: bool = False,
) -> Conflict | None:
    """Store other documents under the ids of rows, each id once; `present` are the rows by id.

    The same document again has no effect.
    """
    rows = [table.normalised(document) for document in documents]
    changed = [
        row for row in rows if not editing.same(present[str(row["id"])], row, by_domain_admin=by_domain_admin)
    ]
    if not changed:
        return None
    if clashes := await table.clashes(change.connection, change.tenant, rows):
        return clashes
    after = await _update(change, table, changed, by_domain_admin=by_domain_admin)
    if table is attribute_policies.TABLE:
        await attribute_policies.keep_versions(
            change, [(row, after[str(row["id"])].version) for row in changed], deleted=False
        )
    for row in changed:
        before = present[str(row["id"])].document
        change.note("update", table.kind, str(row["id"]), before=before, after=row)
    return None


async def _update(
    change: Change, table: Table, documents: Sequence[Document], *, by_domain_admin: bool
) -> dict[str, Stored]:
    author = f", by_domain_admin = {str(by_domain_admin).lower()}" if table.has_author else ""
    version = ", version = version + 1" if "version" in table.marks else ""
    # Other names than those of the columns, so that what is returned is of the table.
    given = [f"new_{column.name}" for column in table.columns]
    sets = ", ".join(
        f"{column.name} = r.{name}{column.cast}" for column, name in zip(table.columns, given, strict=True)
    )
    arrays = ", ".join(f"${index}::{column.array}" for index, column in enumerate(table.columns, start=4))
    statement = (
        f"UPDATE {table.name} SET {sets}, revision = $2, updated_at = now(){author}{version}"  # noqa: S608
        f" FROM unnest($3::text[]::uuid[], {arrays}) AS r (row_id, {', '.join(given)})"
        f" WHERE tenant_id = $1 AND id = r.row_id RETURNING {table.selected_with_marks}"
    )
    found: dict[str, Stored] = {}
    for part in parts(documents):
        records = await change.connection.fetch(
            statement,
            change.tenant,
            change.revision,
            [document["id"] for document in part],
            *([column.listed(document.get(column.member)) for document in part] for column in table.columns),
            timeout=_WITHIN_S,
        )
        found |= {stored.id: stored for stored in map(table.stored, records)}
    return found


async def delete_all(change: Change, table: Table, rows: Sequence[Stored]) -> None:
    """Delete rows that the change has read; attribute policies softly."""
    if table is attribute_policies.TABLE:
        await attribute_policies.delete_all(change, [row.id for row in rows])
    else:
        await editing.remove_all(change, table, rows)

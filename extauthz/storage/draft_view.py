"""The rows of a tenant as a draft would leave them, for SELECT statements: nothing is written or locked.

In a statement, a common table expression with the name of a table hides the table. So the statements of
`storage` read a draft unchanged: `DraftView` puts in front of each of them the live rows that the draft does
not change, together with the draft's own rows.

INVARIANT: in every statement `$1` is the tenant, as everywhere in `storage`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from extauthz.storage import attribute_policies, resources, role_bindings, role_rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Table

TABLES: Final[Mapping[str, Table]] = {
    table.kind: table
    for table in (resources.TABLE, role_rules.TABLE, role_bindings.TABLE, attribute_policies.TABLE)
}
"""The tables whose rows a draft changes, by the kind of row."""
_DRAFT: Final = "(SELECT current_setting('extauthz.draft')::uuid)"
_VERSIONS: Final = "policy_id, version, deleted, document, actor, revision, created_at"


def columns_of(table: Table) -> tuple[str, ...]:
    """Return every column of a table but the tenant."""
    return ("id", *(column.name for column in table.columns), *table.marks)


def drafted(table: Table) -> str:
    """Return the columns of `r`, a row that was read from JSON, in which JSON's null is NULL."""
    json = {column.name for column in table.columns if column.type == "jsonb"}
    return ", ".join(
        f"coalesce(r.{name}, 'null') AS {name}" if name in json else f"r.{name}" for name in columns_of(table)
    )


def _rows(table: Table) -> str:
    names = columns_of(table)
    live = ", ".join(f"live.{name}" for name in names)
    return (
        f"SELECT live.tenant_id, {live} FROM {table.name} AS live WHERE live.tenant_id = $1"  # noqa: S608
        # NOT IN is a hash that is filled once; an anti-join may become a loop over all rows of the draft.
        " AND live.id NOT IN (SELECT d.row_id FROM draft_rows AS d WHERE d.tenant_id = $1"
        f" AND d.draft_id = {_DRAFT} AND d.kind = '{table.kind}')"
        f" UNION ALL SELECT d.tenant_id, {drafted(table)}"
        f" FROM draft_rows AS d, jsonb_populate_record(NULL::{table.name}, d.row) AS r"
        f" WHERE d.tenant_id = $1 AND d.draft_id = {_DRAFT} AND d.kind = '{table.kind}'"
        " AND d.row IS NOT NULL"
    )


_READ: Final[Mapping[str, str]] = {table.name: _rows(table) for table in TABLES.values()} | {
    "attribute_policy_versions": (
        f"SELECT live.tenant_id, {_VERSIONS} FROM attribute_policy_versions AS live WHERE live.tenant_id = $1"  # noqa: S608
        f" UNION ALL SELECT d.tenant_id, {_VERSIONS} FROM draft_rows AS d,"
        " jsonb_populate_recordset(NULL::attribute_policy_versions, d.side -> 'versions') AS r"
        f" WHERE d.tenant_id = $1 AND d.draft_id = {_DRAFT} AND d.kind = 'attribute_policy'"
    ),
    "default_roles_applied": (
        "SELECT live.tenant_id, live.resource_name, live.revision FROM default_roles_applied AS live"  # noqa: S608
        " WHERE live.tenant_id = $1"
        " UNION ALL SELECT d.tenant_id, d.row ->> 'name', (d.side ->> 'applied')::bigint FROM draft_rows AS d"
        f" WHERE d.tenant_id = $1 AND d.draft_id = {_DRAFT} AND d.kind = 'resource' AND d.side ? 'applied'"
    ),
}
_NAMES: Final = re.compile(rf"\b(?:FROM|JOIN) ({'|'.join(_READ)})\b", re.ASCII)


@cache
def in_draft(query: str) -> str:
    """Return a SELECT statement with the tables of policies replaced by what the draft makes of them."""
    names = sorted(set(_NAMES.findall(query)))
    if not names:
        return query
    assert query.startswith("SELECT"), "a view of a draft reads"
    expressions = ", ".join(f"{name} AS NOT MATERIALIZED ({_READ[name]})" for name in names)
    return f"WITH {expressions} {query}"


class DraftView:
    """A connection that reads the state of a draft; make one with `view`."""

    def __init__(self, connection: Connection) -> None:
        """Take the connection, in a transaction in which the setting `extauthz.draft` is the draft."""
        self.live = connection

    async def fetch(self, query: str, *args: object, **options: Any) -> Any:
        """Return all rows."""
        return await self.live.fetch(in_draft(query), *args, **options)

    async def fetchrow(self, query: str, *args: object, **options: Any) -> Any:
        """Return the first row."""
        return await self.live.fetchrow(in_draft(query), *args, **options)

    async def fetchval(self, query: str, *args: object, **options: Any) -> Any:
        """Return the first column of the first row."""
        return await self.live.fetchval(in_draft(query), *args, **options)


async def view(connection: Connection, draft_id: UUID) -> Any:
    """Return what reads the state of a draft until the end of the connection's transaction."""
    await connection.execute("SELECT set_config('extauthz.draft', $1, true)", str(draft_id))
    return DraftView(connection)

"""Policy tests: decision cases of a tenant, which raise no revision of its policies.

Input: documents. Output: `Stored`, `Page`, or `Conflict`, `NotFound`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.storage import editing
from extauthz.storage.columns import Column
from extauthz.storage.conditions import equal
from extauthz.storage.rows import MAX_PAGE, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from extauthz.storage.outcome import Conflict, NotFound
    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "policy_test",
    "policy_tests",
    [
        Column("name", "name"),
        Column("principal", "principal", "jsonb", optional=True),
        Column("token", "token", "jsonb", optional=True),
        Column("request", "request", "jsonb"),
        Column("expect", "expect", "jsonb"),
        Column("now", "now_at", optional=True),
    ],
    unique=("name",),
)


async def create(change: Change, documents: Sequence[Mapping[str, object]]) -> tuple[Stored, ...] | Conflict:
    """Insert tests; the name of another one is a conflict."""
    return await editing.create(change, TABLE, documents)


async def replace(change: Change, document: Mapping[str, object]) -> Stored | NotFound | Conflict:
    """Replace a test by id."""
    return await editing.replace(change, TABLE, document)


async def delete(change: Change, test_id: UUID) -> Stored | NotFound:
    """Delete a test by id."""
    return await editing.remove(change, TABLE, test_id)


async def get(connection: Connection, tenant: str, test_id: UUID) -> Stored | None:
    """Return one test; None if it does not exist."""
    return await TABLE.fetch(connection, tenant, test_id)


async def page(
    connection: Connection,
    tenant: str,
    *,
    name: str | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of tests in the order of ids."""
    return await TABLE.page(connection, tenant, where=equal(name=name), after=after, limit=limit)


async def every(connection: Connection, tenant: str) -> list[Document]:
    """Return the documents of all tests of a tenant in the order of ids."""
    records = await connection.fetch(
        f"SELECT {TABLE.selected} FROM policy_tests AS t WHERE tenant_id = $1 ORDER BY t.id",  # noqa: S608
        tenant,
    )
    return TABLE.documents(records)

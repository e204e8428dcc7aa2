"""The settings of a tenant for changes of its policies: what stands between a change and its being live.

Input: a connection in a transaction of the tenant. Output: `Guard`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from extauthz.storage.encoding import decode_stored, encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

KIND: Final = "change_guard"
EVERY_WRITE: Final = "every_write"


@dataclass(frozen=True, slots=True)
class Guard:
    """The settings of a tenant, and the number of their last write (0: there is none)."""

    document: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0

    @property
    def tests_every_write(self) -> bool:
        """Whether policy tests run on direct writes, too."""
        return self.document.get("tests") == EVERY_WRITE


async def get(connection: Connection, tenant: str) -> Guard:
    """Return the settings of a tenant."""
    record = await connection.fetchrow(
        "SELECT document::text, revision FROM change_guards WHERE tenant_id = $1", tenant
    )
    if record is None:
        return Guard()
    document = decode_stored(record["document"])
    return Guard(document if isinstance(document, dict) else {}, record["revision"])


async def put(change: Change, document: Document) -> Guard:
    """Replace the settings of a tenant; the same ones again have no effect."""
    before = await get(change.connection, change.tenant)
    if encode_json(before.document) == encode_json(document):
        return before
    await change.connection.execute(
        "INSERT INTO change_guards AS g (tenant_id, document, revision) VALUES ($1, $2::jsonb, $3)"
        " ON CONFLICT (tenant_id) DO UPDATE SET document = excluded.document, revision = excluded.revision,"
        " updated_at = now()",
        change.tenant,
        encode_json(document),
        before.revision + 1,
    )
    change.note("update", KIND, change.tenant, before=dict(before.document), after=document)
    return Guard(document, before.revision + 1)

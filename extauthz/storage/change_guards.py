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
NOUNS: Final = frozenset({"resource", "role_rule", "role_binding", "attribute_policy"})
"""The kinds of rows that a guard covers where it names none."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The settings of a tenant, and the number of their last write (0: there is none)."""

    document: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0

    @property
    def tests_every_write(self) -> bool:
        """Whether policy tests run on direct writes, too."""
        return self.document.get("tests") == EVERY_WRITE

    @property
    def max_newly_allowed(self) -> int | None:
        """The most requests that a draft may newly allow without an approval; None: no limit."""
        return _limit(self.document.get("max_newly_allowed"))

    @property
    def max_newly_denied(self) -> int | None:
        """The most requests that a draft may newly deny without an approval; None: no limit."""
        return _limit(self.document.get("max_newly_denied"))

    @property
    def is_set(self) -> bool:
        """Whether guarded nouns need a draft, a replay, and where it exceeds a limit an approval."""
        return self.max_newly_allowed is not None or self.max_newly_denied is not None

    @property
    def nouns(self) -> frozenset[str]:
        """The kinds of rows that are guarded."""
        nouns = self.document.get("nouns")
        return frozenset(map(str, nouns)) if isinstance(nouns, list) else NOUNS


def _limit(value: object) -> int | None:
    # Fail closed: a limit that cannot be read allows nothing without an approval.
    return None if value is None else value if isinstance(value, int) else 0


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

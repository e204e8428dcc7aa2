"""Role bindings: Casbin's grouping policies (`g`), including inheritance between roles.

Input: documents. Output: `Stored`, `Page`, or `Conflict`, `NotFound`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from extauthz.domain.time_text import rfc3339
from extauthz.storage import editing
from extauthz.storage.columns import Column
from extauthz.storage.conditions import EveryDomain, equal, in_domains
from extauthz.storage.rows import MAX_PAGE, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from extauthz.domain.policy import RoleBinding
    from extauthz.storage.outcome import Conflict, NotFound
    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "role_binding",
    "role_bindings",
    [
        Column("user", "member"),
        Column("user_kind", "member_kind"),
        Column("role", "role"),
        Column("dom", "dom"),
        Column("expires_at", "expires_at", "timestamptz"),
    ],
    unique=("member", "member_kind", "role", "dom"),
    marks=("by_domain_admin",),
)


def document_of(binding: RoleBinding) -> Document:
    """Return the document of a binding."""
    document: Document = {
        "id": binding.id,
        "user": binding.user,
        "user_kind": binding.user_kind.value,
        "role": binding.role,
        "dom": binding.dom,
    }
    if binding.expires_at is not None:
        document["expires_at"] = rfc3339(datetime.fromtimestamp(binding.expires_at, UTC))
    return document


async def create(
    change: Change, documents: Sequence[Mapping[str, object]], *, by_domain_admin: bool = False
) -> tuple[Stored, ...] | Conflict:
    """Insert role bindings; an equal binding is a conflict, also with another expiry."""
    return await editing.create(change, TABLE, documents, by_domain_admin=by_domain_admin)


async def replace(
    change: Change, document: Mapping[str, object], *, by_domain_admin: bool = False
) -> Stored | NotFound | Conflict:
    """Replace a role binding by id."""
    return await editing.replace(change, TABLE, document, by_domain_admin=by_domain_admin)


async def delete(change: Change, binding_id: UUID) -> Stored | NotFound:
    """Delete a role binding by id."""
    return await editing.remove(change, TABLE, binding_id)


async def get(connection: Connection, tenant: str, binding_id: UUID) -> Stored | None:
    """Return one role binding; None if it does not exist."""
    return await TABLE.fetch(connection, tenant, binding_id)


async def page(
    connection: Connection,
    tenant: str,
    *,
    user: str | None = None,
    role: str | None = None,
    dom: str | None = None,
    domains: Collection[str] | EveryDomain | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of role bindings in the order of ids; `domains`: those of a domain admin (None: all)."""
    where = equal(member=user, role=role, dom=dom) | in_domains("dom", domains)
    return await TABLE.page(connection, tenant, where=where, after=after, limit=limit)


async def inheritance(change: Change) -> tuple[Document, ...]:
    """Return every role-to-role binding as of the end of the change, for the check for cycles."""
    records = await change.connection.fetch(
        f"SELECT {TABLE.selected} FROM role_bindings AS t"  # noqa: S608 - our own columns
        " WHERE tenant_id = $1 AND member_kind = 'role' ORDER BY t.id",
        change.tenant,
    )
    return tuple(TABLE.documents(records))

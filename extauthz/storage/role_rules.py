"""Role rules: Casbin's policies (`p`), found by id and by value.

Input: documents. Output: `Stored`, `Page`, or `Conflict`, `NotFound`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.storage import editing
from extauthz.storage.columns import Column
from extauthz.storage.conditions import EveryDomain, equal, in_domains
from extauthz.storage.outcome import Clash, Conflict, NotFound
from extauthz.storage.rows import MAX_PAGE, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from extauthz.domain.policy import RoleRule
    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "role_rule",
    "role_rules",
    [Column(name, name) for name in ("sub", "sub_kind", "dom", "obj", "act", "effect")],
    unique=("sub", "sub_kind", "dom", "obj", "act", "effect"),
    marks=("by_domain_admin",),
)


def document_of(rule: RoleRule) -> Document:
    """Return the document of a rule, with its defaults written out."""
    return TABLE.document_of(rule)


async def create(
    change: Change, documents: Sequence[Mapping[str, object]], *, by_domain_admin: bool = False
) -> tuple[Stored, ...] | Conflict:
    """Insert role rules; an equal rule is a conflict."""
    return await editing.create(change, TABLE, documents, by_domain_admin=by_domain_admin)


async def replace(
    change: Change, document: Mapping[str, object], *, by_domain_admin: bool = False
) -> Stored | NotFound | Conflict:
    """Replace a role rule by id."""
    return await editing.replace(change, TABLE, document, by_domain_admin=by_domain_admin)


async def delete(change: Change, rule_id: UUID) -> Stored | NotFound:
    """Delete a role rule by id."""
    return await editing.remove(change, TABLE, rule_id)


async def delete_all(change: Change, rules: Sequence[Stored]) -> None:
    """Delete role rules that the change has read."""
    await editing.remove_all(change, TABLE, rules)


async def on_resource(connection: Connection, tenant: str, obj: str, *, limit: int) -> tuple[Stored, ...]:
    """Return at most `limit` rules with a resource, in the order of ids."""
    records = await connection.fetch(
        f"SELECT {TABLE.selected_with_marks} FROM role_rules AS t"  # noqa: S608 - our own columns
        " WHERE tenant_id = $1 AND obj = $2 ORDER BY t.id LIMIT $3",
        tenant,
        obj,
        limit,
    )
    return tuple(map(TABLE.stored, records))


async def denied_by_tenant_admins(
    connection: Connection, tenant: str, roles: Collection[str], dom: str
) -> bool:
    """Return whether a deny rule of a tenant admin for one of the roles applies in a domain."""
    found = await connection.fetchval(
        "SELECT true FROM role_rules WHERE tenant_id = $1 AND effect = 'deny' AND NOT by_domain_admin"
        " AND sub_kind IN ('role', 'any') AND sub = ANY($2::text[]) AND dom IN ($3, '*') LIMIT 1",
        tenant,
        list(roles),
        dom,
    )
    return bool(found)


async def get(connection: Connection, tenant: str, rule_id: UUID) -> Stored | None:
    """Return one role rule; None if it does not exist."""
    return await TABLE.fetch(connection, tenant, rule_id)


async def by_value(
    connection: Connection,
    tenant: str,
    *,
    sub: str,
    dom: str,
    obj: str,
    act: str | None,
    sub_kind: str | None = None,
    effect: str | None = None,
) -> Stored | NotFound | Conflict:
    """Return the rule with (sub, dom, obj, act), else the only rule with (sub, dom, obj).

    `sub_kind` and `effect`, if given, must match too. Several rules are a conflict that names all of them.
    """
    where = equal(sub=sub, dom=dom, obj=obj, sub_kind=sub_kind, effect=effect)
    found = (await TABLE.page(connection, tenant, where=where)).items
    exact = tuple(stored for stored in found if stored.document["act"] == act)
    meant = exact or found
    if not meant:
        return NotFound(TABLE.kind, f"{sub}, {dom}, {obj}" + (f", {act}" if act is not None else ""))
    if len(meant) == 1:
        return meant[0]
    return Conflict(TABLE.kind, tuple(Clash(0, stored.id, "has this value too") for stored in meant))


async def page(
    connection: Connection,
    tenant: str,
    *,
    obj: str | None = None,
    sub: str | None = None,
    dom: str | None = None,
    domains: Collection[str] | EveryDomain | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of role rules in the order of ids; `domains`: those of a domain admin (None: all)."""
    where = equal(obj=obj, sub=sub, dom=dom) | in_domains("dom", domains)
    return await TABLE.page(connection, tenant, where=where, after=after, limit=limit)

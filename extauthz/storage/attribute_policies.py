"""Attribute policies: a write adds a version, a delete marks the row, a deleted policy can be restored.

Input: a `Change` or a connection, documents. Output: `Stored`, `Page`, or a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import asyncpg

from extauthz.storage import editing
from extauthz.storage.columns import Column, bounded_times
from extauthz.storage.conditions import EveryDomain, conditions_of, equal, in_domains
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import NotFound
from extauthz.storage.rows import MAX_PAGE, Document, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from extauthz.domain.policy import AttributePolicy
    from extauthz.storage.outcome import Conflict
    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "attribute_policy",
    "attribute_policies",
    [
        Column("name", "name"),
        Column("resource", "resource"),
        Column("actions", "actions", "names"),
        Column("domain", "domain"),
        Column("effect", "effect"),
        Column("priority", "priority", "integer"),
        Column("enabled", "enabled", "boolean"),
        Column("mode", "mode"),
        Column("format", "format"),
        Column("rule_data", "rule_data", "jsonb"),
    ],
    marks=("by_domain_admin", "version", "deleted_at"),
)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a policy. `deleted`: from this version on it was not evaluated."""

    version: int
    deleted: bool
    document: Document
    actor: object
    revision: int
    created_at: datetime


def document_of(policy: AttributePolicy, *, notation: str, rule_data: object) -> Document:
    """Return the document of a policy, with its defaults written out.

    `rule_data` is kept as the author wrote it, in the `notation` (`format`).
    """
    return {
        "id": policy.id,
        "name": policy.name,
        "resource": policy.resource,
        "actions": list(policy.actions),
        "domain": policy.domain,
        "effect": policy.effect.value,
        "priority": policy.priority,
        "enabled": policy.enabled,
        "mode": policy.mode.value,
        "format": notation,
        "rule_data": rule_data,
    }


async def create(
    change: Change, documents: Sequence[Mapping[str, object]], *, by_domain_admin: bool = False
) -> tuple[Stored, ...] | Conflict:
    """Insert attribute policies as version 1."""
    created = await editing.create(change, TABLE, documents, by_domain_admin=by_domain_admin)
    if isinstance(created, tuple):
        await keep_versions(change, [(stored.document, 1) for stored in created], deleted=False)
    return created


async def replace(
    change: Change, document: Mapping[str, object], *, by_domain_admin: bool = False
) -> Stored | NotFound:
    """Replace a policy that is not deleted; the same document again has no effect."""
    row = TABLE.normalised(document)
    before = await _present(change, UUID(str(row["id"])))
    if not isinstance(before, Stored) or editing.same(before, row, by_domain_admin=by_domain_admin):
        return before
    after = await TABLE.update(
        change.connection,
        change.tenant,
        row,
        revision=change.revision,
        by_domain_admin=by_domain_admin,
        also=", version = version + 1",
    )
    await keep_versions(change, [(row, after.version)], deleted=False)
    change.note("update", TABLE.kind, after.id, before=before.document, after=row)
    return after


async def delete(change: Change, policy_id: UUID) -> Stored | NotFound:
    """Mark a policy as deleted: it is not evaluated any more; `restore` undoes it."""
    before = await _present(change, policy_id)
    if isinstance(before, Stored):
        await delete_all(change, [before.id])
    return before


async def on_resource(connection: Connection, tenant: str, resource: str) -> tuple[str, ...]:
    """Return the ids of the policies for a resource that are not deleted."""
    records = await connection.fetch(
        "SELECT id::text FROM attribute_policies AS t"
        " WHERE tenant_id = $1 AND resource = $2 AND deleted_at IS NULL ORDER BY t.id",
        tenant,
        resource,
    )
    return tuple(record["id"] for record in records)


async def denies_of_tenant_admins(
    connection: Connection, tenant: str, domain: str, *, naming: str
) -> list[Document]:
    """Return the deny policies of tenant admins with a priority of 0 or above that apply in a domain.

    Only policies whose conditions contain the text `naming`, such as the name of an attribute.
    """
    records = await connection.fetch(
        f"SELECT {TABLE.selected} FROM attribute_policies AS t"  # noqa: S608 - our own columns
        " WHERE tenant_id = $1 AND effect = 'deny' AND NOT by_domain_admin AND domain IN ($2, '*')"
        " AND priority >= 0 AND enabled AND mode = 'enforce' AND deleted_at IS NULL"
        " AND strpos(rule_data::text, $3) > 0",
        tenant,
        domain,
        naming,
    )
    return TABLE.documents(records)


async def delete_all(change: Change, policy_ids: Sequence[str]) -> None:
    """Mark policies as deleted; the change has found that they are not deleted yet."""
    try:
        async with change.connection.transaction():
            states = await _marked(change, policy_ids, deleted=True)
    except asyncpg.CheckViolationError:
        states = await _erased(change, policy_ids)
    for state in states:
        change.note("delete", TABLE.kind, state.id, before=state.document)


async def _erased(change: Change, policy_ids: Sequence[str]) -> list[Stored]:
    """Delete policies permanently, with their versions.

    A damaged row that violates a constraint cannot be marked as deleted, because PostgreSQL checks the whole
    row on UPDATE. The audit trail keeps its document.
    """
    records = await change.connection.fetch(
        "DELETE FROM attribute_policies WHERE tenant_id = $1 AND id = ANY($2::uuid[])"  # noqa: S608
        f" RETURNING {TABLE.selected_with_marks}",
        change.tenant,
        list(policy_ids),
    )
    return sorted(map(TABLE.stored, records), key=lambda stored: stored.id)


async def restore(change: Change, policy_id: UUID) -> Stored | NotFound:
    """Restore a deleted policy unchanged; a policy that is not deleted stays unchanged."""
    before = await editing.current(change, TABLE, policy_id)
    if not isinstance(before, Stored) or before.deleted_at is None:
        return before
    (after,) = await _marked(change, [before.id], deleted=False)
    change.note("restore", TABLE.kind, after.id, after=after.document)
    return after


async def get(connection: Connection, tenant: str, policy_id: UUID) -> Stored | None:
    """Return one policy, also a deleted one (`deleted_at`); None if it does not exist."""
    return await TABLE.fetch(connection, tenant, policy_id)


async def page(
    connection: Connection,
    tenant: str,
    *,
    deleted: bool = False,
    resource: str | None = None,
    domains: Collection[str] | EveryDomain | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of the policies that are not deleted, or of the deleted ones, in the order of ids."""
    where: dict[str, object] = {f"deleted_at IS {'NOT ' if deleted else ''}NULL": None}
    where |= equal(resource=resource) | in_domains("domain", domains)
    return await TABLE.page(connection, tenant, where=where, after=after, limit=limit)


async def versions(
    connection: Connection,
    tenant: str,
    policy_id: UUID,
    *,
    domains: Collection[str] | EveryDomain | None = None,
    after: int | None = None,
    limit: int = MAX_PAGE,
) -> Page[Version]:
    """Return a page of a policy's versions, oldest first; `domains`: those of a domain admin (None: all)."""
    limit = max(1, min(limit, MAX_PAGE))
    values: list[object] = [tenant, policy_id, after or 0]
    conditions = [
        "tenant_id = $1 AND policy_id = $2 AND version > $3::bigint",
        *conditions_of(in_domains("(document ->> 'domain')", domains), values),
    ]
    records = await connection.fetch(
        f"SELECT version, deleted, document::text, actor::text, revision, {bounded_times('created_at')}"  # noqa: S608
        f" FROM attribute_policy_versions WHERE {' AND '.join(conditions)}"
        f" ORDER BY version LIMIT {limit + 1}",
        *values,
    )
    items = tuple(
        Version(
            record["version"],
            record["deleted"],
            cast("Document", decode_stored(record["document"])),
            decode_stored(record["actor"]),
            record["revision"],
            record["created_at"],
        )
        for record in records[:limit]
    )
    return Page(items, str(items[-1].version) if len(records) > limit else None)


async def _present(change: Change, policy_id: UUID) -> Stored | NotFound:
    stored = await editing.current(change, TABLE, policy_id)
    if isinstance(stored, Stored) and stored.deleted_at is not None:
        return NotFound(TABLE.kind, str(policy_id))
    return stored


async def _marked(change: Change, policy_ids: Sequence[str], *, deleted: bool) -> list[Stored]:
    """Mark policies, which were read under the tenant's lock, as deleted or as restored."""
    records = await change.connection.fetch(
        f"UPDATE attribute_policies SET deleted_at = {'now()' if deleted else 'NULL'},"  # noqa: S608
        " version = version + 1, revision = $3, updated_at = now()"
        f" WHERE tenant_id = $1 AND id = ANY($2::text[]::uuid[]) RETURNING {TABLE.selected_with_marks}",
        change.tenant,
        list(policy_ids),
        change.revision,
    )
    after = sorted(map(TABLE.stored, records), key=lambda stored: stored.id)
    await keep_versions(change, [(stored.document, stored.version) for stored in after], deleted=deleted)
    return after


async def keep_versions(
    change: Change, states: Sequence[tuple[Document, int | None]], *, deleted: bool
) -> None:
    """Keep documents of policies as the versions that they are now."""
    await change.connection.execute(
        "INSERT INTO attribute_policy_versions"
        " (tenant_id, policy_id, version, deleted, document, actor, revision)"
        " SELECT $1, r.id, r.version, $2, r.document::jsonb, $3::jsonb, $4"
        " FROM unnest($5::text[]::uuid[], $6::text[]::bigint[], $7::text[]) AS r (id, version, document)",
        change.tenant,
        deleted,
        encode_json(change.actor.document()),
        change.revision,
        [document["id"] for document, _ in states],
        [None if version is None else str(version) for _, version in states],
        [encode_json(document) for document, _ in states],
    )

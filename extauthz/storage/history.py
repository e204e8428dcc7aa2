"""Rebuilds what a tenant had at an earlier revision, from its live rows and the versions in `row_history`.

Input: a connection in a read-only transaction of the tenant (`write.read`), so that all statements see one
snapshot. Output: the documents at a revision, or what leads back to them from the live ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from extauthz.domain.tenant_config import TenantConfig
from extauthz.storage import attribute_policies, feed, resources, revisions, role_bindings, role_rules
from extauthz.storage.encoding import decode_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Connection
    from extauthz.storage.revisions import Revision
    from extauthz.storage.rows import Document, Table

_TABLES: Final[Mapping[str, Table]] = {
    table.kind: table
    for table in (resources.TABLE, role_rules.TABLE, role_bindings.TABLE, attribute_policies.TABLE)
}
_REGISTERED: Final = {
    "tenant_host": ("tenant_hosts", "host"),
    "identity_provider": ("identity_providers", "id::text"),
    "service_key": ("service_api_keys", "id::text"),
}
"""Kinds of the configuration, with their table and the column that names the row."""
_ROWS_A_STATEMENT: Final = 10_000
_WITHIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class NotKept:
    """Why a revision cannot be rebuilt: it is older than `first` (None: nothing is kept) or after `newest`.

    `problems` are those of rows that contradict each other.
    """

    first: Revision | None
    newest: int
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier revision, and the changes that lead back to it from the live rows at `head`."""

    revision: Revision
    head: int
    changes: tuple[feed.RowChange, ...]


async def policies_at(connection: Connection, tenant: str, revision: int) -> feed.TenantDocuments | NotKept:
    """Return the documents that a tenant had at a revision, as `feed.documents` returns the live ones.

    The configuration has the status and the hosts of that revision. It has neither providers nor keys:
    `registered_at` returns what was registered, without anything that verifies a credential.
    """
    past = await past_of(connection, tenant, revision)
    live = await feed.documents(connection, tenant) if isinstance(past, Past) else None
    if not isinstance(past, Past) or live is None:
        return past if isinstance(past, NotKept) else NotKept(None, 0)
    tables = {
        "resource": live.resources,
        "role_rule": live.role_rules,
        "role_binding": live.role_bindings,
        "attribute_policy": live.attribute_policies,
    }
    rows = {(kind, str(document["id"])): document for kind, table in tables.items() for document in table}
    for change in past.changes:
        if change.row is None:
            rows.pop((change.kind, change.id), None)
        else:
            rows[change.kind, change.id] = change.row
    found: dict[str, list[Document]] = {kind: [] for kind in tables}
    for kind, row_id in sorted(rows):
        found[kind].append(rows[kind, row_id])
    hosts = await registered_at(connection, tenant, "tenant_host", revision)
    suspended = await was_suspended(connection, tenant, revision)
    return replace(
        live,
        revision=revision,
        status="suspended" if suspended else "active",
        resources=found["resource"],
        role_rules=found["role_rule"],
        role_bindings=found["role_binding"],
        attribute_policies=found["attribute_policy"],
        config=TenantConfig(suspended=suspended, hosts=tuple(sorted(str(host["host"]) for host in hosts))),
        written_at=past.revision.written_at,
    )


async def head(connection: Connection, tenant: str) -> int | None:
    """Return the tenant's revision; None if it does not exist."""
    found: int | None = await connection.fetchval(
        "SELECT revision FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL", tenant
    )
    return found


async def past_of(connection: Connection, tenant: str, revision: int) -> Past | NotKept:
    """Return how a tenant's policies come back to a revision; its cost is that of what changed since."""
    newest = await head(connection, tenant)
    found = await revisions.in_force(connection, tenant, revision)
    if newest is None or found is None or revision > newest:
        return NotKept(await revisions.first(connection, tenant), newest or 0)
    changes: dict[tuple[str, str], feed.RowChange] = {}
    for kind, table in _TABLES.items():
        # What was written since did not exist, unless an earlier version of it says otherwise.
        records = await connection.fetch(
            f"SELECT id::text FROM {table.name} WHERE tenant_id = $1 AND revision > $2",  # noqa: S608
            tenant,
            revision,
            timeout=_WITHIN_S,
        )
        for record in records:
            changes[kind, record["id"]] = feed.RowChange(kind, record["id"], None)  # type: ignore[arg-type]
    for kind, row_id, columns in await _versions(connection, tenant, list(_TABLES), revision):
        row = None if columns.get("deleted_at") else _TABLES[kind].document_of_columns(columns)
        changes[kind, row_id] = feed.RowChange(kind, row_id, row)  # type: ignore[arg-type]
    return Past(found, newest, tuple(changes.values()))


async def registered_at(
    connection: Connection, tenant: str, kind: str, revision: int
) -> list[dict[str, object]]:
    """Return the columns of the hosts, providers or keys of a tenant at a revision.

    INVARIANT: no secret, no hash of one, and not when a key was last used.
    """
    table, name = _REGISTERED[kind]
    records = await connection.fetch(
        f"SELECT {name} AS id, (to_jsonb(t) - ARRAY['secret_sha256', 'last_used_at'])::text AS columns"  # noqa: S608
        f" FROM {table} AS t WHERE tenant_id = $1 AND revision <= $2",
        tenant,
        revision,
    )
    found = {record["id"]: _columns(record["columns"]) for record in records}
    versions = await _versions(connection, tenant, [kind], revision)
    found |= {row_id: columns for _, row_id, columns in versions}
    return [found[row_id] for row_id in sorted(found)]


async def was_suspended(connection: Connection, tenant: str, revision: int) -> bool:
    """Return whether the tenant was suspended at a revision."""
    versions = await _versions(connection, tenant, ["tenant"], revision)
    if versions:
        return versions[0][2].get("status") != "active"
    live = await connection.fetchval("SELECT status FROM tenants WHERE tenant_id = $1", tenant)
    return bool(live != "active")


async def _versions(
    connection: Connection, tenant: str, kinds: Sequence[str], revision: int
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the versions that were in force at a revision and are not live any more."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    after = ("", "")
    while True:
        part = await connection.fetch(
            "SELECT kind, id, document::text FROM row_history"  # noqa: S608 - a number of our own
            " WHERE tenant_id = $1 AND to_revision > $2 AND from_revision <= $2 AND kind = ANY($3::text[])"
            f" AND (kind, id) > ($4, $5) ORDER BY kind, id LIMIT {_ROWS_A_STATEMENT}",
            tenant,
            revision,
            list(kinds),
            *after,
            timeout=_WITHIN_S,
        )
        found += [(record["kind"], record["id"], _columns(record["document"])) for record in part]
        if len(part) < _ROWS_A_STATEMENT:
            return found
        after = (part[-1]["kind"], part[-1]["id"])


def _columns(text: str) -> dict[str, Any]:
    columns = decode_stored(text)
    assert isinstance(columns, dict), "row_history_document_shape"
    return columns

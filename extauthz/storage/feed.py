"""The queries of sidecars: revisions, all documents of a tenant, the changes since a revision. Reads only.

Input: a connection of `pool.open_reader`, inside `one_moment`, without which row-level security shows no row
(`load` enters it itself). Output: `Heads`, `TenantDocuments`, `TenantChange`s.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, cast
from uuid import UUID

import structlog

from extauthz.domain.tenant_config import TenantConfig
from extauthz.storage import attribute_policies, resources, role_bindings, role_rules, tenant_configs
from extauthz.storage.columns import bounded_times
from extauthz.storage.copied_rows import CopiedRows
from extauthz.storage.draft_view import DraftView
from extauthz.storage.encoding import decode_json
from extauthz.storage.pool import reader_transaction
from extauthz.storage.write import CONFIG_KINDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Document, Table

_log = structlog.get_logger("extauthz.storage")

_TABLES: Final[Mapping[str, Table]] = {
    table.kind: table
    for table in (resources.TABLE, role_rules.TABLE, role_bindings.TABLE, attribute_policies.TABLE)
}
_KINDS: Final = frozenset(_TABLES)
_ROWS_A_STATEMENT: Final = 20_000
_ROWS_WITHIN_S: Final = 15.0
"""Timeout of these statements, longer than that of others: a slow server must not fail a large tenant."""
_LEAST_ID: Final = UUID(int=0)
_RECORDS_A_STATEMENT: Final = 2_000
_OCTETS_A_STATEMENT: Final = 4 * 2**20
_MOST_OCTETS_FOLLOWED: Final = 32 * 2**20
"""Limits of one statement, and of all changes of a tenant. Sizes are as stored, so compressed."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The epoch, and the revision of every tenant.

    `written_at` is the time of the write with that revision. A restore can give the same revision again; then
    the time differs.
    """

    epoch: str
    revisions: Mapping[str, int]
    written_at: Mapping[str, datetime] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class TenantDocuments:
    """All policy documents of a tenant at one revision, with their ids, and its configuration."""

    tenant: str
    status: Literal["active", "suspended"]
    revision: int
    resources: list[Document]
    role_rules: list[Document] | CopiedRows
    role_bindings: list[Document]
    attribute_policies: list[Document]
    config: TenantConfig = field(default_factory=TenantConfig)
    written_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row that was written (`row` is its document) or deleted (`row` is None).

    Kinds of `write.CONFIG_KINDS` have no row; `tenant_configs.read` returns their content.
    """

    kind: Literal[
        "resource", "role_rule", "role_binding", "attribute_policy",
        "tenant", "tenant_hosts", "identity_provider", "service_key",
    ]  # fmt: skip
    id: str
    row: Document | None


@dataclass(frozen=True, slots=True)
class TenantChange:
    """The rows that changed from `predecessor` to `revision`; None: too many, the tenant must be reloaded."""

    tenant: str
    revision: int
    predecessor: int
    rows: tuple[RowChange, ...] | None
    written_at: datetime | None = field(default=None, compare=False)
    octets: int = field(default=0, compare=False)
    """The length of the change record in characters."""


@asynccontextmanager
async def one_moment(connection: Connection) -> AsyncIterator[None]:
    """Enter a transaction whose statements see one snapshot of the rows of every tenant."""
    async with reader_transaction(connection):
        yield


async def heads(connection: Connection) -> Heads:
    """Return the current revision of every tenant; cheap enough to poll every few seconds."""
    records = await connection.fetch(
        f"SELECT c.epoch::text, t.tenant_id, t.revision, {bounded_times('t.updated_at')}"  # noqa: S608
        " FROM cluster_state AS c"
        " LEFT JOIN tenants AS t ON t.deleted_at IS NULL"
    )
    tenants = [record for record in records if record["tenant_id"] is not None]
    return Heads(
        records[0]["epoch"],
        {record["tenant_id"]: record["revision"] for record in tenants},
        {record["tenant_id"]: record["updated_at"] for record in tenants},
    )


async def load(connection: Connection, tenant: str) -> TenantDocuments | None:
    """Return all documents of one tenant from one snapshot; None if the tenant does not exist."""
    async with one_moment(connection):
        return await documents(connection, tenant)


async def octets(connection: Connection, tenant: str) -> int:
    """Return the bytes of text that `documents` would read, without ids and times."""
    total = 0
    for table in _TABLES.values():
        condition = " AND deleted_at IS NULL" if table is attribute_policies.TABLE else ""
        total += await connection.fetchval(
            f"SELECT coalesce(sum({table.octets}), 0)::bigint FROM {table.name}"  # noqa: S608 - our own columns
            f" WHERE tenant_id = $1{condition}",
            tenant,
            timeout=_ROWS_WITHIN_S,
        )
    return total


async def documents(connection: Connection, tenant: str) -> TenantDocuments | None:
    """Return all documents of one tenant, in the caller's transaction; None if it does not exist."""
    head = await connection.fetchrow(
        f"SELECT status, revision, {bounded_times('updated_at')},"  # noqa: S608
        " (SELECT max(c.revision) FROM policy_changes AS c WHERE c.tenant_id = $1) AS newest_record"
        " FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL",
        tenant,
    )
    if head is None:
        return None
    if (head["newest_record"] or 0) > head["revision"]:
        _log.warning(
            "change_records_ignored",
            message="records above the tenant's revision, left over from before a restore, are ignored; "
            "the next write discards them",
            tenant=tenant,
            revision=head["revision"],
            newest_record=head["newest_record"],
        )
    # The parts of a table are in the order of its primary key. Without statistics, as after a restore, the
    # server takes a tenant for small, and would sort all rows that are left for each part.
    await connection.fetchval("SET LOCAL enable_sort = off")
    found = (
        await _documents(connection, resources.TABLE, tenant),
        await _role_rules(connection, tenant),
        await _documents(connection, role_bindings.TABLE, tenant),
        await _documents(connection, attribute_policies.TABLE, tenant, " AND deleted_at IS NULL"),
    )
    await connection.fetchval("SET LOCAL enable_sort TO DEFAULT")
    return TenantDocuments(
        tenant,
        head["status"],
        head["revision"],
        *found,
        (await tenant_configs.read(connection, [tenant]))[tenant],
        head["updated_at"],
    )


async def rows(
    connection: Connection, tenant: str, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Document]:
    """Return the documents of rows by kind and id; deleted rows are missing."""
    wanted: dict[str, list[str]] = {}
    for kind, row_id in keys:
        wanted.setdefault(kind, []).append(row_id)
    found: dict[tuple[str, str], Document] = {}
    for kind, ids in wanted.items():
        table = _TABLES[kind]
        condition = " AND t.id::text = ANY($3::text[])"
        if table is attribute_policies.TABLE:
            condition += " AND deleted_at IS NULL"
        for document in await _documents(connection, table, tenant, condition, ids):
            found[kind, str(document["id"])] = document
    return found


async def changes_since(connection: Connection, revisions: Mapping[str, int]) -> list[TenantChange]:
    """Return the changes after the given revision of each tenant, up to the current one, in order by tenant.

    Changes older than the kept history, or larger than a reload, are missing: the first change then has
    another predecessor. Records above the tenant's revision are left over from before a restore, and are
    ignored.
    """
    found = await connection.fetch(
        "SELECT c.tenant_id, c.revision, pg_column_size(c.changes) AS octets FROM policy_changes AS c"
        " JOIN unnest($1::text[], $2::text[]::bigint[]) AS seen (tenant_id, revision)"
        " ON c.tenant_id = seen.tenant_id AND c.revision > seen.revision"
        " JOIN tenants AS t ON t.tenant_id = c.tenant_id AND c.revision <= t.revision"
        " ORDER BY c.tenant_id, c.revision",
        list(revisions),
        [str(revision) for revision in revisions.values()],
    )
    changes: list[TenantChange] = []
    for part in _parts(_worth_following(found)):
        records = await connection.fetch(
            "SELECT c.tenant_id, c.revision, c.predecessor, c.changes::text,"  # noqa: S608
            f" {bounded_times('c.created_at')}"
            " FROM policy_changes AS c"
            " JOIN unnest($1::text[], $2::text[]::bigint[]) AS wanted (tenant_id, revision)"
            " ON c.tenant_id = wanted.tenant_id AND c.revision = wanted.revision"
            " ORDER BY c.tenant_id, c.revision",
            [record["tenant_id"] for record in part],
            [str(record["revision"]) for record in part],
        )
        changes += [
            TenantChange(
                record["tenant_id"],
                record["revision"],
                record["predecessor"],
                _rows(record["changes"]),
                record["created_at"],
                len(record["changes"] or ""),
            )
            for record in records
        ]
    return changes


def _worth_following(found: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return the records without those of tenants whose changes are larger than a reload."""
    octets: dict[str, int] = {}
    for record in found:
        octets[record["tenant_id"]] = octets.get(record["tenant_id"], 0) + (record["octets"] or 0)
    return [record for record in found if octets[record["tenant_id"]] <= _MOST_OCTETS_FOLLOWED]


def _parts(found: Sequence[asyncpg.Record]) -> Iterator[Sequence[asyncpg.Record]]:
    """Yield records in parts that one statement reads well within its timeout."""
    part: list[asyncpg.Record] = []
    octets = 0
    for record in found:
        if part and (len(part) == _RECORDS_A_STATEMENT or octets > _OCTETS_A_STATEMENT):
            yield part
            part, octets = [], 0
        part.append(record)
        octets += record["octets"] or 0
    if part:
        yield part


async def _documents(
    connection: Connection, table: Table, tenant: str, condition: str = "", *arguments: object
) -> list[Document]:
    found: list[Document] = []
    async for records in _in_parts(connection, table, tenant, condition, *arguments):
        # Records are freed part by part: all at once, no other thread would run meanwhile.
        found += table.documents(records)
    return found


async def _role_rules(connection: Connection | DraftView, tenant: str) -> list[Document] | CopiedRows:
    if isinstance(connection, DraftView):
        # Its statements have parameters, which COPY does not take.
        return await _documents(cast("Connection", connection), role_rules.TABLE, tenant)
    return await _copied(connection, role_rules.TABLE, tenant)


async def _copied(connection: Connection, table: Table, tenant: str) -> CopiedRows:
    """Return all rows of a table that has texts alone, read in parts as by `_in_parts`."""
    found = CopiedRows(table.members)
    # COPY takes no parameters; the server quotes the tenant.
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", tenant)
    after = _LEAST_ID
    while True:
        before = len(found)
        await connection.copy_from_query(
            f"SELECT {table.selected} FROM {table.name} AS t"  # noqa: S608 - quoted by the server
            f" WHERE tenant_id = {quoted} AND t.id > '{after}'::uuid ORDER BY t.id LIMIT {_ROWS_A_STATEMENT}",
            output=found.take,
            timeout=_ROWS_WITHIN_S,
        )
        if len(found) - before < _ROWS_A_STATEMENT:
            return found
        after = UUID(found.last("id"))


async def _in_parts(
    connection: Connection, table: Table, tenant: str, condition: str = "", *arguments: object
) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield all rows, read in parts: a statement has a timeout, and a tenant may have a million rows."""
    after = _LEAST_ID
    while True:
        part = await connection.fetch(
            f"SELECT {table.selected} FROM {table.name} AS t WHERE tenant_id = $1 AND t.id > $2{condition}"  # noqa: S608
            # t.id, because a bare id would be the selected text, for which there is no index
            f" ORDER BY t.id LIMIT {_ROWS_A_STATEMENT}",
            tenant,
            after,
            *arguments,
            timeout=_ROWS_WITHIN_S,
        )
        yield part
        if len(part) < _ROWS_A_STATEMENT:
            return
        after = UUID(part[-1]["id"])


def _rows(text: str | None) -> tuple[RowChange, ...] | None:
    """Return the rows of a change record; None (reload) if an entry is invalid or of a later version."""
    try:
        return None if text is None else change_rows(decode_json(text))
    except (ValueError, RecursionError):
        return None


def change_rows(entries: object) -> tuple[RowChange, ...] | None:
    """Return the rows of a change's JSON array; None if an entry is invalid or of a later version."""
    if not isinstance(entries, list):
        return None
    rows = tuple(_row(entry) for entry in entries)
    return None if None in rows else cast("tuple[RowChange, ...]", rows)


def _row(entry: object) -> RowChange | None:
    # INVARIANT: only `delete` deletes a row; a record with a missing or invalid row must never drop a deny.
    match entry:
        case {"op": "upsert", "kind": kind, "id": str(row_id), "row": dict(row)} if kind in _KINDS:
            return RowChange(kind, row_id, row)
        case {"op": "delete", "kind": kind, "id": str(row_id)} if kind in _KINDS:
            return RowChange(kind, row_id, None)
        case {"op": "refresh", "kind": kind, "id": str(row_id)} if kind in CONFIG_KINDS:
            return RowChange(kind, row_id, None)
        case _:
            return None

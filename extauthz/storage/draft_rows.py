"""The rows that a draft changes: put into the tables, taken out of them again, compared with the live rows.

`put` makes the tables what the draft would make of them, inside a transaction that is rolled back (a write to
the draft) or committed (its publication). `take` reads the rows that were written there. `conflicts` names
what was written live since.

INVARIANT: the caller holds the lock on the tenant's row, so that no live write runs meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.storage.draft_view import TABLES, columns_of, drafted
from extauthz.storage.rows import parts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from extauthz.storage.pool import Connection
    from extauthz.storage.rows import Stored

_WITHIN_S: Final = 15.0
"""Timeout of statements about every row of a draft."""
_WRITTEN: Final = "'{revision,updated_at,version}'::text[]"
_OF: Final = "d.tenant_id = $1 AND d.draft_id = $2"
_POLICY: Final = TABLES["attribute_policy"]
_REPLACE: Final = "(tenant_id, id) DO UPDATE SET ({names}) = ROW({values})"
_UNIQUE: Final = {
    "resource": ("name",),
    "role_rule": ("obj", "sub", "dom", "act", "sub_kind", "effect"),
    "role_binding": ("member", "role", "dom", "member_kind"),
}


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A row as its table holds it after a write to a draft (None: deleted), and what belongs to it.

    Both are JSON texts.
    """

    kind: str
    id: str
    row: str | None
    side: str


@dataclass(frozen=True, slots=True)
class DraftConflict:
    """Why a row of a draft does not fit the live rows.

    `changed`: the live row was written or deleted since; `taken`: another live row, `other`, has its value or
    route.
    """

    kind: str
    id: str
    why: str
    other: str | None = None


async def put(connection: Connection, tenant: str, draft_id: UUID, revision: int, *, published: bool) -> bool:
    """Write the rows of a draft into the tables; false if they contradict live rows.

    `published` stamps them with the revision and the time; otherwise they keep those that they have.
    """
    stamped = "d.row"
    if published:
        stamped = (
            "(d.row || jsonb_build_object('revision', $3::bigint, 'updated_at', now())"
            " || CASE WHEN d.live_revision IS NULL THEN jsonb_build_object('created_at', now())"
            " ELSE '{}'::jsonb END || CASE WHEN d.row -> 'deleted_at' = 'null' THEN '{}'::jsonb"
            " ELSE jsonb_strip_nulls(jsonb_build_object('deleted_at',"
            " CASE WHEN d.row ? 'deleted_at' THEN now() END)) END)"
        )
    given = (tenant, draft_id, revision)
    seen = "$3::bigint IS NOT NULL"
    for kind, table in TABLES.items():
        kept = " AND d.row IS NULL" if table is _POLICY else ""
        await connection.execute(
            f"DELETE FROM {table.name} AS t USING draft_rows AS d WHERE {_OF} AND d.kind = '{kind}'{kept}"  # noqa: S608
            f" AND t.tenant_id = d.tenant_id AND t.id = d.row_id AND {seen}",
            *given,
            timeout=_WITHIN_S,
        )
    whole = True
    for kind, table in TABLES.items():
        on_conflict = "DO NOTHING"
        if table is _POLICY:
            # Its versions hang on the row, which therefore stays.
            names = [name for name in columns_of(table) if name != "id"]
            values = ", ".join(f"excluded.{name}" for name in names)
            on_conflict = _REPLACE.format(names=", ".join(names), values=values)
        columns = ", ".join(columns_of(table))
        status = await connection.execute(
            f"INSERT INTO {table.name} (tenant_id, {columns}) SELECT d.tenant_id, {drafted(table)}"  # noqa: S608
            f" FROM draft_rows AS d, jsonb_populate_record(NULL::{table.name}, {stamped}) AS r"
            f" WHERE {_OF} AND d.kind = '{kind}' AND d.row IS NOT NULL AND {seen}"
            f" ON CONFLICT {on_conflict}",
            *given,
            timeout=_WITHIN_S,
        )
        wanted = await connection.fetchval(
            f"SELECT count(*) FROM draft_rows AS d WHERE {_OF} AND d.kind = $3 AND d.row IS NOT NULL",  # noqa: S608
            tenant,
            draft_id,
            kind,
        )
        whole = whole and int(status.rpartition(" ")[2]) == wanted
    return whole and await _put_sides(connection, tenant, draft_id, revision, published=published)


async def _put_sides(
    connection: Connection, tenant: str, draft_id: UUID, revision: int, *, published: bool
) -> bool:
    """Write what belongs to the rows of a draft; false if a route is taken."""
    status = await connection.execute(
        "INSERT INTO route_claims (tenant_id, host, shape, method, resource_id)"  # noqa: S608
        " SELECT d.tenant_id, c.host, c.shape, c.method, d.row_id FROM draft_rows AS d,"
        " jsonb_to_recordset(d.side -> 'claims') AS c (host text, shape text, method text)"
        f" WHERE {_OF} AND d.kind = 'resource' AND d.row IS NOT NULL ON CONFLICT DO NOTHING",
        tenant,
        draft_id,
        timeout=_WITHIN_S,
    )
    wanted = await connection.fetchval(
        "SELECT coalesce(sum(jsonb_array_length(d.side -> 'claims')), 0)::bigint FROM draft_rows AS d"  # noqa: S608
        f" WHERE {_OF} AND d.kind = 'resource' AND d.row IS NOT NULL",
        tenant,
        draft_id,
    )
    applied = "$3::bigint" if published else "coalesce((d.side ->> 'applied')::bigint, $3::bigint)"
    await connection.execute(
        "INSERT INTO default_roles_applied (tenant_id, resource_name, revision)"  # noqa: S608
        f" SELECT d.tenant_id, d.row ->> 'name', {applied} FROM draft_rows AS d"
        f" WHERE {_OF} AND d.kind = 'resource' AND d.side ? 'applied' AND d.row IS NOT NULL"
        " ON CONFLICT DO NOTHING",
        tenant,
        draft_id,
        revision,
    )
    await connection.execute(
        "INSERT INTO attribute_policy_versions"  # noqa: S608
        " (tenant_id, policy_id, version, deleted, document, actor, revision, created_at)"
        " SELECT d.tenant_id, d.row_id, v.version, v.deleted, v.document, v.actor, $3, v.created_at"
        " FROM draft_rows AS d,"
        " jsonb_populate_recordset(NULL::attribute_policy_versions, d.side -> 'versions') AS v"
        f" WHERE {_OF} AND d.kind = 'attribute_policy' AND d.row IS NOT NULL",
        tenant,
        draft_id,
        revision,
        timeout=_WITHIN_S,
    )
    return bool(int(status.rpartition(" ")[2]) == wanted)


async def take(
    connection: Connection, tenant: str, touched: Iterable[tuple[str, str]], *, previous: int, revision: int
) -> list[DraftRow]:
    """Return rows (by kind and id) as the tables have them now.

    `previous` is the live revision, `revision` the one of the write to the draft.
    """
    wanted: dict[str, list[str]] = {}
    for kind, row_id in dict.fromkeys(touched):
        wanted.setdefault(kind, []).append(row_id)
    found: list[DraftRow] = []
    for kind, ids in wanted.items():
        table = TABLES[kind]
        records = await connection.fetch(
            f"SELECT t.id::text, (to_jsonb(t) - 'tenant_id')::text AS row FROM {table.name} AS t"  # noqa: S608
            " WHERE tenant_id = $1 AND t.id = ANY($2::text[]::uuid[])",
            tenant,
            ids,
            timeout=_WITHIN_S,
        )
        rows = {record["id"]: record["row"] for record in records}
        sides: Mapping[str, str] = {}
        if kind == "resource":
            sides = await _resource_sides(connection, tenant, ids, revision)
        elif kind == "attribute_policy":
            sides = await _policy_sides(connection, tenant, ids, previous)
        found += [DraftRow(kind, row_id, rows.get(row_id), sides.get(row_id, "{}")) for row_id in ids]
    return found


async def _resource_sides(
    connection: Connection, tenant: str, ids: Sequence[str], revision: int
) -> dict[str, str]:
    """Return the claims of resources, and whether the write applied their default roles."""
    records = await connection.fetch(
        "SELECT t.id::text, (jsonb_build_object('claims', coalesce((SELECT jsonb_agg(jsonb_build_object("
        "'host', c.host, 'shape', c.shape, 'method', c.method)) FROM route_claims AS c"
        " WHERE c.tenant_id = t.tenant_id AND c.resource_id = t.id), '[]'))"
        " || CASE WHEN a.revision IS NULL THEN '{}' ELSE jsonb_build_object('applied', a.revision) END"
        ")::text AS side FROM resources AS t LEFT JOIN default_roles_applied AS a"
        " ON a.tenant_id = t.tenant_id AND a.resource_name = t.name AND a.revision = $3"
        " WHERE t.tenant_id = $1 AND t.id = ANY($2::text[]::uuid[])",
        tenant,
        list(ids),
        revision,
        timeout=_WITHIN_S,
    )
    return {record["id"]: record["side"] for record in records}


async def _policy_sides(
    connection: Connection, tenant: str, ids: Sequence[str], previous: int
) -> dict[str, str]:
    """Return the versions of policies that are not live."""
    records = await connection.fetch(
        "SELECT v.policy_id::text AS id, jsonb_build_object('versions',"
        " jsonb_agg(to_jsonb(v) - 'tenant_id' ORDER BY v.version))::text AS side"
        " FROM attribute_policy_versions AS v"
        " WHERE v.tenant_id = $1 AND v.policy_id = ANY($2::text[]::uuid[]) AND v.revision > $3"
        " GROUP BY v.policy_id",
        tenant,
        list(ids),
        previous,
        timeout=_WITHIN_S,
    )
    return {record["id"]: record["side"] for record in records}


async def stored(
    connection: Connection, tenant: str, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Stored]:
    """Return rows by kind and id; those that do not exist, or are deleted softly, are missing."""
    wanted: dict[str, list[str]] = {}
    for kind, row_id in dict.fromkeys(keys):
        wanted.setdefault(kind, []).append(row_id)
    found: dict[tuple[str, str], Stored] = {}
    for kind, ids in wanted.items():
        table = TABLES[kind]
        records = await connection.fetch(
            f"SELECT {table.selected_with_marks} FROM {table.name} AS t"  # noqa: S608
            " WHERE tenant_id = $1 AND t.id = ANY($2::text[]::uuid[])",
            tenant,
            ids,
            timeout=_WITHIN_S,
        )
        for row in map(table.stored, records):
            if row.deleted_at is None:
                found[kind, row.id] = row
    return found


async def keys_of(connection: Connection, tenant: str, draft_id: UUID) -> list[tuple[str, str]]:
    """Return kind and id of every row that a draft changes."""
    records = await connection.fetch(
        f"SELECT d.kind, d.row_id::text AS id FROM draft_rows AS d WHERE {_OF} ORDER BY d.kind, d.row_id",  # noqa: S608
        tenant,
        draft_id,
        timeout=_WITHIN_S,
    )
    return [(record["kind"], record["id"]) for record in records]


async def store(connection: Connection, tenant: str, draft_id: UUID, rows: Sequence[DraftRow]) -> None:
    """Keep rows in a draft, in a transaction in which the tables have the live rows."""
    live = " ".join(
        f"WHEN '{kind}' THEN (SELECT t.revision FROM {table.name} AS t"  # noqa: S608
        " WHERE t.tenant_id = $1 AND t.id = r.id)"
        for kind, table in TABLES.items()
    )
    for some in parts(rows):
        await connection.execute(
            "INSERT INTO draft_rows AS d (tenant_id, draft_id, kind, row_id, live_revision, row, side)"  # noqa: S608
            f" SELECT $1::text, $2, r.kind, r.id, CASE r.kind {live} END, r.row::jsonb, r.side::jsonb"
            " FROM unnest($3::text[], $4::text[]::uuid[], $5::text[], $6::text[]) AS r (kind, id, row, side)"
            " ON CONFLICT (tenant_id, draft_id, kind, row_id) DO UPDATE SET row = excluded.row,"
            " side = CASE WHEN excluded.row IS NULL THEN '{}' ELSE d.side || excluded.side END",
            tenant,
            draft_id,
            [row.kind for row in some],
            [row.id for row in some],
            [row.row for row in some],
            ["{}" if row.row is None else row.side for row in some],
            timeout=_WITHIN_S,
        )
    await connection.execute(
        f"DELETE FROM draft_rows AS d WHERE {_OF} AND d.row IS NULL AND d.live_revision IS NULL",  # noqa: S608
        tenant,
        draft_id,
    )
    for kind in {row.kind for row in rows}:
        # A row that is again what it is live is not part of the draft.
        await connection.execute(
            f"DELETE FROM draft_rows AS d USING {TABLES[kind].name} AS t WHERE {_OF} AND d.kind = '{kind}'"  # noqa: S608
            " AND t.tenant_id = d.tenant_id AND t.id = d.row_id AND t.revision = d.live_revision"
            f" AND d.row - {_WRITTEN} = to_jsonb(t) - 'tenant_id' - {_WRITTEN}",
            tenant,
            draft_id,
            timeout=_WITHIN_S,
        )


async def conflicts(connection: Connection, tenant: str, draft_id: UUID) -> list[DraftConflict]:
    """Return what of a draft does not fit the live rows, in a transaction in which the tables have those."""
    found: list[DraftConflict] = []
    untouched = (
        "NOT EXISTS (SELECT FROM draft_rows AS e WHERE e.tenant_id = $1 AND e.draft_id = $2"
        " AND e.kind = d.kind AND e.row_id = "
    )
    for kind, table in TABLES.items():
        changed = await connection.fetch(
            f"SELECT d.row_id::text AS id FROM draft_rows AS d LEFT JOIN {table.name} AS t"  # noqa: S608
            f" ON t.tenant_id = d.tenant_id AND t.id = d.row_id WHERE {_OF} AND d.kind = '{kind}'"
            " AND t.revision IS DISTINCT FROM d.live_revision AND (d.row IS NOT NULL OR t.id IS NOT NULL)"
            " ORDER BY d.row_id",
            tenant,
            draft_id,
            timeout=_WITHIN_S,
        )
        found += [DraftConflict(kind, record["id"], "changed") for record in changed]
        if kind not in _UNIQUE:
            continue
        equal = " AND ".join(f"t.{name} = d.row ->> '{name}'" for name in _UNIQUE[kind])
        taken = await connection.fetch(
            f"SELECT d.row_id::text AS id, t.id::text AS other FROM draft_rows AS d JOIN {table.name} AS t"  # noqa: S608
            f" ON t.tenant_id = d.tenant_id AND {equal} WHERE {_OF} AND d.kind = '{kind}'"
            f" AND {untouched}t.id) ORDER BY d.row_id",
            tenant,
            draft_id,
            timeout=_WITHIN_S,
        )
        found += [DraftConflict(kind, record["id"], "taken", record["other"]) for record in taken]
    routes = await connection.fetch(
        "SELECT DISTINCT d.row_id::text AS id, t.resource_id::text AS other FROM draft_rows AS d,"  # noqa: S608
        " jsonb_to_recordset(d.side -> 'claims') AS c (host text, shape text, method text), route_claims AS t"
        f" WHERE {_OF} AND d.kind = 'resource' AND t.tenant_id = d.tenant_id"
        f" AND t.shape = c.shape AND t.host = c.host AND t.method = c.method AND {untouched}t.resource_id)",
        tenant,
        draft_id,
        timeout=_WITHIN_S,
    )
    taken_names = {(each.id, each.other) for each in found}
    return found + [
        DraftConflict("resource", record["id"], "taken", record["other"])
        for record in routes
        if (record["id"], record["other"]) not in taken_names
    ]


async def drop(
    connection: Connection, tenant: str, draft_id: UUID, keys: Collection[tuple[str, str]]
) -> None:
    """Take rows out of a draft, and their changes: they stay as they are live."""
    for table in ("draft_rows", "draft_changes"):
        await connection.execute(
            f"DELETE FROM {table} AS d USING unnest($3::text[], $4::text[]::uuid[]) AS r (kind, id)"  # noqa: S608
            f" WHERE {_OF} AND d.kind = r.kind AND d.row_id = r.id",
            tenant,
            draft_id,
            [kind for kind, _ in keys],
            [row_id for _, row_id in keys],
        )


async def adopt(
    connection: Connection, tenant: str, draft_id: UUID, keys: Collection[tuple[str, str]]
) -> None:
    """Make the present live rows those that rows of a draft replace."""
    for kind, table in TABLES.items():
        ids = [row_id for of, row_id in keys if of == kind]
        if not ids:
            continue
        if table is _POLICY:
            # The versions of the draft follow those that are live now.
            await connection.execute(
                "UPDATE draft_rows AS d SET row = d.row || jsonb_build_object('version', t.version + 1),"  # noqa: S608
                " side = jsonb_build_object('versions', jsonb_build_array("
                "(d.side -> 'versions' -> -1) || jsonb_build_object('version', t.version + 1)))"
                f" FROM attribute_policies AS t WHERE {_OF} AND d.kind = $3"
                " AND d.row_id = ANY($4::text[]::uuid[]) AND t.tenant_id = d.tenant_id AND t.id = d.row_id"
                " AND d.row IS NOT NULL",
                tenant,
                draft_id,
                kind,
                ids,
            )
        await connection.execute(
            f"UPDATE draft_rows AS d SET live_revision = (SELECT t.revision FROM {table.name} AS t"  # noqa: S608
            " WHERE t.tenant_id = $1 AND t.id = d.row_id)"
            f" WHERE {_OF} AND d.kind = $3 AND d.row_id = ANY($4::text[]::uuid[])",
            tenant,
            draft_id,
            kind,
            ids,
        )

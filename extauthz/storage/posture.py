"""Reads facts about the database for `extauthz doctor`: privileges, row-level security, writability.

Input: a connection. Output: `Posture`, `Authority`. Errors: those of asyncpg.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.storage.migrate import Migration
    from extauthz.storage.pool import Connection

_CREATED: Final = re.compile(r"^CREATE TABLE ([a-z0-9_]+)", re.MULTILINE)

# Tables whose rows must never be changed by a role that serves.
_HISTORY: Final = ("audit_events", "attribute_policy_versions")


@dataclass(frozen=True, slots=True)
class Posture:
    """Facts about the server, the role and the tables. Names of tables are sorted."""

    server_version: int
    encrypted: bool
    role: str
    superuser: bool
    bypasses_row_security: bool
    may_become: tuple[str, ...]
    """Superusers and roles with BYPASSRLS that the role is a member of."""
    creates: tuple[str, ...]
    """Those of `CREATEDB`, `CREATEROLE`, `REPLICATION` that the role has."""
    owned: tuple[str, ...]
    unprotected: tuple[str, ...]
    """Tables of tenants without row-level security."""
    unforced: tuple[str, ...]
    """Tables of tenants without FORCE ROW LEVEL SECURITY, so that it does not apply to their owner."""
    without_policy: tuple[str, ...]
    rewritable: tuple[str, ...]
    """History tables that the role may UPDATE, DELETE or TRUNCATE without owning them."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Whether the server accepts writes, and which setting prevents them."""

    standby: bool
    read_only_by: str | None
    """What sets `default_transaction_read_only` for this session, from `pg_settings.source`; None: off."""
    read_only_roles: tuple[str, ...]
    """Roles of deploy/postgres/roles.sql, except this session's, for which it is on."""
    put_back: tuple[tuple[str, int, int], ...]
    """Tenants with change records above their revision: name, revision, newest record (at most 10)."""


async def authority(connection: Connection) -> Authority:
    """Return whether the server accepts writes. Reads only, also on a standby.

    Raises:
        Exception: raised by asyncpg; `outcome.refusal_of` classifies it.
    """
    server = await connection.fetchrow(
        """
        SELECT pg_is_in_recovery() AS standby, setting = 'on' AS read_only, source,
               current_user::text AS role, current_database()::text AS database
        FROM pg_settings WHERE name = 'default_transaction_read_only'
        """
    )
    assert server is not None
    roles = await connection.fetch(
        """
        SELECT DISTINCT role.rolname::text AS name
        FROM pg_db_role_setting AS given JOIN pg_roles AS role ON role.oid = given.setrole,
             unnest(given.setconfig) AS setting
        WHERE given.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND setting LIKE 'default_transaction_read_only=%' AND split_part(setting, '=', 2)::boolean
          AND role.rolname IN ('extauthz_owner', 'extauthz_writer', 'extauthz_reader')
          AND role.rolname <> current_user
        ORDER BY name
        """
    )
    places = {
        "database": f"ALTER DATABASE {server['database']}",
        "user": f"ALTER ROLE {server['role']}",
        "database user": f"ALTER ROLE {server['role']} IN DATABASE {server['database']}",
        "global": "ALTER ROLE ALL",
        "configuration file": "the server's configuration (ALTER SYSTEM or postgresql.conf)",
    }
    return Authority(
        standby=server["standby"],
        read_only_by=places.get(server["source"], server["source"]) if server["read_only"] else None,
        read_only_roles=tuple(role["name"] for role in roles),
        put_back=await _put_back(connection),
    )


async def _put_back(connection: Connection) -> tuple[tuple[str, int, int], ...]:
    async with connection.transaction(readonly=True):
        if not await connection.fetchval(
            "SELECT coalesce(has_table_privilege(to_regclass('policy_changes'), 'SELECT')"
            " AND has_table_privilege(to_regclass('tenants'), 'SELECT'), false)"
        ):
            return ()
        await connection.execute("SELECT set_config('extauthz.reader', 'on', true)")
        records = await connection.fetch(
            """
            SELECT t.tenant_id, t.revision, newest.revision AS newest
            FROM tenants AS t CROSS JOIN LATERAL (
                SELECT max(c.revision) AS revision FROM policy_changes AS c WHERE c.tenant_id = t.tenant_id
            ) AS newest
            WHERE t.deleted_at IS NULL AND newest.revision > t.revision
            ORDER BY t.tenant_id LIMIT 10
            """
        )
    return tuple((record["tenant_id"], record["revision"], record["newest"]) for record in records)


async def posture(connection: Connection, tables_of: Sequence[Migration]) -> Posture:
    """Return facts about the server, the role and the tables that the migrations create. Reads only.

    Raises:
        Exception: raised by asyncpg; `outcome.refusal_of` classifies it.
    """
    role = await connection.fetchrow(
        """
        SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolreplication,
               current_setting('server_version_num')::integer AS version,
               coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted,
               ARRAY(
                   SELECT other.rolname::text FROM pg_roles AS other
                   WHERE (other.rolsuper OR other.rolbypassrls) AND other.oid <> own.oid AND NOT own.rolsuper
                     AND pg_has_role(own.oid, other.oid, 'MEMBER')
                   ORDER BY other.rolname
               ) AS may_become
        FROM pg_roles AS own WHERE rolname = current_user
        """
    )
    assert role is not None
    tables = await connection.fetch(
        """
        SELECT relation.relname::text AS name, relation.relrowsecurity, relation.relforcerowsecurity,
               pg_has_role(relation.relowner, 'USAGE') AS owned,
               EXISTS (SELECT FROM pg_attribute AS attribute WHERE attribute.attrelid = relation.oid
                       AND attribute.attname = 'tenant_id' AND NOT attribute.attisdropped)
                   OR relation.relname = 'tenants' AS of_tenants,
               EXISTS (SELECT FROM pg_policy WHERE polrelid = relation.oid) AS has_policy,
               has_table_privilege(relation.oid, 'UPDATE') OR has_table_privilege(relation.oid, 'DELETE')
                   OR has_table_privilege(relation.oid, 'TRUNCATE') AS rewritable
        FROM pg_class AS relation
        WHERE relation.relkind IN ('r', 'p') AND relation.relname = ANY ($1::text[])
          AND pg_table_is_visible(relation.oid)
        ORDER BY relation.relname
        """,
        sorted({name for migration in tables_of for name in _CREATED.findall(migration.sql)}),
    )
    powers = {"CREATEDB": "rolcreatedb", "CREATEROLE": "rolcreaterole", "REPLICATION": "rolreplication"}
    of_tenants = [table for table in tables if table["of_tenants"]]
    return Posture(
        server_version=role["version"] // 10_000,
        encrypted=role["encrypted"],
        role=role["rolname"],
        superuser=role["rolsuper"],
        bypasses_row_security=role["rolbypassrls"],
        may_become=tuple(role["may_become"]),
        creates=tuple(name for name, column in powers.items() if role[column]),
        owned=tuple(table["name"] for table in tables if table["owned"]),
        unprotected=tuple(table["name"] for table in of_tenants if not table["relrowsecurity"]),
        unforced=tuple(
            table["name"]
            for table in of_tenants
            if table["relrowsecurity"] and not table["relforcerowsecurity"]
        ),
        without_policy=tuple(
            table["name"] for table in of_tenants if table["relrowsecurity"] and not table["has_policy"]
        ),
        rewritable=tuple(
            table["name"]
            for table in tables
            if table["name"] in _HISTORY and table["rewritable"] and not table["owned"]
        ),
    )

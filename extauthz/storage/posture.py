"""How the database is set up, as the connected role sees it: what it may do, what protects tenants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.storage.migrate import Migration
    from extauthz.storage.pool import Connection

_CREATED: Final = re.compile(r"^CREATE TABLE ([a-z0-9_]+)", re.MULTILINE)

# What must never be changed once it is written, by whomever serves.
_HISTORY: Final = ("audit_events", "attribute_policy_versions")


@dataclass(frozen=True, slots=True)
class Posture:
    """Facts about server, role and tables. Names of tables are sorted."""

    server_version: int
    encrypted: bool
    role: str
    superuser: bool
    bypasses_row_security: bool
    may_become: tuple[str, ...]
    """Superusers and roles above row-level security that the role is a member of."""
    creates: tuple[str, ...]
    """`CREATEDB`, `CREATEROLE`, `REPLICATION`: those that the role has."""
    owned: tuple[str, ...]
    unprotected: tuple[str, ...]
    """Tables with a tenant whose row-level security is off."""
    unforced: tuple[str, ...]
    """Tables with a tenant whose owner is above row-level security."""
    without_policy: tuple[str, ...]
    rewritable: tuple[str, ...]
    """Tables of history that the role may change or empty, without owning them."""


async def posture(connection: Connection, tables_of: Sequence[Migration]) -> Posture:
    """Read how the database is set up, as far as the tables of these migrations go; changes nothing.

    Raises:
        Exception: whatever asyncpg raises; `outcome.refusal_of` names it.
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

"""Examines the database: availability, schema, authentication, privileges of the role."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import asyncpg

from extauthz.commands.doctor.connection import examine_connection, examine_listener
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.runtime.policies import database
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import SslMode
from extauthz.shipped import shipped
from extauthz.storage.migrate import Migration, MigrationRefused, MigrationStatus, read_migrations, status
from extauthz.storage.outcome import DatabaseUnavailable, refusal_of
from extauthz.storage.pool import connect
from extauthz.storage.posture import Authority, Posture, authority, posture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.settings import Settings
    from extauthz.storage.pool import Connection
    from extauthz.storage.session import Session

OLDEST_VERSION: Final = 15
_ROLES: Final = (
    "use the roles of deploy/postgres/roles.sql: extauthz_writer to serve, extauthz_reader for sidecars"
)
_VERIFYING: Final = frozenset({SslMode.VERIFY_CA, SslMode.VERIFY_FULL})


def finding(severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about the database."""
    return Finding(severity=severity, code=code, subject="database", message=message, fix=fix)


async def examine_database(settings: Settings) -> list[Finding]:
    """Connect as extauthz would, and look; nothing is changed."""
    migrations = read_migrations(shipped("migrations"))
    if isinstance(migrations, MigrationRefused):
        return [finding(Severity.ERROR, "schema-unusable", migrations.message, "install extauthz again")]
    where = settings.postgres_db
    try:
        address = database(settings)
        where = address.place
        connection = await connect(address, application="extauthz-doctor", standby=True)
        try:
            writes = await authority(connection)
            # Behind a pooler the server's own view is of the pooler's connection.
            found = replace(await posture(connection, migrations), encrypted=_is_encrypted(connection))
            way = list(examine_connection(connection, settings))
            schema = await _status(connection, migrations)
        finally:
            await connection.close(timeout=5)
    except StartRefusedError as refused:
        return [_unusable(where, str(refused))]
    except Exception as error:  # every error of the database is a finding; a bug of ours is raised again
        refusal = refusal_of(error)
        if isinstance(refusal, DatabaseUnavailable):
            return [_unusable(where, f"{refusal.message} ({refusal.kind.value}: {refusal.kind.text})")]
        if refusal is None and type(error).__module__.partition(".")[0] != "asyncpg":
            raise
        return [_unusable(where, " ".join(str(error).split()))]
    return [
        *examine_authority(writes, where),
        *_schema(schema),
        *examine_posture(found, settings),
        *way,
        *await examine_listener(address),
    ]


def examine_authority(found: Authority, where: str) -> Iterator[Finding]:
    """Judge whether the server takes writes: only then does it confirm policies."""
    if found.standby:
        yield finding(
            Severity.ERROR,
            "database-read-only",
            f"{where} leads to a standby (pg_is_in_recovery): it confirms no policies, so sidecars deny "
            "after POLICY_MAX_STALENESS, and the REST API writes nothing",
            "point POSTGRES_HOST at the primary, or name all servers in it: host-a,host-b",
        )
    if found.read_only_by is not None:
        yield finding(
            Severity.ERROR,
            "database-read-only",
            f"default_transaction_read_only is on, set by {found.read_only_by}: the server counts as one "
            "that takes no writes, as a fenced primary does, and confirms no policies",
            "RESET default_transaction_read_only there, or point POSTGRES_HOST at the primary; "
            "deploy/postgres/roles.sql resets it for its roles",
        )
    for role in found.read_only_roles:
        yield finding(
            Severity.ERROR,
            "database-read-only",
            f"the role {role!r} has default_transaction_read_only set: sidecars that log in with it confirm "
            "no policies",
            f"run deploy/postgres/roles.sql again, or ALTER ROLE {role} RESET default_transaction_read_only",
        )
    for tenant, revision, newest in found.put_back:
        yield finding(
            Severity.WARNING,
            "revision-put-back",
            f"the tenant {tenant!r} is at revision {revision} and has change records up to {newest}: its "
            "revision was put back; the records are ignored, and the next write discards them",
            "after a restore run `extauthz migrate --new-epoch`; see that the tenant's rules are as wanted",
        )


def examine_posture(found: Posture, settings: Settings) -> Iterator[Finding]:
    """Judge how the database is set up."""
    yield from _role(found, settings)
    yield from _protection(found)
    yield from _transport(found, settings)


def _is_encrypted(session: Session) -> bool:
    return session.encrypted or (session.host is not None and session.host.is_local)


async def _status(
    connection: Connection, migrations: tuple[Migration, ...]
) -> tuple[MigrationStatus, ...] | MigrationRefused:
    try:
        return await status(connection, migrations)
    except asyncpg.InsufficientPrivilegeError:
        return MigrationRefused("the role may not read schema_migrations, nor then the policies")


def _unusable(where: str, problem: str) -> Finding:
    return finding(
        Severity.ERROR,
        "database-unusable",
        f"{where} cannot be used: {problem}",
        "check POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB, POSTGRES_USER, the password and the network policy",
    )


def _schema(schema: tuple[MigrationStatus, ...] | MigrationRefused) -> Iterator[Finding]:
    if isinstance(schema, MigrationRefused):
        yield finding(
            Severity.ERROR,
            "schema-unusable",
            schema.message,
            "run the version of extauthz that fits the schema; for grants deploy/postgres/roles.sql",
        )
        return
    pending = [each.name for each in schema if each.applied_at is None]
    if pending:
        yield finding(
            Severity.ERROR,
            "schema-behind",
            f"the schema is behind by {len(pending)} migrations (next: {pending[0]})",
            "run `extauthz migrate`",
        )


def _role(found: Posture, settings: Settings) -> Iterator[Finding]:
    if found.superuser:
        yield finding(
            Severity.ERROR,
            "role-superuser",
            f"the role {found.role!r} is a superuser: row-level security does not hold for it, nor any grant",
            _ROLES,
        )
        return
    if found.bypasses_row_security:
        yield finding(
            Severity.ERROR,
            "role-bypasses-row-security",
            f"the role {found.role!r} has BYPASSRLS: it sees every tenant's rows",
            f"ALTER ROLE ... NOBYPASSRLS, or {_ROLES}",
        )
    if found.may_become:
        yield finding(
            Severity.ERROR,
            "role-superuser",
            f"the role {found.role!r} may become {', '.join(map(repr, found.may_become))}, "
            "for whom row-level security does not hold",
            "REVOKE that membership",
        )
    if found.creates:
        yield finding(
            Severity.WARNING,
            "role-too-powerful",
            f"the role {found.role!r} has {', '.join(found.creates)}, which extauthz never needs",
            f"ALTER ROLE ... {' '.join(f'NO{power}' for power in found.creates)}",
        )
    if found.owned and not settings.migrate_on_start:
        yield finding(
            Severity.WARNING,
            "role-owns-tables",
            f"the role {found.role!r} owns the tables: it may change the schema and lift row-level security",
            f"migrate as extauthz_owner; {_ROLES}",
        )
    if found.rewritable:
        yield finding(
            Severity.WARNING,
            "grants-too-wide",
            f"the role {found.role!r} may change what is history: {', '.join(found.rewritable)}",
            "run deploy/postgres/roles.sql again",
        )


def _protection(found: Posture) -> Iterator[Finding]:
    for tables, problem, fix in (
        (found.unprotected, "row-level security is off on", "ALTER TABLE ... ENABLE ROW LEVEL SECURITY"),
        (found.unforced, "row-level security is not forced on", "ALTER TABLE ... FORCE ROW LEVEL SECURITY"),
        (found.without_policy, "row-level security has no policy on", "restore the policies of migrations/"),
    ):
        if tables:
            yield finding(
                Severity.ERROR,
                "row-security",
                f"{problem} {', '.join(tables)}",
                f"{fix} (the migrations did; it was revoked since)",
            )


def _transport(found: Posture, settings: Settings) -> Iterator[Finding]:
    if found.server_version < OLDEST_VERSION:
        yield finding(
            Severity.WARNING,
            "database-old",
            f"PostgreSQL {found.server_version} is older than what extauthz is tested with",
            f"use PostgreSQL {OLDEST_VERSION} or newer",
        )
    if all(host.is_local for host in settings.database_hosts):
        return
    if not found.encrypted:
        yield finding(
            Severity.ERROR,
            "database-plaintext",
            "the connection is not encrypted: policies, keys' hashes and the password cross the network",
            "set POSTGRES_SSLMODE=verify-full and POSTGRES_SSLROOTCERT",
        )
    elif settings.postgres_sslmode not in _VERIFYING and settings.postgres_sslrootcert is None:
        yield finding(
            Severity.WARNING,
            "database-unverified",
            "the connection is encrypted, and any server could be at its other end",
            "set POSTGRES_SSLMODE=verify-full and POSTGRES_SSLROOTCERT",
        )

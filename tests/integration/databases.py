"""A fresh database for each test: created once, emptied after each test that leaves its schema unchanged."""

import asyncio
import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.shipped import shipped
from extauthz.storage.migrate import migrate, read_migrations
from extauthz.storage.pool import DatabaseAddress
from tests.folder_postgres import CopiedPostgres, postgres_in_folder

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")

_TEMPLATE: Final = "migrated"

# Everything that DDL, GRANT, ALTER DATABASE and a migration change: equal texts mean an unchanged schema.
_SCHEMA: Final = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT concat_ws('|', 'class', oid::regclass, relkind, relowner::regrole, relacl, relrowsecurity,
        relforcerowsecurity, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'column', attrelid::regclass, attnum, attname, atttypid::regtype,
        attnotnull, attisdropped, attacl, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'constraint', conname, conrelid::regclass, contypid::regtype,
        convalidated, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'index', indexrelid::regclass, indisvalid, pg_get_indexdef(indexrelid))
    FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'trigger', tgrelid::regclass, tgname, tgenabled, tgfoid::regproc)
    FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'policy', polrelid::regclass, polname, polcmd, polpermissive, polroles,
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    FROM pg_policy
    UNION ALL SELECT concat_ws('|', 'function', oid::regprocedure, proowner::regrole, proacl, proconfig,
        prosecdef, md5(prosrc))
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'type', oid::regtype, typowner::regrole, typacl, typnotnull)
    FROM pg_type WHERE typnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws('|', 'schema', nspname, nspowner::regrole, nspacl)
    FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
    UNION ALL SELECT concat_ws('|', 'database', datdba::regrole, datacl, datconnlimit, datallowconn)
    FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT concat_ws('|', 'setting', setrole, setconfig)
    FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
    UNION ALL SELECT concat_ws('|', 'default privileges', defaclrole, defaclobjtype, defaclacl)
    FROM pg_default_acl
    UNION ALL SELECT concat_ws('|', 'extension', extname, extversion) FROM pg_extension
    UNION ALL SELECT concat_ws('|', 'event trigger', evtname, evtenabled) FROM pg_event_trigger
    UNION ALL SELECT concat_ws('|', 'publication', pubname) FROM pg_publication
    UNION ALL SELECT concat_ws('|', 'statistics', stxname) FROM pg_statistic_ext
    UNION ALL SELECT concat_ws('|', 'large object', oid) FROM pg_largeobject_metadata
    UNION ALL SELECT concat_ws('|', 'migration', m.*) FROM schema_migrations m
) AS schema (line)
"""
_END_SESSIONS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_LARGE: Final = """
SELECT coalesce(bool_or(pg_relation_size(oid) > 1024 * 1024), false) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
# DELETE costs a tenth of the time of TRUNCATE, which creates the files of every table and index again.
# `replica` skips foreign keys; the triggers that keep the audit trail append-only fire all the same.
_EMPTY: Final = """
DO $$
DECLARE
    filled record;
    guard record;
    has_rows boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR filled IN
        SELECT c.oid, c.oid::regclass AS name FROM pg_class c
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', filled.name) INTO has_rows;
        CONTINUE WHEN NOT has_rows;
        FOR guard IN SELECT tgname FROM pg_trigger WHERE tgrelid = filled.oid AND tgenabled = 'A' LOOP
            EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', filled.name, guard.tgname);
        END LOOP;
        EXECUTE format('DELETE FROM %s', filled.name);
        FOR guard IN SELECT tgname FROM pg_trigger WHERE tgrelid = filled.oid AND tgenabled = 'D' LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', filled.name, guard.tgname);
        END LOOP;
    END LOOP;
    PERFORM setval(c.oid::regclass, s.seqstart, false)
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE relnamespace = 'public'::regnamespace;
END $$;
INSERT INTO cluster_state (epoch) VALUES (gen_random_uuid());
"""


class DebianPostgres(CopiedPostgres):
    """The same launcher with the distribution's binaries."""

    def _prepare_folder(self) -> Path:
        super()._prepare_folder()
        return DEBIAN


@dataclass(frozen=True)
class Database:
    """One database: as the ordinary user that owns it, and as the superuser."""

    address: DatabaseAddress
    superuser: DatabaseAddress
    server: EmbeddedPostgres

    def as_user(self, name: str, password: str) -> DatabaseAddress:
        """Return the address for another role."""
        return dataclasses.replace(self.address, user=name, password=password)


class Databases:
    """The databases of one running server, which no other process uses."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._unused: str | None = None
        self._emptier = Emptier()
        asyncio.run(_execute(server.superuser_dsn, f"CREATE DATABASE {_TEMPLATE} OWNER extauthz"))
        asyncio.run(_migrate(_in_database(server.dsn, _TEMPLATE)))
        self._schema = asyncio.run(_schema(_in_database(server.superuser_dsn, _TEMPLATE)))

    @contextmanager
    def migrated(self) -> Iterator[Database]:
        """Lend a database with the schema of today and no row of a tenant."""
        name = self._unused or self._created(_TEMPLATE)
        self._unused = None
        try:
            yield self._described(name)
        finally:
            if self._emptier.emptied(_in_database(self._server.superuser_dsn, name), self._schema):
                self._unused = name
            else:
                self._drop(name)

    @contextmanager
    def empty(self) -> Iterator[Database]:
        """Lend a database without a schema."""
        name = self._created("template1")
        try:
            yield self._described(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """End the session that empties databases."""
        self._emptier.close()

    def _created(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        statement = f"CREATE DATABASE {name} OWNER extauthz TEMPLATE {template}"
        asyncio.run(_execute(self._server.superuser_dsn, statement))
        return name

    def _drop(self, name: str) -> None:
        asyncio.run(_execute(self._server.superuser_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    def _described(self, name: str) -> Database:
        return Database(
            _address(self._server.dsn, name), _address(self._server.superuser_dsn, name), self._server
        )


class Emptier:
    """Empties a database after each test, in one session of the superuser that is kept while it serves.

    The session knows the catalog and the plans of its statements: a new one needs twice the CPU time.
    """

    def __init__(self) -> None:
        # Its own loop, never set as the current one: a session belongs to the loop that opened it.
        self._loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._session: tuple[str, Session] | None = None

    def emptied(self, dsn: str, schema: str) -> bool:
        """End every session of a database and remove its rows; False where it must not be used again."""
        return self._loop.run(self._emptied(dsn, schema))

    def close(self) -> None:
        """End the session."""
        self._loop.run(self._ended())
        self._loop.close()

    async def _emptied(self, dsn: str, schema: str) -> bool:
        try:
            if await _empty(await self._connected(dsn), schema):
                return True
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        await self._ended()
        return False

    async def _connected(self, dsn: str) -> Session:
        if self._session is not None:
            known, connection = self._session
            if known == dsn and not connection.is_closed():
                return connection
            await self._ended()
        connection = await asyncpg.connect(dsn, ssl=False, timeout=10, command_timeout=60)
        self._session = dsn, connection
        return connection

    async def _ended(self) -> None:
        if self._session is not None:
            # A server that has stopped ends no session.
            self._session[1].terminate()
            self._session = None


class Servers(ExitStack):
    """Servers with their databases, started when they are first asked for; all stop at the end.

    A parametrized fixture would stop one kind to start the other, several times a module.
    """

    def __init__(self) -> None:
        super().__init__()
        self._servers: dict[type[EmbeddedPostgres], EmbeddedPostgres] = {}
        self._databases: dict[EmbeddedPostgres, Databases] = {}

    def running(self, kind: type[EmbeddedPostgres]) -> EmbeddedPostgres:
        """Return the server of a kind."""
        if kind not in self._servers:
            server = self.enter_context(postgres_in_folder(kind))
            server.start()
            self._servers[kind] = server
        return self._servers[kind]

    def databases(self, server: EmbeddedPostgres) -> Databases:
        """Return the databases of a server that runs."""
        if server not in self._databases:
            self._databases[server] = Databases(server)
            self.callback(self._databases[server].close)
        return self._databases[server]


def _address(dsn: str, database: str) -> DatabaseAddress:
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    return DatabaseAddress(
        parts.hostname, parts.port, parts.username or "", parts.password or "", database, "disable"
    )


def _in_database(dsn: str, database: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(dsn: str) -> None:
    migrations = read_migrations(shipped("migrations"))
    assert isinstance(migrations, tuple)
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        assert await migrate(connection, migrations) == migrations
    finally:
        await connection.close()


async def _schema(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        found: str = await connection.fetchval(_SCHEMA)
        return found
    finally:
        await connection.close()


async def _empty(connection: Session, schema: str) -> bool:
    """End every other session of the database and remove its rows; False where it must not be used again."""
    ended = await connection.fetch(_END_SESSIONS)
    if not all(row[0] for row in ended) or await connection.fetchval(_SCHEMA) != schema:
        return False
    # Deleted rows stay in the files, where later tests would read past them.
    if await connection.fetchval(_LARGE):
        return False
    await connection.execute(_EMPTY)
    return True

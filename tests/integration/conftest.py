"""Real PostgreSQL: the embedded one and, where it is installed, Debian's; a fresh database each test."""

import asyncio
import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.shipped import shipped
from extauthz.storage.migrate import migrate, read_migrations
from extauthz.storage.pool import DatabaseAddress
from tests.folder_postgres import postgres_in_folder

DEBIAN = Path("/usr/lib/postgresql/15/bin")
_TEMPLATE = "migrated"
_numbers = itertools.count()


class DebianPostgres(EmbeddedPostgres):
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


def _address(dsn: str, database: str) -> DatabaseAddress:
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    return DatabaseAddress(
        parts.hostname, parts.port, parts.username or "", parts.password or "", database, "disable"
    )


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


def _in_database(dsn: str, database: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", params=["embedded", "debian"])
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A running server, one a session (and xdist worker), with a migrated template database."""
    if request.param == "debian" and not DEBIAN.exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)")
    with postgres_in_folder(DebianPostgres if request.param == "debian" else EmbeddedPostgres) as server:
        server.start()
        asyncio.run(_execute(server.superuser_dsn, f"CREATE DATABASE {_TEMPLATE} OWNER extauthz"))
        asyncio.run(_migrate(_in_database(server.dsn, _TEMPLATE)))
        yield server


def _fresh(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    asyncio.run(
        _execute(postgres.superuser_dsn, f"CREATE DATABASE {name} OWNER extauthz TEMPLATE {template}")
    )
    try:
        yield Database(_address(postgres.dsn, name), _address(postgres.superuser_dsn, name), postgres)
    finally:
        asyncio.run(_execute(postgres.superuser_dsn, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, migrated database that an ordinary user owns."""
    yield from _fresh(postgres, _TEMPLATE)


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, empty database that an ordinary user owns."""
    yield from _fresh(postgres, "template1")

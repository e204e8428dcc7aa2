"""Real PostgreSQL: one server a worker process of pytest-xdist, a fresh database each test."""

import os
from collections.abc import Iterator

import pytest

from extauthz.demo.postgres import EmbeddedPostgres
from tests.folder_postgres import CopiedPostgres
from tests.integration.databases import DEBIAN, Database, Databases, DebianPostgres, Servers

__all__ = ["DEBIAN", "Database", "DebianPostgres"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def no_authorities_of_the_system() -> Iterator[None]:
    """Load no certificates of public authorities: a fifth of the time that a server takes to start here."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this worker: each starts when it is first needed and runs until the end."""
    with Servers() as started:
        yield started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that need PostgreSQL on the embedded one, those marked `both_servers` on Debian's, too."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "postgres" in metafunc.fixturenames and not any(mark.args[0] == "postgres" for mark in marks):
        both = metafunc.definition.get_closest_marker("both_servers")
        kinds = ["embedded", "debian"] if both else ["embedded"]
        metafunc.parametrize("postgres", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, servers: Servers) -> EmbeddedPostgres:
    """A running server: the embedded one or, where it is installed, Debian's."""
    if request.param == "debian" and not DEBIAN.exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)")
    return servers.running(DebianPostgres if request.param == "debian" else CopiedPostgres)


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres, servers: Servers) -> Databases:
    """The databases of the running server."""
    return servers.databases(postgres)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A fresh, migrated database that an ordinary user owns."""
    with databases.migrated() as fresh:
        yield fresh


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[Database]:
    """A fresh, empty database that an ordinary user owns."""
    with databases.empty() as fresh:
        yield fresh

"""TLS to a real PostgreSQL, each `sslmode` with and without a CA, and what libpq itself makes of the same."""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.processes import LOOPBACK
from extauthz.storage.address import DatabaseAddress, InvalidCaError, SslMode
from extauthz.storage.connection import connect
from extauthz.storage.outcome import DatabaseUnavailable, refusal_of
from tests.certificates import Authority
from tests.folder_postgres import postgres_in_folder
from tests.integration.conftest import DEBIAN, DebianPostgres

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        not DEBIAN.exists(),
        reason="TLS needs PostgreSQL 15, which is not installed (Debian: apt-get install postgresql-15)",
    ),
]
PSQL = shutil.which("psql", path="/usr/lib/postgresql/15/bin")
PLAIN, ENCRYPTED, REFUSED = "plain", "encrypted", "refused"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL whose certificate is of `right`, for `db.internal` and 127.0.0.1."""

    postgres: EmbeddedPostgres
    right: Path
    wrong: Path

    def address(self, host: str, sslmode: SslMode | None, ca: Path | None) -> DatabaseAddress:
        password = self.postgres.environment["POSTGRES_PASSWORD"]
        return DatabaseAddress(
            host,
            self.postgres.port,
            "extauthz",
            password,
            "extauthz",
            sslmode,
            None if ca is None else str(ca),
        )

    def superuser(self, *statements: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.postgres.superuser_dsn, ssl=False)
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(run())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ca")
    right, wrong = Authority("right"), Authority("wrong")
    for authority, name in ((right, "right.pem"), (wrong, "wrong.pem")):
        (folder / name).write_bytes(authority.pem)
    with postgres_in_folder(DebianPostgres) as postgres:
        postgres.start()
        found = Server(postgres, folder / "right.pem", folder / "wrong.pem")
        data = postgres.folder / "data"
        certificate = right.issue("db.internal")
        for name, content in (("server.crt", certificate.chain), ("server.key", certificate.key)):
            (data / name).write_bytes(content)
            (data / name).chmod(0o600)
            owner = data.stat()
            os.chown(data / name, owner.st_uid, owner.st_gid)
        found.superuser("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
        yield found


@pytest.fixture(scope="module")
def without_tls() -> Iterator[Server]:
    with postgres_in_folder(DebianPostgres) as postgres:
        postgres.start()
        yield Server(postgres, Path(), Path())


async def outcome(address: DatabaseAddress) -> str:
    try:
        session = await connect(address)
    except (ssl.SSLError, ConnectionError):
        return REFUSED
    server = await session.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert server is session.encrypted
    await session.close()
    return ENCRYPTED if server else PLAIN


def libpq(address: DatabaseAddress, home: Path) -> str:
    """Return what psql comes to with the same settings and an empty home."""
    assert PSQL is not None
    environ = {
        "PATH": os.defpath, "HOME": str(home), "PGHOST": address.host, "PGPORT": str(address.port),
        "PGUSER": address.user, "PGPASSWORD": address.password, "PGDATABASE": address.database,
    }  # fmt: skip
    if address.sslmode is not None:
        environ["PGSSLMODE"] = address.sslmode
    if address.sslrootcert is not None:
        environ["PGSSLROOTCERT"] = address.sslrootcert
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    done = subprocess.run(
        [PSQL, "-XAtc", query], env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    return {"t\n": ENCRYPTED, "f\n": PLAIN}.get(done.stdout, REFUSED)


MATRIX: list[tuple[SslMode, str | None, str, str]] = [
    ("disable", None, PLAIN, PLAIN),
    ("disable", "wrong", PLAIN, PLAIN),
    ("prefer", None, ENCRYPTED, ENCRYPTED),
    ("require", None, ENCRYPTED, ENCRYPTED),
    ("require", "right", ENCRYPTED, ENCRYPTED),
    ("require", "wrong", REFUSED, REFUSED),
    ("verify-ca", "right", ENCRYPTED, ENCRYPTED),
    ("verify-ca", "wrong", REFUSED, REFUSED),
    ("verify-full", "right", ENCRYPTED, REFUSED),
    ("verify-full", "wrong", REFUSED, REFUSED),
    ("verify-full", None, REFUSED, REFUSED),
]


@pytest.mark.parametrize(("mode", "ca", "by_address", "by_other_name"), MATRIX)
async def test_each_mode_does_what_libpq_does(
    server: Server,
    without_tls: Server,
    tmp_path: Path,
    mode: SslMode,
    ca: str | None,
    by_address: str,
    by_other_name: str,
) -> None:
    file = None if ca is None else getattr(server, ca)
    for host, expected in ((LOOPBACK, by_address), ("localhost", by_other_name)):
        address = server.address(host, mode, file)
        assert await outcome(address) == expected
        assert libpq(address, tmp_path) == expected
    address = replace(server.address(LOOPBACK, mode, file), port=without_tls.postgres.port)
    address = replace(address, password=without_tls.postgres.environment["POSTGRES_PASSWORD"])
    expected = PLAIN if mode in {"disable", "prefer"} else REFUSED
    assert await outcome(address) == expected
    assert libpq(address, tmp_path) == expected


async def test_a_ca_without_a_mode_is_not_passed_over(server: Server, without_tls: Server) -> None:
    assert await outcome(server.address(LOOPBACK, None, None)) == ENCRYPTED
    assert await outcome(server.address(LOOPBACK, None, server.right)) == ENCRYPTED
    assert await outcome(server.address(LOOPBACK, None, server.wrong)) == REFUSED
    assert await outcome(without_tls.address(LOOPBACK, None, server.right)) == REFUSED


async def test_plaintext_is_taken_on_loopback_where_the_server_refuses_tls(server: Server) -> None:
    rules = server.postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    address = server.address(LOOPBACK, None, None)
    try:
        rules.write_text("hostnossl all all 127.0.0.1/32 scram-sha-256\n")
        await asyncio.to_thread(server.superuser, "SELECT pg_reload_conf()")
        assert await outcome(address) == PLAIN
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match=r"no pg_hba\.conf entry"):
            await connect(replace(address, sslmode="require"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(replace(address, password="wrong"))
        rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n" + before)
        await asyncio.to_thread(server.superuser, "SELECT pg_reload_conf()")
        assert await outcome(address) == ENCRYPTED
    finally:
        rules.write_text(before)
        await asyncio.to_thread(server.superuser, "SELECT pg_reload_conf()")


async def test_the_ca_is_read_at_each_connect(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    address = server.address(LOOPBACK, "verify-full", file)
    for content, expected in ((server.right, ENCRYPTED), (server.wrong, REFUSED), (server.right, ENCRYPTED)):
        shutil.copy(content, file)
        assert await outcome(address) == expected
    file.unlink()
    with pytest.raises(InvalidCaError, match="POSTGRES_SSLROOTCERT") as refused:
        await connect(address)
    assert isinstance(refusal_of(refused.value), DatabaseUnavailable)

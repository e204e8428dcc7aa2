"""libpq's variables and files change nothing: real processes with an environment and a home against them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_line import run_extauthz
from tests.integration.serving import database_environment, environment, finished, serving

if TYPE_CHECKING:
    from tests.integration.conftest import Database

NOWHERE = "192.0.2.1"


def hostile(folder: Path) -> dict[str, str]:
    """Return every variable that libpq or asyncpg knows, each with a value that would break a connection."""
    bad = folder / "bad"
    bad.write_text("neither a certificate nor a password\n")
    service = folder / "services.conf"
    service.write_text(f"[elsewhere]\nhost={NOWHERE}\nport=1\nsslmode=verify-full\n")
    return {
        "PGHOST": NOWHERE, "PGHOSTADDR": NOWHERE, "PGPORT": "1", "PGUSER": "root", "PGPASSWORD": "wrong",
        "PGDATABASE": "elsewhere", "PGPASSFILE": str(bad), "PGSERVICE": "elsewhere",
        "PGSERVICEFILE": str(service), "PGSYSCONFDIR": str(folder), "PGSSLMODE": "verify-full",
        "PGREQUIRESSL": "1", "PGSSLROOTCERT": str(folder / "missing"), "PGSSLCERT": str(bad),
        "PGSSLKEY": str(bad), "PGSSLCRL": str(bad), "PGSSLCRLDIR": str(bad), "PGSSLSNI": "x",
        "PGSSLNEGOTIATION": "direct", "PGSSLMINPROTOCOLVERSION": "junk", "PGSSLMAXPROTOCOLVERSION": "junk",
        "PGSSLCERTMODE": "require", "PGCHANNELBINDING": "require", "PGREQUIREAUTH": "none",
        "PGGSSENCMODE": "require", "PGGSSLIB": "junk", "PGKRBSRVNAME": "x", "PGGSSDELEGATION": "1",
        "PGTARGETSESSIONATTRS": "standby", "PGLOADBALANCEHOSTS": "junk", "PGCONNECT_TIMEOUT": "junk",
        "PGCLIENTENCODING": "SQL_ASCII", "PGOPTIONS": "-c default_transaction_read_only=on", "PGAPPNAME": "x",
        "PGDATESTYLE": "SQL, DMY", "PGTZ": "Asia/Tokyo", "PGGEQO": "off", "PGLOCALEDIR": str(bad),
    }  # fmt: skip


@pytest.fixture(params=["files", "a file", "too long", "a loop", "unset"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """A home directory whose files are all invalid, or that no user (root included) can read; or none."""
    match request.param:
        case "files":
            folder = tmp_path / "home" / ".postgresql"
            folder.mkdir(parents=True)
            for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
                (folder / name).write_text("broken\n")
            passwords = folder.parent / ".pgpass"
            passwords.write_text("*:*:*:*:wrong\n")
            passwords.chmod(0o600)
            (folder.parent / ".pg_service.conf").write_text("broken")
            return {"HOME": str(folder.parent)}
        case "a file":
            (tmp_path / "file").write_text("")
            return {"HOME": str(tmp_path / "file")}
        case "too long":
            # What no user can read, root included.
            return {"HOME": "/" + "x" * 300}
        case "a loop":
            (tmp_path / "loop").symlink_to("loop")
            return {"HOME": str(tmp_path / "loop")}
        case _:
            return {}


@pytest.mark.parametrize("sslmode", [None, "disable"])
def test_a_command_connects_with_its_settings(
    database: "Database", tmp_path: Path, home: dict[str, str], sslmode: str | None
) -> None:
    told = database_environment(database.address)
    told.pop("POSTGRES_SSLMODE")
    if sslmode is not None:
        told["POSTGRES_SSLMODE"] = sslmode
    keys = tmp_path / "keys.log"
    environ = environment(told) | hostile(tmp_path) | home | {"SSLKEYLOGFILE": str(keys)}
    done = run_extauthz("migrate", "--status", environ=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": applied ") >= 5
    assert not keys.exists()


def test_a_service_runs_with_its_settings(database: "Database", tmp_path: Path) -> None:
    told = database_environment(database.address)
    told.pop("POSTGRES_SSLMODE")
    against = hostile(tmp_path) | {"HOME": "/" + "x" * 300}
    with serving(tmp_path, told) as service:
        service.environ.update(against)
        service.start("serve")
        revision = service.allow_anonymous_reads()
        assert revision == 2
        service.process.stop(grace_s=8)


_AS_A_USER_OF_NO_NAME = """
import asyncio, encodings.idna, os, sys
from pathlib import Path
from extauthz.storage.address import DatabaseAddress
from extauthz.storage.connection import connect, open_reader
os.setgroups([]); os.setgid(65532); os.setuid(65532)
os.environ.pop("HOME", None)
try:
    print(Path.home())
except RuntimeError:
    pass
else:
    sys.exit("there is a home")
host, port, user, password, database = sys.argv[1:]
async def main():
    for opened in (connect, open_reader):
        session = await opened(DatabaseAddress(host, int(port), user, password, database))
        assert await session.fetchval("SELECT 1") == 1
        await session.close()
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that has no name")
def test_a_user_without_a_name_or_a_home_connects(database: "Database") -> None:
    at = database.address
    arguments = [at.host, str(at.port), at.user, at.password, at.database]
    done = subprocess.run(
        [sys.executable, "-c", _AS_A_USER_OF_NO_NAME, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_file_for_tls_keys_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "missing" / "keys.log"
    done = finished("doctor", environ={"SSLKEYLOGFILE": str(keys)})
    assert done.returncode == 1
    problem = f"SSLKEYLOGFILE {str(keys)!r}: No such file or directory"
    assert done.stderr == f"extauthz: the system refuses to go on: {problem}\n"

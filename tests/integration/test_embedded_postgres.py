"""The database of demo and tests: on loopback, restartable, and removed at the end."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from extauthz.demo import postgres
from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.process_tree import alive, descendants, is_alive
from extauthz.demo.processes import ProcessFailedError
from tests.waiting import await_true


def ask(dsn: str, statement: str) -> object:
    async def once() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(once())


def tell(dsn: str, script: str) -> None:
    async def once() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(once())


def shared_memory_of(server: EmbeddedPostgres) -> str:
    """The System V segment that PostgreSQL guards its data folder with (line 7 of postmaster.pid)."""
    return (server.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]


def shared_memory_segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder which an ordinary user can reach; pytest's own are closed."""
    path = Path(tempfile.mkdtemp(prefix="extauthz-postgres-"))
    path.chmod(0o711)
    yield path / "cluster"
    shutil.rmtree(path)


@pytest.fixture
def cluster(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.stop()


def test_the_owner_is_bound_by_row_level_security_and_needs_its_password(cluster: EmbeddedPostgres) -> None:
    assert (
        ask(cluster.dsn, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        is False
    )
    assert ask(cluster.superuser_dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"postgresql://extauthz:wrong@127.0.0.1:{cluster.port}/extauthz", "SELECT 1")


def test_the_embedded_server_listens_on_loopback_only(cluster: EmbeddedPostgres) -> None:
    assert ask(cluster.superuser_dsn, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(cluster.superuser_dsn, "SHOW unix_socket_directories") == ""
    assert not list(cluster.folder.glob("initial-password"))


@pytest.mark.parametrize("end", [EmbeddedPostgres.stop, EmbeddedPostgres.kill], ids=["stop", "kill"])
def test_the_embedded_server_restarts_with_the_same_port_and_data(
    cluster: EmbeddedPostgres, end: object
) -> None:
    assert callable(end)
    tell(cluster.dsn, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")

    end(cluster)
    assert not cluster.running
    with pytest.raises(ConnectionRefusedError):
        ask(cluster.dsn, "SELECT 1")

    assert cluster.start() == cluster.dsn
    assert ask(cluster.dsn, "SELECT n FROM kept") == 42


@pytest.mark.parametrize("end", [EmbeddedPostgres.stop, EmbeddedPostgres.kill], ids=["stop", "kill"])
def test_nothing_is_left_behind(folder: Path, end: object) -> None:
    assert callable(end)
    server = EmbeddedPostgres(folder)
    server.start()
    family = descendants(server._child.pid) if server._child else []
    memory = shared_memory_of(server)
    assert family
    assert memory in shared_memory_segments()
    assert ask(server.superuser_dsn, "SHOW dynamic_shared_memory_type") == "mmap"

    end(server)

    assert not any(map(is_alive, family))
    assert memory not in shared_memory_segments()
    server.stop()


def test_binaries_under_a_private_home_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs PostgreSQL itself and reads the binaries where they are")
    installed = postgres._installed_binaries()
    package = installed.parents[1]
    home = folder.parent / "home"
    for source in (installed.parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, home / source.relative_to(package.parent), symlinks=True)
    home.chmod(0o700)
    monkeypatch.setattr(postgres, "_installed_binaries", lambda: home / installed.relative_to(package.parent))

    server = EmbeddedPostgres(folder)
    try:
        server.start()
        assert ask(server.dsn, "SELECT 1") == 1
        assert (folder / "binaries").is_dir()
    finally:
        server.stop()


def test_a_folder_that_the_database_user_cannot_reach_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user reaches its own folders")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(ProcessFailedError, match="is closed to other users"):
        EmbeddedPostgres(closed / "cluster").start()


def test_the_embedded_server_ends_with_its_parent(folder: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from extauthz.demo.postgres import EmbeddedPostgres
        server = EmbeddedPostgres(Path(sys.argv[1]))
        server.start()
        print(server._child.pid, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    postmaster = int(parent.stdout.readline())
    parent.stdout.close()
    memory = shared_memory_of(EmbeddedPostgres(folder))
    parent.kill()
    parent.wait()

    await_true(lambda: not alive(postmaster), what="the end of the server")
    assert memory not in shared_memory_segments()


def test_an_ordinary_user_runs_it_too(folder: Path) -> None:
    """As root: the same in a process of another user id, allowed to read our interpreter."""
    code = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        import asyncpg
        from extauthz.demo.postgres import EmbeddedPostgres

        async def ask(dsn):
            connection = await asyncpg.connect(dsn, timeout=10)
            try:
                return await connection.fetchval("SELECT current_user")
            finally:
                await connection.close()

        assert os.geteuid() != 0
        server = EmbeddedPostgres(Path(sys.argv[1]))
        try:
            print(asyncio.run(ask(server.start())))
        finally:
            server.stop()
        """
    )
    command = [sys.executable, "-c", code, str(folder)]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root needs setpriv(1) to become an ordinary user here")
        folder.parent.chmod(0o777)
        command = [
            setpriv, "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *command,
        ]  # fmt: skip
    finished = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"HOME": "/"}
    )

    assert finished.stdout.strip() == "extauthz", finished.stderr

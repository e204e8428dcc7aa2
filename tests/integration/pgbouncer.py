"""Debian's PgBouncer in front of a real PostgreSQL, with as few server connections as a test asks for."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from extauthz.demo.processes import LOOPBACK, free_port, spawn, unprivileged_user

if TYPE_CHECKING:
    from extauthz.storage.pool import DatabaseAddress

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)
Mode = Literal["session", "transaction"]


@dataclass(frozen=True)
class Bouncer:
    """A running PgBouncer."""

    port: int
    folder: Path

    def in_front_of(self, address: "DatabaseAddress") -> "DatabaseAddress":
        """Return the address through the pooler."""
        return replace(address, host=LOOPBACK, port=self.port)

    @property
    def log(self) -> str:
        return (self.folder / "pgbouncer.log").read_text()


@contextlib.contextmanager
def pgbouncer(address: "DatabaseAddress", mode: Mode, *, size: int, settings: str = "") -> Iterator[Bouncer]:
    """Run PgBouncer in front of the server of `address`; `ignore_startup_parameters` is unset."""
    assert PROGRAM is not None
    folder = Path(tempfile.mkdtemp(prefix="extauthz-pgbouncer-"))
    port = free_port()
    users = folder / "users.txt"
    users.write_text(f'"{address.user}" "{address.password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"""\
[databases]
* = host={address.host} port={address.port}
[pgbouncer]
listen_addr = {LOOPBACK}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 100
{settings}
"""
    )
    user = unprivileged_user()
    if user is not None:
        for path in (folder, users, configuration):
            os.chown(path, user.uid, user.gid)
    child = spawn(
        "pgbouncer",
        [PROGRAM, str(configuration)],
        output=folder / "pgbouncer.log",
        environment={"PATH": os.defpath},
        user=user,
    )
    try:
        child.wait_ready(lambda: _accepts(port), timeout_s=20)
        yield Bouncer(port, folder)
    finally:
        child.stop()
        shutil.rmtree(folder)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True

"""Debian's nginx with the configuration of deploy/nginx, in front of a control plane on loopback."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.demo.processes import LOOPBACK, Child, http_answers, spawn

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "followers.conf"
PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
needs_nginx = pytest.mark.skipif(
    PROGRAM is None, reason="nginx is not installed (Debian: apt-get install nginx-light)"
)
_TLS = """\
    listen 443 ssl;
    ssl_certificate /etc/nginx/extauthz.crt;
    ssl_certificate_key /etc/nginx/extauthz.key;
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    port: int
    folder: Path
    child: Child

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def stored(self) -> bytes:
        """Return everything that it wrote: caches, logs."""
        return b"".join(file.read_bytes() for file in self.folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def nginx(
    folder: Path, port: int, control_port: int, *, workers: int = 1, connections: int = 1024
) -> Iterator[Nginx]:
    """Run nginx on plain HTTP, as this user, with nothing outside of the folder."""
    assert PROGRAM is not None
    text = CONFIGURATION.read_text()
    for shipped, here in (
        (_TLS, f"    listen {LOOPBACK}:{port} reuseport;\n"),
        ("server 127.0.0.1:8080;", f"server {LOOPBACK}:{control_port};"),
        ("/var/cache/nginx/", f"{folder}/"),
    ):
        assert shipped in text, shipped
        text = text.replace(shipped, here)
    (folder / "followers.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # As root the workers would be of another user, who cannot write here.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes {workers};
worker_rlimit_nofile {2 * connections};
events {{ worker_connections {connections}; }}
http {{
    access_log {folder}/access.log;
    {temporary}
    include {folder}/followers.conf;
}}
"""
    )
    child = spawn(
        "nginx",
        [PROGRAM, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")],
        output=folder / "nginx.log",
        environment={"PATH": os.defpath},
    )
    try:
        child.wait_ready(lambda: http_answers(port, "/", status=404), timeout_s=20)
        yield Nginx(port, folder, child)
    finally:
        child.stop(grace_s=3)

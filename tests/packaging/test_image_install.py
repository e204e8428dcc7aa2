"""The image, without an image engine: its build steps in an empty folder, its result on a read-only tree."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from tests.builders import check_request, read_answer
from tests.key_server_thread import identity_provider
from tests.packaging.dockerfile import ROOT, carry_out, stages
from tests.tokens import SigningKey

BUILD, FINAL = stages((ROOT / "Dockerfile").read_text())
IMAGE_USER = int(FINAL.only("USER").partition(":")[0])
CHECK = "/envoy.service.auth.v3.Authorization/Check"

pytestmark = [pytest.mark.installs, pytest.mark.timeout(600)]


def index_variables() -> dict[str, str]:
    """Return the settings of this machine for package indexes, as a build of the image would have them."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}


@dataclass
class Image:
    """What the build stage left, seen as the final stage sees it."""

    environment: dict[str, str]
    prefix: Path
    folder: Path
    user: int | None
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, *words: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Start ENTRYPOINT with these words, with the image's environment and `settings` alone."""
        process = subprocess.Popen(
            [*FINAL.command("ENTRYPOINT"), *words],
            executable=self.prefix / "bin" / FINAL.command("ENTRYPOINT")[0],
            cwd="/",
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )
        self.running.append(process)
        return process

    def run(self, *words: str, **settings: str) -> tuple[int, str]:
        process = self.start(*words, **settings)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()


def runs_for(user: int | None, python: Path) -> bool:
    """Say whether this interpreter may be run by the image's user, and can make environments."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"],
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def interpreter() -> tuple[Path, int | None]:
    """Return the base image's part, and whom the result runs as.

    As root that is the image's user, if there is an interpreter outside of root's own folders.
    """
    own = Path(getattr(sys, "_base_executable", sys.executable))
    if os.geteuid() != 0:
        return own, None
    for python in (own, Path("/usr/local/bin/python3"), Path("/usr/bin/python3")):
        if runs_for(IMAGE_USER, python):
            return python, IMAGE_USER
    return own, None


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not tmp_path: root's is closed to others, and the image's user has to get there.
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    try:
        python, user = interpreter()
        variables = carry_out(BUILD, folder, python=python, outside=index_variables())
        prefix = Path(variables["PREFIX"])
        # The final stage has nothing but this.
        shutil.rmtree(variables["BUILD"])
        shutil.rmtree(folder / BUILD.only("WORKDIR").lstrip("/"))
        make_read_only(prefix)
        yield Image(FINAL.environment(variables), prefix, folder, user)
    finally:
        make_writable(folder)
        shutil.rmtree(folder)


def entries(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.rglob("*")


def make_read_only(folder: Path) -> None:
    for path in entries(folder):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def make_writable(folder: Path) -> None:
    for path in entries(folder):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


@pytest.fixture
def started(image: Image) -> Iterator[Image]:
    """The image, whose processes end with the test."""
    yield image
    while image.running:
        process = image.running.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def decide(target: str, *, path: str, token: str | None) -> tuple[bool, object]:
    """Ask as Envoy does; returns whether the request passes, and the reason."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with grpc.insecure_channel(target) as channel:
        ask = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
        answer = read_answer(ask(check_request(path, headers=headers), timeout=60, wait_for_ready=True))
    return answer.allowed, answer.metadata["reason"]


@pytest.mark.parametrize("command", ["serve", "sidecar", "control-plane", "migrate", "health"])
def test_one_image_has_every_command(started: Image, command: str) -> None:
    status, output = started.run(command, "--help")

    assert (status, f"extauthz {command}" in output) == (0, True), output


def test_without_settings_the_missing_ones_are_reported(started: Image) -> None:
    status, output = started.run(*FINAL.command("CMD"))

    assert status == 2
    assert "OIDC_AUDIENCE is not set" in output
    assert len(output.splitlines()) == 1


def test_it_decides_requests_as_an_unprivileged_user_on_a_read_only_tree(started: Image) -> None:
    key = SigningKey.rs256()
    grpc_port, sidecar_port, unused = free_ports(3)
    policies = started.folder / "policies"
    shutil.copytree(ROOT / "policies" / "demo", policies, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in entries(started.folder)}
    with identity_provider(key) as provider:
        settings = {
            "POLICY_SOURCE": f"files:{policies}",
            "AUTH_SERVER_URL": provider.issuer,
            "OIDC_AUDIENCE": "demo",
            "GRPC_PORT": str(grpc_port),
            "SIDECAR_PORT": str(sidecar_port),
            "PORT": str(unused),
        }
        sidecar = started.start("sidecar", **settings)
        now = int(time.time())
        claims = {"iss": provider.issuer, "aud": "demo", "sub": "alice", "iat": now, "exp": now + 300}
        alice = key.sign(claims | {"realm_access": {"roles": ["finance"]}})
        bob = key.sign(claims | {"sub": "bob"})
        target = f"127.0.0.1:{grpc_port}"

        assert decide(target, path="/demo/notices", token=None) == (True, "rule_matched")
        assert decide(target, path="/demo/invoices/7", token=alice) == (True, "rule_matched")
        assert decide(target, path="/demo/invoices/7", token=bob) == (False, "no_matching_rule")
        assert decide(target, path="/demo/invoices/7", token=None) == (False, "token_missing")

        if started.user is not None:
            assert Path(f"/proc/{sidecar.pid}").stat().st_uid == IMAGE_USER
        health = FINAL.command("HEALTHCHECK")
        assert health[0] == FINAL.command("ENTRYPOINT")[0]
        assert started.run(*health[1:], **settings) == (0, "ok\n")

        sidecar.terminate()
        output, _ = sidecar.communicate(timeout=15)
        assert sidecar.returncode == 0, output.decode()
        assert b'"event":"decision"' in output
        status, said = started.run(*health[1:], **settings)
        assert (status, "connection refused" in said) == (1, True)
    assert {path: path.stat().st_mtime_ns for path in entries(started.folder)} == before

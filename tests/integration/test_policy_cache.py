"""The cache of signed policies: a start while everything else is down, tampered and unusable folders."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.storage.feed import RowChange
from tests.integration.signed_server import SignedServer, send, signed_server
from tests.integration.signed_tenant import Sidecar, SignedTenant, following, signed_tenant
from tests.integration.storage_documents import resource
from tests.waiting import await_true

WITHIN_S = 10.0
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Stage:
    """A tenant that signs, a server of its files, and a folder for the cache."""

    tenant: SignedTenant
    server: SignedServer
    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def sidecar(
        self, url: str | None = None, *, max_staleness: float = 900.0
    ) -> AbstractContextManager[Sidecar]:
        """Start a sidecar with the cache; by default it follows the server."""
        where, keys = url or self.server.url, [self.tenant.key]
        return following(where, keys, self.folder, cache=self.cache, max_staleness=max_staleness)

    def files(self) -> list[Path]:
        """Return the cached files."""
        return sorted(path for path in self.cache.rglob("*.json*") if path.is_file())

    def cached(self) -> None:
        """Run a sidecar until it has cached the current head."""
        with self.sidecar() as sidecar:
            await_true(sidecar.allowed, within=WITHIN_S, what="the first allow")
            await_true(self.is_cached, within=WITHIN_S, what="the cached head")

    def is_cached(self) -> bool:
        head = self.cache / "signed-policies/default/head.json"
        return head.exists() and head.read_bytes() == self.tenant.folder.head()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    folder = tmp_path / "signed"
    folder.mkdir()
    tenant = signed_tenant(folder)
    tenant.changed(RowChange("resource", "x", resource(name="x")))
    with signed_server(folder) as server:
        yield Stage(tenant, server, tmp_path)


def test_a_sidecar_decides_from_its_cache_while_everything_else_is_down(stage: Stage) -> None:
    stage.cached()
    with stage.sidecar(NOWHERE) as sidecar:
        assert sidecar.allowed()
        await_true(lambda: sidecar.refusals == ["unreachable"], within=WITHIN_S, what="the refusal")
        directory = sidecar.current.current()
        assert directory is not None
        assert stage.tenant.head is not None
        assert directory.confirmed_at == stage.tenant.head.signed_at / 1000, "as old as its signature"
        assert sidecar.allowed()


def test_the_files_are_private(stage: Stage) -> None:
    stage.cached()
    assert {path.stat().st_mode & 0o777 for path in stage.files()} == {0o600}
    assert stage.cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_is_too_old_decides_nothing(stage: Stage) -> None:
    stage.cached()
    with stage.sidecar(NOWHERE, max_staleness=0.001) as sidecar:
        assert sidecar.refusals[0] == "expired"
        assert sidecar.check().metadata["reason"] == "not_ready"


@pytest.mark.parametrize("number", range(4))
def test_one_changed_byte_of_any_file_is_found_and_nothing_is_allowed(stage: Stage, number: int) -> None:
    stage.cached()
    files = stage.files()
    assert len(files) == 4, "the head, the whole, one change, the configuration"
    octets = bytearray(files[number].read_bytes())
    octets[len(octets) // 2] ^= 1
    files[number].write_bytes(octets)
    with stage.sidecar(NOWHERE) as sidecar:
        assert sidecar.refusals[0] in {"digest", "signature", "malformed"}
        assert sidecar.check().metadata["reason"] == "not_ready"
        assert any(
            "the cache is not used" in str(problem) for problem in sidecar.publisher.problems["default"]
        )
    with stage.sidecar() as sidecar:
        await_true(sidecar.allowed, within=WITHIN_S, what="the policies of the server")
        await_true(lambda: not sidecar.publisher.problems, within=WITHIN_S, what="a good cache")


@pytest.mark.parametrize("number", range(4))
def test_a_missing_or_truncated_file_is_found_too(stage: Stage, number: int) -> None:
    stage.cached()
    file = stage.files()[number]
    file.write_bytes(file.read_bytes()[:-3])
    with stage.sidecar(NOWHERE) as sidecar:
        assert not sidecar.allowed()
    file.unlink()
    with stage.sidecar(NOWHERE) as sidecar:
        assert not sidecar.allowed()


@pytest.mark.parametrize("number", range(4))
def test_a_pipe_or_a_device_in_the_folder_holds_up_no_start(stage: Stage, number: int) -> None:
    stage.cached()
    file = stage.files()[number]
    file.unlink()
    os.mkfifo(file)
    with stage.sidecar(NOWHERE) as sidecar:
        assert not sidecar.allowed()
    file.unlink()
    file.symlink_to("/dev/zero")
    with stage.sidecar(NOWHERE) as sidecar:
        assert not sidecar.allowed()
    with stage.sidecar() as sidecar:
        await_true(sidecar.allowed, within=WITHIN_S, what="the policies of the server")
        assert sidecar.allowed()


@pytest.mark.parametrize("number", range(4))
def test_of_a_huge_file_no_more_is_read_than_is_signed(stage: Stage, number: int) -> None:
    stage.cached()
    os.truncate(stage.files()[number], 1 << 40)
    with stage.sidecar(NOWHERE) as sidecar:
        assert sidecar.refusals[0] in {"digest", "malformed"}
        assert not sidecar.allowed()


def test_an_older_signed_head_is_refused_after_a_restart_too(stage: Stage) -> None:
    older = stage.tenant.envelope()
    stage.tenant.removed()
    with stage.sidecar() as sidecar:
        await_true(stage.is_cached, within=WITHIN_S, what="the cached head")
        assert not sidecar.allowed()
    stage.server.head = lambda request, _: send(request, older)
    with stage.sidecar() as sidecar:
        await_true(lambda: "serial" in sidecar.refusals, within=WITHIN_S, what="the refusal")
        assert not sidecar.allowed()


def test_the_cache_of_another_key_is_not_used(stage: Stage) -> None:
    stage.cached()
    other = Ed25519PrivateKey.generate()
    with following(NOWHERE, [other], stage.folder, cache=stage.cache) as sidecar:
        assert sidecar.refusals[0] == "signature"
        assert not sidecar.allowed()


def test_processes_that_share_a_cache_have_one_writer(stage: Stage) -> None:
    with stage.sidecar() as first:
        await_true(stage.is_cached, within=WITHIN_S, what="the cached head")
        before = {path: path.stat().st_ino for path in stage.files()}
        with stage.sidecar() as second:
            await_true(second.allowed, within=WITHIN_S, what="the second sidecar")
            assert {path: path.stat().st_ino for path in stage.files()} == before
        assert first.allowed()


@pytest.mark.parametrize("place", ["a file", "/proc/extauthz-cache"])
def test_a_folder_that_cannot_be_written_is_named_and_holds_up_nothing(stage: Stage, place: str) -> None:
    file = stage.folder / "a file"
    file.write_bytes(b"")
    cache = stage.folder / place / "cache" if place == "a file" else Path(place)
    with following(stage.server.url, [stage.tenant.key], stage.folder, cache=cache) as sidecar:
        await_true(sidecar.allowed, within=WITHIN_S, what="the policies of the server")

        def named() -> bool:
            problems = sidecar.publisher.problems.get("default", ())
            return any("the cache cannot be" in str(problem) for problem in problems)

        await_true(named, within=WITHIN_S, what="the problem")


def test_a_full_disk_leaves_the_cache_as_it_was(stage: Stage) -> None:
    stage.cached()
    before = {path.name: path.read_bytes() for path in stage.files()}
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from extauthz.signed.folder import PolicyFolder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "folder = PolicyFolder(Path(sys.argv[1]), 'default')\n"
        "try: folder.write(None, b'x' * 100, {})\n"
        "except OSError as error: sys.exit(error.strerror)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(stage.cache)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=30,
    )
    assert ended.stderr.strip() == "File too large"
    assert {path.name: path.read_bytes() for path in stage.files()} == before
    assert not [path for path in stage.cache.rglob(".*") if path.name != ".lock"], "no unfinished file stays"

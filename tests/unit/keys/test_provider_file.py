"""The file of IDENTITY_PROVIDERS is followed; a mistake keeps the last good providers."""

import json
import os
from pathlib import Path

from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.provider_documents import ProviderDefaults
from extauthz.keys.provider_file import ProviderFile, Sources

DEFAULTS = ProviderDefaults(TenancyMode.SELFHOST, "roles", "dom", "adm", frozenset(), frozenset())


class Followed:
    """A provider file on disk, and the issuers that were handed on."""

    def __init__(self, folder: Path, *issuers: str) -> None:
        self.path = folder / "providers.yaml"
        self.handed_on: list[list[str]] = []
        self._written = 0
        self.write(*issuers)
        self.file = ProviderFile(self.path, DEFAULTS, self._take)

    def write(self, *issuers: str) -> None:
        document = {"providers": [{"issuer": each, "audiences": "any"} for each in issuers]}
        self.write_text(json.dumps(document))

    def write_text(self, text: str) -> None:
        self.path.write_text(text)
        # The clock of a file system may be coarser than two writes of this test are apart.
        self._written += 1
        os.utime(self.path, ns=(self._written * 10**9, self._written * 10**9))

    def _take(self, sources: Sources) -> None:
        self.handed_on.append([source.config.issuer for source in sources])


def test_a_change_is_published_after_two_equal_readings(tmp_path: Path) -> None:
    followed = Followed(tmp_path, "https://a.example")
    assert isinstance(followed.file.load(), tuple)
    followed.file.look()
    assert followed.handed_on == []
    followed.write("https://a.example", "https://b.example")
    followed.file.look()
    assert followed.handed_on == []
    followed.file.look()
    followed.file.look()
    assert followed.handed_on == [["https://a.example", "https://b.example"]]


def test_a_mistake_keeps_the_last_good_providers_and_is_named(tmp_path: Path) -> None:
    followed = Followed(tmp_path, "https://a.example")
    followed.file.load()
    followed.write_text("providers: [{issuer: https://b.example}]")
    for _ in range(3):
        followed.file.look()
    assert followed.handed_on == []
    assert [problem.pointer for problem in followed.file.problems] == ["/providers/0/audiences"]
    followed.write("https://c.example")
    for _ in range(3):
        followed.file.look()
    assert followed.handed_on == [["https://c.example"]]
    assert followed.file.problems == []


def test_a_deleted_file_keeps_the_last_good_providers(tmp_path: Path) -> None:
    followed = Followed(tmp_path, "https://a.example")
    followed.file.load()
    followed.path.unlink()
    for _ in range(3):
        followed.file.look()
    assert followed.handed_on == []
    assert [str(problem) for problem in followed.file.problems] == [
        "/: cannot be read: No such file or directory"
    ]
    followed.write("https://a.example", "https://b.example")
    for _ in range(2):
        followed.file.look()
    assert followed.handed_on == [["https://a.example", "https://b.example"]]


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    found = ProviderFile(tmp_path / "fifo", DEFAULTS).load()
    assert isinstance(found, list)
    assert [str(problem) for problem in found] == ["/: cannot be read: is not a regular file"]

"""The stamp of a file changes with every write, whatever the writer keeps."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from extauthz.commands.watching import Watched
from extauthz.keys import followed_file
from extauthz.keys.file_stamp import file_stamp
from extauthz.keys.followed_file import FollowedFile, read_regular_file

SOURCE = Path(__file__).parents[3] / "extauthz"


def write_keeping_times(file: Path, text: str) -> None:
    """Write text of the same size in place, as `cp -p` and `rsync -a --inplace` do."""
    before = file.stat()
    with file.open("r+") as opened:
        opened.write(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = file.stat()
    assert (now.st_mtime_ns, now.st_size, now.st_ino) == (
        before.st_mtime_ns,
        before.st_size,
        before.st_ino,
    )


def test_a_write_that_keeps_time_size_and_inode_is_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text("sub: alice")
    before = file_stamp(file.stat())
    write_keeping_times(file, "sub: carol")
    assert file_stamp(file.stat()) != before


def test_a_followed_file_is_read_again_after_such_a_write(tmp_path: Path) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text("aud: alice")
    found = list[bytes]()
    file = FollowedFile(path, 100, lambda: found.append(file.read()))
    file.read()
    write_keeping_times(path, "aud: carol")
    file.look()
    file.look()
    assert found == [b"aud: carol"]


def test_a_followed_file_that_changes_while_it_is_read_is_read_once_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text("issuer: a\n")
    found, waiting = list[bytes](), ["issuer: a\nrequire_bound: true\n"]

    def read_and_write(name: Path, at_most: int) -> bytes:
        octets = read_regular_file(name, at_most)
        if waiting:
            path.write_text(waiting.pop())
        return octets

    monkeypatch.setattr(followed_file, "read_regular_file", read_and_write)
    file = FollowedFile(path, 100, lambda: found.append(file.read()))
    with pytest.raises(OSError, match="changed while it was read"):
        file.read()
    file.look()
    file.look()
    assert found == [b"issuer: a\nrequire_bound: true\n"]


def test_a_followed_file_that_could_not_be_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text("issuer: a\n")
    found, fails = list[bytes](), [True]

    def read_or_fail(name: Path, at_most: int) -> bytes:
        if fails[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read_regular_file(name, at_most)

    def changed() -> None:
        with contextlib.suppress(OSError):
            found.append(file.read())

    monkeypatch.setattr(followed_file, "read_regular_file", read_or_fail)
    file = FollowedFile(path, 100, changed)
    changed()
    file.look()
    assert found == []
    fails[0] = False
    for _ in range(3):
        file.look()
    assert found == [b"issuer: a\n"]


def test_watched_paths_change_with_such_a_write(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("sub: alice")
    watched = Watched([path])
    write_keeping_times(path, "sub: carol")
    watched.wait()


@pytest.mark.parametrize("field", ["st_mtime_ns", "st_ctime_ns"])
def test_changes_of_files_are_told_in_one_place(field: str) -> None:
    found = [file.name for file in SOURCE.rglob("*.py") if field in file.read_text("utf-8")]
    assert found == ["file_stamp.py"]

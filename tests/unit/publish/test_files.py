"""Policies from files: invalid files keep the last good policies in force."""

import errno
import os
import threading
from pathlib import Path

import pytest

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.snapshot import Snapshot
from extauthz.domain import policy_digest
from extauthz.domain.policy import Entity
from extauthz.domain.policy_digest import entity_hash
from extauthz.folders.files import read_file
from extauthz.publish import files
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.files import FilesPublisher, FolderState, PolicyDirectory
from tests.shipped_model import MODEL

DENY = "role_rules: [{id: shut, sub: '*', dom: '*', obj: vault, act: '*', effect: deny}]"


def directory(root: Path, *, max_bytes: int | None = None) -> PolicyDirectory:
    return PolicyDirectory(root, Reading(), MODEL, max_bytes=max_bytes)


@pytest.mark.parametrize("text", ["", "\n", "# being written\n", "null", "---\n"])
def test_an_emptied_file_does_not_take_its_denies_away(tmp_path: Path, text: str) -> None:
    (tmp_path / "allows.yaml").write_text("{}")
    (tmp_path / "denies.yaml").write_text(DENY)
    current, alarms = CurrentPolicies(), list[int]()
    publisher = FilesPublisher(directory(tmp_path), current, on_failure=lambda: alarms.append(1))
    assert not publisher.load_first()
    (tmp_path / "denies.yaml").write_text(text)
    publisher.look()
    publisher.look()
    found = current.current()
    assert found is not None
    assert "shut" in found.snapshots["default"].role_rules_by_id
    assert alarms == [1]


def test_no_policies_are_written_as_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("# none yet\n{}\n")
    assert isinstance(directory(tmp_path).load(1), Snapshot)


def test_a_path_that_is_not_a_file_is_reported_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    found = directory(tmp_path).load(1)
    assert isinstance(found, list)
    assert [str(problem) for problem in found] == [f"{tmp_path}/pipe.yaml /: is not a file that holds text"]


def test_the_digest_of_a_large_set_is_counted_by_the_thread_that_logs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = list[int]()

    def noted(entity: Entity) -> int:
        counting.append(threading.get_ident())
        return entity_hash(entity)

    monkeypatch.setattr(policy_digest, "COUNTED_AT_ONCE", 0)
    monkeypatch.setattr(policy_digest, "entity_hash", noted)
    (tmp_path / "denies.yaml").write_text(DENY)
    current = CurrentPolicies()
    assert not FilesPublisher(directory(tmp_path), current).load_first()
    assert counting == [threading.get_ident()]
    found = current.current()
    assert found is not None
    assert found.snapshots["default"].policy_digest.text == found.snapshots["default"].digest()


ODD = """
resources:
  - {name: r, serviceName: s, routes: [{methods: [GET], path: '/a/*'}]}
attribute_policies:
  - {id: p, name: p, resource: r, effect: allow,
     rule_data: {type: CONDITION, attribute: env.hour, operator: eq, value: 24}}
"""


def test_likely_mistakes_are_logged_with_their_file_when_policies_are_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fine.yaml").write_text(DENY)
    (tmp_path / "odd.yaml").write_text(ODD)
    source = directory(tmp_path)
    assert not FilesPublisher(source, CurrentPolicies()).load_first()
    assert [(each.file, each.problem.pointer) for each in source.warnings] == [
        ("odd.yaml", "/resources/0/routes/0/path"),
        ("odd.yaml", "/attribute_policies/0/rule_data/value"),
    ]
    logged = "".join(capfd.readouterr())
    assert logged.count("policy_likely_mistake") == 2
    assert "env.hour is an integer from 0 to 23" in logged


def test_files_that_are_too_large_together_are_refused_and_the_last_good_policies_stay(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    limit = 2 * len(DENY)
    (tmp_path / "denies.yaml").write_text(DENY)
    current, alarms = CurrentPolicies(), list[int]()
    publisher = FilesPublisher(
        directory(tmp_path, max_bytes=limit), current, on_failure=lambda: alarms.append(1)
    )
    assert not publisher.load_first()

    def rules() -> set[str]:
        found = current.current()
        assert found is not None
        return set(found.snapshots["default"].role_rules_by_id)

    (tmp_path / "more.yaml").write_text(DENY.replace("shut", "open").replace("deny", "allow"))
    publisher.look()
    publisher.look()
    said = f"the policies have {2 * len(DENY) + 1} bytes, POLICY_MAX_BYTES allows {limit}"
    assert rules() == {"shut"}
    assert alarms == [1]
    assert [str(problem) for problem in publisher.problems["default"]] == [f"all files together /: {said}"]
    logged = "".join(capfd.readouterr())
    assert "policies_refused" in logged
    assert said in logged

    # As large as may be: the same rule, named with one byte less.
    (tmp_path / "more.yaml").write_text(DENY.replace("shut", "ope").replace("deny", "allow"))
    publisher.look()
    publisher.look()
    assert rules() == {"shut", "ope"}
    assert not publisher.problems


def test_a_file_that_grows_while_it_is_read_is_refused_too(tmp_path: Path) -> None:
    # The size of such a file is 0 for any content.
    (tmp_path / "endless.yaml").symlink_to("/proc/self/limits")
    found = directory(tmp_path, max_bytes=100).load(1)
    assert isinstance(found, list)
    assert [str(problem) for problem in found] == [
        "all files together /: the policies have 101 bytes, POLICY_MAX_BYTES allows 100"
    ]


def test_a_change_that_keeps_size_times_and_inode_counts(tmp_path: Path) -> None:
    # As `cp -p`, `rsync -a --inplace` and archives with fixed times write it.
    file = tmp_path / "denies.yaml"
    file.write_text(DENY)
    before = file.stat()
    current = CurrentPolicies()
    publisher = FilesPublisher(directory(tmp_path), current)
    assert not publisher.load_first()

    with file.open("r+") as text:
        text.write(DENY.replace("shut", "seal"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_ino) == (before.st_size, before.st_ino)
    publisher.look()
    publisher.look()

    found = current.current()
    assert found is not None
    assert set(found.snapshots["default"].role_rules_by_id) == {"seal"}


def test_files_that_change_while_they_are_read_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(DENY)
    (tmp_path / "b.yaml").write_text(DENY.replace("shut", "seal"))
    current, waiting = CurrentPolicies(), ["role_rules: []", DENY.replace("shut", "bolt")]
    publisher = FilesPublisher(directory(tmp_path), current)
    assert not publisher.load_first()

    def rules() -> set[str]:
        found = current.current()
        assert found is not None
        return set(found.snapshots["default"].role_rules_by_id)

    def read_and_write(path: Path, at_most: int | None) -> bytes:
        # What is read is half of a file whose other half is written meanwhile.
        octets = read_file(path, at_most)
        if path.name == "b.yaml" and waiting:
            path.write_text(waiting.pop())
        return octets

    monkeypatch.setattr(files, "read_file", read_and_write)
    (tmp_path / "b.yaml").write_text("role_rules: []")
    publisher.look()
    publisher.look()
    assert rules() == {"shut", "seal"}
    (problem,) = publisher.problems["default"]
    assert "changed while they were read" in str(problem)
    publisher.look()
    publisher.look()
    assert rules() == {"shut", "seal"}
    publisher.look()
    publisher.look()
    assert rules() == {"shut"}
    assert not publisher.problems


def test_a_file_that_could_not_be_read_is_read_again_although_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "denies.yaml").write_text(DENY)
    steady, current, fails = [0.0], CurrentPolicies(), [True]
    publisher = FilesPublisher(directory(tmp_path), current, steady=lambda: steady[0])
    assert not publisher.load_first()

    def read_or_fail(path: Path, at_most: int | None) -> bytes:
        if fails[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read_file(path, at_most)

    monkeypatch.setattr(files, "read_file", read_or_fail)
    (tmp_path / "denies.yaml").write_text(DENY.replace("shut", "seal"))
    for _ in range(5):
        publisher.look()
        steady[0] += 1.0
    assert "Input/output error" in str(publisher.problems["default"])
    assert "".join(capfd.readouterr()).count("policies_refused") == 1

    fails[0] = False
    publisher.look()
    found = current.current()
    assert found is not None
    assert set(found.snapshots["default"].role_rules_by_id) == {"seal"}
    assert not publisher.problems


def test_policies_that_are_not_confirmed_grow_old_although_the_clock_is_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "denies.yaml").write_text(DENY)
    clock, steady, current = [10_000.0], [500.0], CurrentPolicies()
    publisher = FilesPublisher(directory(folder), current, clock=lambda: clock[0], steady=lambda: steady[0])
    assert not publisher.load_first()

    def age() -> float:
        found = current.current()
        assert found is not None
        return clock[0] - found.confirmed("default")

    folder.rename(tmp_path / "elsewhere")
    clock[0], steady[0] = 10_000.0 - 3_600.0 + 60.0, 560.0
    publisher.look()
    assert age() == 60.0
    (tmp_path / "elsewhere").rename(folder)
    publisher.look()
    assert age() == 0.0


class Late(PolicyDirectory):
    """A directory whose answer comes an hour late, as after a stop of the process."""

    clocks: tuple[list[float], ...] = ()

    def signature(self) -> FolderState:
        found = super().signature()
        for clock in self.clocks:
            clock[0] += 3_600.0
        return found


def test_policies_are_as_old_as_the_look_at_their_files_began(tmp_path: Path) -> None:
    (tmp_path / "denies.yaml").write_text(DENY)
    clock, steady, current = [10_000.0], [500.0], CurrentPolicies()
    source = Late(tmp_path, Reading(), MODEL)
    publisher = FilesPublisher(source, current, clock=lambda: clock[0], steady=lambda: steady[0])
    source.clocks = clock, steady

    def confirmed_at() -> float:
        found = current.current()
        assert found is not None
        return found.confirmed("default")

    assert not publisher.load_first()
    assert confirmed_at() == 10_000.0
    began = clock[0]
    publisher.look()
    assert confirmed_at() == began < clock[0]
    (tmp_path / "denies.yaml").write_text(DENY.replace("vault", "safe"))
    publisher.look()
    began = clock[0]
    publisher.look()
    assert confirmed_at() == began < clock[0]


def test_what_looks_like_policies_and_is_not_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "allows.yaml").write_text("{}")
    (tmp_path / "denies.YAML").write_text(DENY)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "shared").symlink_to(tmp_path / "elsewhere")
    source = directory(tmp_path)
    assert isinstance(source.load(1), Snapshot)
    assert sorted(map(str, source.warnings)) == [
        "denies.YAML /: is not read: its name has to end in .yaml, .yml or .json",
        "shared /: is a link to a folder, which is not followed",
    ]


def test_a_json_file_may_be_as_large_as_all_policies(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text("{" + " " * (64 * 1024 * 1024) + "}")
    assert isinstance(directory(tmp_path, max_bytes=2**28).load(1), Snapshot)

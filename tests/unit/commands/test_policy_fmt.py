"""`extauthz policy fmt`: files are replaced whole or left, and nothing outside of the folder is written."""

import json
import os
from pathlib import Path

import pytest

from extauthz.commands import policy_fmt
from extauthz.commands.policy_fmt import FormatArguments
from extauthz.folders.writing import read_text_of, replace_text
from tests.command_line import run_extauthz

UGLY = "role_rules:  \n- {id: a}   # why\n"
NEAT = "role_rules:\n  - {id: a}  # why\n"


def fmt(*paths: Path, check: bool = False) -> int:
    return policy_fmt.run(FormatArguments(paths, check=check))


def test_files_are_formatted_and_keep_their_permissions(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(UGLY)
    (tmp_path / "b.yaml").write_text(NEAT)
    (tmp_path / "a.yaml").chmod(0o640)
    ended = run_extauthz("policy", "fmt", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{tmp_path}/a.yaml\n1 file of 2 formatted\n"
    assert (tmp_path / "a.yaml").read_text() == NEAT
    assert (tmp_path / "a.yaml").stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.yaml", "b.yaml"]
    assert run_extauthz("policy", "fmt", tmp_path).stdout == "no files of 2 formatted\n"


def test_check_and_diff_write_nothing_and_fail(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(UGLY)
    ended = run_extauthz("policy", "fmt", tmp_path, "--check")
    assert (ended.returncode, ended.stdout) == (1, f"{tmp_path}/a.yaml\n1 file of 1 would be formatted\n")
    ended = run_extauthz("policy", "fmt", tmp_path, "--diff")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[:2] == [
        f"--- {tmp_path}/a.yaml",
        f"+++ {tmp_path}/a.yaml (formatted)",
    ]
    assert "+  - {id: a}  # why" in ended.stdout.splitlines()
    ended = run_extauthz("policy", "fmt", tmp_path / "a.yaml", "--check", "--json")
    assert json.loads(ended.stdout) == {
        "ok": False,
        "files": 1,
        "changed": [f"{tmp_path}/a.yaml"],
        "problems": [],
    }
    assert (tmp_path / "a.yaml").read_text() == UGLY


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_formatted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "b.yaml").write_text(UGLY)
    os.mkfifo(tmp_path / "c.yaml")
    assert fmt(tmp_path) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"extauthz: {tmp_path}/a.yaml:2:1: did not find expected node content",
        f"extauthz: {tmp_path}/c.yaml: cannot be read: is not a file that holds text",
    ]
    assert (tmp_path / "b.yaml").read_text() == NEAT


def test_a_read_only_file_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(UGLY)
    (tmp_path / "a.yaml").chmod(0o444)
    assert fmt(tmp_path) == 1
    assert capsys.readouterr().err == f"extauthz: {tmp_path}/a.yaml: is left as it is: is read-only\n"
    assert (tmp_path / "a.yaml").read_text() == UGLY


def test_links_stay_links_and_files_outside_of_the_folder_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(UGLY)
    (folder / "inside.yaml").symlink_to("a.yaml")
    (tmp_path / "outside.yaml").write_text(UGLY)
    (folder / "outside.yaml").symlink_to("../outside.yaml")
    assert fmt(folder) == 1
    said = capsys.readouterr()
    assert said.out == f"{folder}/a.yaml\n1 file of 2 formatted\n"
    assert "outside.yaml: is a link to a file outside of the folder; format that one" in said.err
    assert (folder / "inside.yaml").is_symlink()
    assert (folder / "inside.yaml").read_text() == NEAT
    assert (tmp_path / "outside.yaml").read_text() == UGLY


def test_a_file_that_changed_since_it_was_read_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(UGLY)
    read = read_text_of(path, 1000)
    path.write_text(UGLY + "# by another\n")
    with pytest.raises(OSError, match="was changed meanwhile"):
        replace_text(path, read, NEAT.encode())
    assert path.read_text().endswith("# by another\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a.yaml"]


def test_a_failed_write_leaves_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(UGLY)

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert fmt(tmp_path) == 1
    assert "is left as it is: No space left on device" in capsys.readouterr().err
    assert [each.read_text() for each in tmp_path.iterdir()] == [UGLY]


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_a_path_that_cannot_be_formatted_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("a")
    ended = run_extauthz("policy", "fmt", tmp_path / name)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is not a folder" in ended.stderr

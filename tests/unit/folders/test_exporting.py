"""The files of an export are deterministic, read as the same policies, and leave other files alone."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from extauthz.compile.documents.policy_files import read_document
from extauthz.folders.exporting import ExportError, files, write
from extauthz.folders.live_rows import LiveRows
from extauthz.folders.plan import Plan
from extauthz.folders.rows import RESOURCE, live_row
from tests.random_folders import random_folder
from tests.unit.folders.test_plan import Server, planned, rows


def exported(server: Server) -> dict[str, Any]:
    """Return the documents of the files together."""
    found: dict[str, Any] = {}
    for text in files(LiveRows(1, tuple(server.live))).values():
        read = read_document(text.encode(), is_json=False)
        assert isinstance(read, dict), read
        found |= read
    return found


@pytest.mark.parametrize("shard", range(4))
def test_random_rows_are_exported_exactly(shard: int) -> None:
    for seed in range(shard, 32, 4):
        server = Server(rows(**random_folder(random.Random(seed))))
        folder = rows(**exported(server))
        assert planned(folder, server.live, prune=True) == Plan(), seed
        # Every rule has the id that the decisions of the server name.
        ids = {row.id for row in server.live if row.kind in {"role_rule", "attribute_policy"}}
        assert {row.id for row in folder if row.kind in {"role_rule", "attribute_policy"}} == ids, seed


def test_the_order_of_live_rows_is_not_seen() -> None:
    live = Server(rows(**random_folder(random.Random(5)))).live
    shuffled = list(live)
    random.Random(1).shuffle(shuffled)
    assert files(LiveRows(1, tuple(live))) == files(LiveRows(2, tuple(shuffled)))


def test_a_row_that_cannot_be_read_is_named() -> None:
    row = live_row("role_rule", {"id": "x", "sub": 3, "warnings": [{"code": "unreadable_row"}]})
    with pytest.raises(ExportError, match="the live role rule x cannot be read; replace or delete it"):
        files(LiveRows(1, (row,)))


def test_what_the_caller_may_not_read_has_no_file() -> None:
    assert "resources.yaml" not in files(LiveRows(1, (), frozenset({RESOURCE})))


def test_files_that_no_export_wrote_are_left_alone(tmp_path: Path) -> None:
    texts = files(LiveRows(1, ()))
    (tmp_path / "role_rules.yaml").write_text("role_rules: []\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.json").write_text("{}")
    (tmp_path / "resources.yaml").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(ExportError) as refused:
        write(tmp_path, texts)
    assert [problem.partition(" ")[0] for problem in refused.value.problems] == [
        "resources.yaml", "role_rules.yaml", "sub/more.json",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt", "resources.yaml", "role_rules.yaml", "sub",
    ]  # fmt: skip


def test_an_export_that_fails_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    texts = files(LiveRows(1, ()))
    write(tmp_path, texts)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    (tmp_path / "role_rules.yaml").unlink()
    (tmp_path / "role_rules.yaml").mkdir()
    changed = {name: text + "# more\n" for name, text in texts.items()}
    with pytest.raises(OSError, match="directory"):
        write(tmp_path, changed)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert (tmp_path / "role_bindings.yaml").read_text() == before["role_bindings.yaml"]


def test_files_have_the_permissions_that_new_files_have(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write(tmp_path / "new", files(LiveRows(1, ())))
    finally:
        os.umask(mask)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").iterdir()} == {"0o640"}

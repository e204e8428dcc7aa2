"""Folders and a server with a row that was damaged outside the API: it is named, and can be pruned."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.applying import command, write_folder
from tests.integration.damaged_rows import DAMAGES
from tests.integration.rest_harness import rule
from tests.integration.test_rest_damaged_rows import damaged
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
UNREADABLE = "a number of 5,000 digits"


@pytest.mark.parametrize("damage", ["routes that are not objects", UNREADABLE])
async def test_a_damaged_row_is_named_by_an_export_and_pruned_by_a_folder(
    database: "Database", tmp_path: Path, damage: str
) -> None:
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        await until(lambda: bool(stored.api.services.unreadable("default")), within=20)
        refused = await command(stored.api, "export", tmp_path / "new")
        assert refused.returncode == 1
        assert not (tmp_path / "new").exists()
        folder = write_folder(tmp_path / "folder", {"role_rules": [rule(id="a", act="more")]})
        added = await command(stored.api, "apply", folder)
        assert added.returncode == (1 if damage == UNREADABLE else 0)
        if damage == UNREADABLE:
            assert "a number out of range" in added.stderr
            return
        assert f"the live {kind.replace('_', ' ')} {stored.damaged[kind]} cannot be read" in refused.stderr
        pruned = await command(stored.api, "apply", folder, "--prune")
        assert pruned.returncode == 0
        assert (await command(stored.api, "export", tmp_path / "new")).returncode == 0

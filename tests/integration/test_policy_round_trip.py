"""Random folders go through REST: applied, exported and read again, nothing is lost and nothing changes."""

import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.documents.policy_files import read_document
from tests.integration.applying import command, write_folder
from tests.integration.rest_harness import Api, rest
from tests.property.generators import random_request
from tests.random_folders import TABLES, edited, random_folder
from tests.shipped_model import MODEL

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
ROUNDS = int(os.environ.get("ROUNDS", "4"))
SETTINGS = {"unmapped": "path", "condition_headers": ["x-channel"], "claim_headers": ["x-user-email"]}


async def unchanged(api: Api, folder: Path, *arguments: str) -> None:
    """Fail unless the folder makes no plan."""
    found = await command(api, "apply", folder, "--dry-run", *arguments)
    assert found.returncode == 0, found
    assert found.stderr == ""


def documents(folder: Path) -> dict[str, Any]:
    """Return what all files of an exported folder hold."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        read = read_document(path.read_bytes(), is_json=False)
        assert isinstance(read, dict), read
        found |= read
    assert sorted(found) == sorted(TABLES)
    return found


def exact(text: bytes) -> Any:
    """Return a JSON value with exact numbers."""
    return read_document(text, is_json=True)


async def live_documents(api: Api) -> dict[str, Any]:
    """Return the rows of the server as policies of a file. What resources declare is in their rules."""
    found: dict[str, Any] = {}
    for table, path, dropped in (
        ("resources", "resources", {"id", "public", "defaultRoles", "createdAt", "updatedAt", "warnings"}),
        ("role_rules", "resources/policies", {"created_at", "updated_at"}),
        ("role_bindings", "role-bindings", {"created_at", "updated_at"}),
        ("attribute_policies", "abac/policies", {"created_at", "updated_at", "version", "deleted_at"}),
    ):
        answer = (await api.get(f"/api/v1/{path}?limit=1000")).succeeded(200)
        items = exact(answer.raw)["items"]
        found[table] = [{key: item[key] for key in item if key not in dropped} for item in items]
    return found


def runner(policies: dict[str, Any]) -> CaseRunner:
    return CaseRunner.of({"settings": SETTINGS, "policies": policies}, MODEL)


async def test_random_folders_are_applied_exported_and_applied_without_a_difference(
    database: "Database", tmp_path: Path
) -> None:
    asked = 0
    async with rest(database) as api:
        before: dict[str, Any] | None = None
        for seed in range(ROUNDS):
            rng = random.Random(seed)
            made = random_folder(rng)
            if before is not None and seed % 3:
                made = edited(rng, before, made)
            folder = write_folder(tmp_path / f"folder{seed}", json.loads(json.dumps(made, default=float)))
            applied = await command(api, "apply", folder, "--prune")
            if is_kept(applied.stdout) and "already leads to" in applied.stderr:
                # A resource that stays, because rules name it, has a route that the folder gives to another.
                continue
            assert applied.returncode == 0, (seed, applied)
            await unchanged(api, folder)
            exported = tmp_path / f"exported{seed}"
            written = await command(api, "export", exported)
            assert written.returncode == 0, (seed, written)
            await unchanged(api, exported, "--prune")
            again = await command(api, "export", exported)
            assert "wrote" not in again.stdout, again
            before = documents(exported)
            live, files, author = (
                runner(await live_documents(api)),
                runner(before),
                runner(exact((folder / "policies.json").read_bytes())),
            )
            policy_set = {"settings": {"mode": "selfhost"}, "policies": made}
            for _ in range(20):
                case = random_request(rng, policy_set)
                answer = files.answer(case)
                assert answer == live.answer(case), (seed, case)
                wanted = author.answer(case)
                if not is_kept(applied.stdout):
                    assert (answer["decision"], answer["reason"]) == (wanted["decision"], wanted["reason"]), (
                        seed,
                        case,
                    )
                asked += 1
    assert asked


def is_kept(plan: str) -> bool:
    """Tell whether --prune kept resources, because rules of the folder name them."""
    return "rules of the folder name it" in plan

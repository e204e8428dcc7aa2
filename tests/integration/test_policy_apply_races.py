"""`extauthz policy apply` and `policy export` while others write the same policies."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.commands import policy_apply
from extauthz.folders.rest_access import RestAccess, rest_access
from extauthz.folders.rest_client import Answer, RestClient
from tests.integration.applying import command, drafts, environment, revision, rows, write_folder
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


class Meanwhile(RestClient):
    """A client that has something done before its first request to a path."""

    def __init__(self, access: RestAccess, path: str, work: "Callable[[], Awaitable[None]]") -> None:
        super().__init__(access)
        self._path, self._work, self._loop = path, work, asyncio.get_running_loop()

    def call(self, method: str, path: str, *arguments: Any, **more: Any) -> Answer:
        if method == "POST" and path.endswith(self._path) and self._path:
            self._path = ""
            asyncio.run_coroutine_threadsafe(self._worked(), self._loop).result()
        return super().call(method, path, *arguments, **more)

    async def _worked(self) -> None:
        await self._work()


async def applied(api: Api, folder: Path, path: str, work: "Callable[[], Awaitable[None]]") -> int:
    environ = environment(api)
    access = rest_access(environ)
    assert isinstance(access, RestAccess)
    client = Meanwhile(access, path, work)
    given = policy_apply.ApplyArguments(folder)
    return await asyncio.to_thread(policy_apply.run, environ, given, connect=lambda _: client)


async def test_a_live_write_between_plan_and_publication_is_planned_again(
    database: "Database", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rest(database) as api:
        folder, other = tmp_path / "folder", ""

        async def unrelated() -> None:
            (await api.post("/api/v1/resources/policies", rule(act=other))).succeeded(201)

        for number, path in enumerate(("/drafts", "/changes", "/publish"), 1):
            other = f"other {number}"
            write_folder(folder, {"role_rules": [rule(id="mine", act=f"mine {number}")]})
            assert await applied(api, folder, path, unrelated) == 0
            assert await revision(api) == 2 * number
            found = {each["act"] for each in await rows(api, "resources/policies")}
            assert {f"mine {number}", other} <= found
            assert await drafts(api) == []

        write_folder(folder, {"role_rules": [rule(id="mine", act="next")]})
        capsys.readouterr()

        async def the_same() -> None:
            (await api.post("/api/v1/resources/policies", rule(act="next"))).succeeded(201)

        assert await applied(api, folder, "/changes", the_same) == 1
        assert (
            "the plan is another one now; nothing was applied, run the command again"
            in capsys.readouterr().err
        )
        assert (await revision(api), await drafts(api)) == (7, [])


async def test_of_two_applies_at_once_one_wins_and_the_other_is_told(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database) as api:
        for number in range(3):
            folders = [
                write_folder(
                    tmp_path / f"{number}{name}",
                    {"resources": [{"name": "r", "serviceName": "s", "displayName": f"{name}{number}"}]},
                )
                for name in "ab"
            ]
            before = await revision(api)
            work = [asyncio.create_task(applied(api, folder, "", _nothing)) for folder in folders]
            statuses = await asyncio.gather(*work)
            assert await revision(api) == before + statuses.count(0)
            assert statuses.count(0) in {1, 2}
            assert await drafts(api) == []


async def _nothing() -> None:
    return


async def test_of_two_plans_for_one_revision_the_second_is_told(
    database: "Database", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rest(database) as api:
        folders = [
            write_folder(
                tmp_path / name, {"resources": [{"name": "r", "serviceName": "s", "displayName": name}]}
            )
            for name in ("one", "two")
        ]

        async def other() -> None:
            assert (await command(api, "apply", folders[1])).returncode == 0

        assert await applied(api, folders[0], "/publish", other) == 1
        assert "the live policies were written meanwhile (revision 0 is now 1)" in capsys.readouterr().err
        assert [each["displayName"] for each in await rows(api, "resources")] == ["two"]
        assert (await revision(api), await drafts(api)) == (1, [])


async def test_an_export_while_others_write_is_of_one_revision(database: "Database", tmp_path: Path) -> None:
    async with rest(database) as api:
        pairs = 40
        stop = False
        begun = asyncio.Event()

        async def write() -> None:
            """Keep two rows that belong together: a rule and a binding."""
            number = 0
            while not stop and number < pairs:
                number += 1
                draft = (await api.post("/api/v1/drafts", {})).succeeded(201).body["id"]
                binding = {"user": f"u{number}", "user_kind": "user", "role": "r", "dom": "*"}
                changes = [
                    {"action": "create", "kind": "role_rule", "document": rule(act=f"u{number}")},
                    {"action": "create", "kind": "role_binding", "document": binding},
                ]
                (await api.post(f"/api/v1/drafts/{draft}/changes", changes)).succeeded(200)
                (await api.post(f"/api/v1/drafts/{draft}/publish")).succeeded(200)
                begun.set()

        writing = asyncio.create_task(write())
        try:
            await begun.wait()
            found = await command(api, "export", tmp_path / "exported", "--json")
        finally:
            stop = True
            await writing
        if found.returncode == 0:
            counts = json.loads(found.stdout)["rows"]
            assert counts["role_rules"] == counts["role_bindings"] == json.loads(found.stdout)["revision"]
        else:
            assert "the live policies were written during each of 10 readings" in found.stderr

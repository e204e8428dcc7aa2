"""`extauthz policy apply` that loses its connection at each step applies nothing or all, and says which."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.commands import policy_apply
from extauthz.folders.rest_access import RestAccess, rest_access
from extauthz.folders.rest_client import RestClient
from tests.integration.applying import environment, write_folder
from tests.integration.cutting_proxy import CuttingProxy, Lost, cutting_proxy
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
STEPS = ["GET", "GET", "GET", "GET", "POST", "POST", "POST"]
PUBLISH = 6
LOST: tuple[Lost, ...] = ("request", "answer")


async def applied(api: Api, proxy: CuttingProxy, folder: Path) -> int:
    """Apply through the proxy, without pauses between attempts."""
    environ = environment(api, EXTAUTHZ_URL=proxy.url)
    access = rest_access(environ)
    assert isinstance(access, RestAccess)

    def connect(_: object) -> RestClient:
        return RestClient(access, pause=lambda _: None)

    given = policy_apply.ApplyArguments(folder)
    return await asyncio.to_thread(policy_apply.run, environ, given, connect=connect)


async def live(api: Api) -> list[str]:
    items = (await api.get("/api/v1/resources/policies?limit=1000")).succeeded(200).body["items"]
    return sorted(item["act"] for item in items)


async def revision(api: Api) -> int:
    return (await api.get("/api/v1/resources/policies")).revision


async def drafts(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/api/v1/drafts?state=open")).succeeded(200).body["items"]
    return found


async def test_a_connection_that_is_lost_once_changes_nothing_about_the_result(
    database: "Database", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rest(database) as api, cutting_proxy(api.url) as proxy:
        for step in range(len(STEPS)):
            for lost in LOST:
                before = await live(api), await revision(api)
                act = f"{step}-{lost}"
                rules = [rule(id=each, act=each) for each in (*before[0], act)]
                proxy.reset((step, lost))
                folder = write_folder(tmp_path / "folder", {"role_rules": rules})
                assert await applied(api, proxy, folder) == 0, capsys.readouterr()
                assert await live(api) == sorted([*before[0], act])
                assert await revision(api) == before[1] + 1
                assert await drafts(api) == []
                assert [each.partition(" ")[0] for each in proxy.seen] != STEPS


async def test_a_connection_that_is_lost_for_the_rest_applies_nothing_or_all_and_says_which(
    database: "Database", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rest(database) as api, cutting_proxy(api.url) as proxy:
        folder = write_folder(tmp_path / "folder", {"role_rules": [rule(id="a", act="all")]})
        for step in range(len(STEPS)):
            for lost in LOST:
                proxy.reset((step, lost), stays_down=True)
                assert await applied(api, proxy, folder) == 1
                said = capsys.readouterr().err
                is_live = (step, lost) == (PUBLISH, "answer")
                assert (await live(api) == ["all"]) is is_live, said
                if step == PUBLISH:
                    assert "it is not known whether the draft" in said
                elif step > 3:
                    assert "nothing was applied" in said
                assert ("could not be deleted" in said) is (step == PUBLISH - 1), said
                assert len(said.splitlines()) <= 2
                for draft in await drafts(api):
                    (await api.delete(f"/api/v1/drafts/{draft['id']}")).succeeded(204)
        proxy.reset()
        assert await applied(api, proxy, folder) == 0
        assert "no differences" in capsys.readouterr().out


async def test_the_lost_answer_to_a_publication_is_asked_for(
    database: "Database", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rest(database) as api, cutting_proxy(api.url) as proxy:
        folder = write_folder(tmp_path / "folder", {"role_rules": [rule(id="a", act="all")]})
        proxy.silent = "/publish"
        assert await applied(api, proxy, folder) == 0
        said = capsys.readouterr()
        assert "published as revision 1" in said.out
        assert "the answer to the publication was lost" in said.err
        assert await live(api) == ["all"]
        assert await revision(api) == 1

        proxy.reset()
        proxy.silent, proxy.impatient = "", "/publish"
        write_folder(folder, {"role_rules": [rule(id="a", act="all"), rule(id="b", act="more")]})
        assert await applied(api, proxy, folder) == 0
        said = capsys.readouterr()
        assert "the answer to the publication was lost" in said.err
        assert await live(api) == ["all", "more"]
        assert await drafts(api) == []

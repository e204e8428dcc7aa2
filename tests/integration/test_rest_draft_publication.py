"""Publications of drafts next to other writes: one wins, nothing is half done, and history stays exact."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from extauthz.storage import draft_writes
from tests.integration.draft_requests import POLICIES, RULES, V1, a_draft, items, policy, publish, revision
from tests.integration.rest_harness import rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def test_of_two_drafts_on_one_base_one_is_published(database: "Database") -> None:
    async with rest(database) as api:
        made = [await a_draft(api) for _ in range(4)]
        for number, draft in enumerate(made):
            (await api.post(f"{RULES}?draft={draft}", rule(act=f"a{number}"))).succeeded(201)
        before = await revision(api)
        answers = await asyncio.gather(*(publish(api, draft) for draft in made))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
        assert all("rebase" in answer.body["detail"] for answer in answers if answer.status == 409)
        assert await revision(api) == before + 1
        assert len(await items(api, RULES)) == 1


async def test_a_draft_is_published_once_by_two_requests(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        (await api.post(f"{RULES}?draft={draft}", rule())).succeeded(201)
        answers = await asyncio.gather(*(publish(api, draft) for _ in range(3)))
        assert sorted(answer.status for answer in answers) == [200, 409, 409]


async def test_live_writes_and_writes_to_drafts_do_not_hold_each_other_up(database: "Database") -> None:
    async with rest(database) as api:
        row = (await api.post(RULES, rule(act="shared"))).succeeded(201).body["id"]
        made = [await a_draft(api) for _ in range(3)]
        writes = [
            api.post(f"{RULES}?draft={draft}", rule(act=f"same{number}"))
            for draft in made
            for number in range(4)
        ]
        writes += [api.put(f"{RULES}/{row}?draft={draft}", rule(act="changed")) for draft in made]
        writes += [api.post(RULES, rule(act=f"live{number}")) for number in range(4)]
        writes += [api.get(f"{RULES}?draft={draft}") for draft in made]
        answers = await asyncio.gather(*writes)
        assert {answer.status for answer in answers} <= {200, 201}
        assert len(await items(api, RULES)) == 5
        for draft in made:
            acts = [each["act"] for each in await items(api, f"{RULES}?draft={draft}")]
            assert sorted(acts) == sorted(
                [
                    *(f"same{number}" for number in range(4)),
                    *(f"live{number}" for number in range(4)),
                    "changed",
                ]
            )


async def test_a_draft_of_too_many_rows_is_refused(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft_writes, "MAX_ROWS", 2)
    async with rest(database) as api:
        draft = await a_draft(api)
        for act in ("a", "b"):
            (await api.post(f"{RULES}?draft={draft}", rule(act=act))).succeeded(201)
        refused = (await api.post(f"{RULES}?draft={draft}", rule(act="c"))).problem(422)
        assert "at most 2" in refused["errors"][0]["message"]
        assert len(await items(api, f"{RULES}?draft={draft}")) == 2


async def test_history_has_each_revision_around_a_publication(database: "Database") -> None:
    async with rest(database) as api:
        kept = (await api.post(RULES, rule())).succeeded(201).body["id"]
        changed = (await api.post(POLICIES, policy(effect="deny", priority=-3))).succeeded(201).body["id"]
        before = await revision(api)
        draft = await a_draft(api)
        (await api.put(f"{RULES}/{kept}?draft={draft}", rule(sub="clerk"))).succeeded(200)
        (await api.patch(f"{POLICIES}/{changed}?draft={draft}", {"effect": "allow"})).succeeded(200)
        published = (await publish(api, draft)).succeeded(200).revision
        (await api.delete(f"{RULES}/{kept}")).succeeded(204)
        gone = (await api.delete(f"{POLICIES}/{changed}")).succeeded(204)
        assert await api.services.wait_for("default", gone.revision, 10)
        question = {
            "subject": "alice", "domain": "emea", "resource": "invoice:read", "action": "read",
            "attributes": {"user": {"roles": ["finance"]}},
        }  # fmt: skip
        for at, rule_id in ((before, kept), (published, changed)):
            answer = (await api.post(f"{V1}/explain", question | {"at": at})).succeeded(200).body
            assert (answer["decision"], answer["matched_rule_id"]) == ("allow", rule_id)
            assert answer["policies"]["matches"] is True

"""The change guard over REST: drafts required, limits of a replay, approvals and what voids them."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.decide.identity import TokenPolicy
from extauthz.storage import drafts, replay_jobs
from extauthz.storage.pool import tenant_transaction
from tests.integration.draft_requests import (
    DRAFTS,
    NO_ID,
    POLICIES,
    RESOURCES,
    RULES,
    V1,
    a_draft,
    items,
    policy,
    publish,
    resource,
    revision,
)
from tests.integration.rest_harness import Answer, Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
GUARD = f"{V1}/change-guard"


async def replayed(api: Api, draft: str, *, allowed: int = 0, denied: int = 0) -> None:
    """Store a finished replay of a draft as it is, with these numbers of requests."""
    pool, draft_id = api.services.pool, UUID(draft)
    job = UUID(api.services.new_id())
    window = (None, None)
    actor = {"kind": "user", "id": "root"}
    queued = await replay_jobs.queue(
        pool, "default", job, draft_id, requested_by=actor, domains=None, window=window
    )
    assert isinstance(queued, replay_jobs.ReplayJob), queued
    claimed = await replay_jobs.claim(pool, replay_jobs.Queued("default", job))
    assert claimed is not None
    async with tenant_transaction(pool, "default", read_only=True) as connection:
        digest = await drafts.draft_digest(connection, "default", draft_id)
        live = await drafts.live_revision(connection, "default")
    await replay_jobs.finish(
        pool,
        replay_jobs.Queued("default", job),
        claimed.attempts,
        judged=1,
        basis=(digest, live),
        newly=(allowed, denied),
        result={},
    )


async def approve(api: Api, draft: str, caller: str) -> Answer:
    return await api.post(f"{DRAFTS}/{draft}/approve", {"comment": "seen"}, caller=caller)


async def guard(api: Api, **settings: Any) -> None:
    (await api.put(GUARD, settings, caller="tenant")).succeeded(200)


def second_admin(api: Api) -> None:
    api.callers["second"] = api.bearer(sub="second", adm="*")


async def test_direct_writes_of_guarded_nouns_need_a_draft(database: "Database") -> None:
    async with rest(database) as api:
        kept = (await api.post(RULES, rule())).succeeded(201).body["id"]
        await guard(api, max_newly_allowed=0, nouns=["role_rule"])
        before = await revision(api)
        for method, path, document in (
            ("POST", RULES, rule(act="x")), ("PUT", f"{RULES}/{kept}", rule(act="x")),
            ("DELETE", f"{RULES}/{kept}", None), ("POST", RESOURCES, resource()),
        ):  # fmt: skip
            refused = (await api.ask(method, path, document, caller="tenant")).problem(409)
            assert refused["reason"] == "draft_required"
        assert await revision(api) == before
        # What writes no row, and what is not guarded, is as it was.
        (await api.put(f"{RULES}/{kept}", rule(), caller="tenant")).succeeded(200)
        (await api.post(POLICIES, policy(), caller="tenant")).succeeded(201)
        (await api.post(f"{V1}/service-api-keys", {"name": "k", "scopes": ["check"]})).succeeded(201)
        draft = await a_draft(api)
        (await api.post(f"{RULES}?draft={draft}", rule(act="x"), caller="tenant")).succeeded(201)
        await guard(api)
        (await api.post(RULES, rule(act="y"), caller="tenant")).succeeded(201)


async def test_a_draft_is_replayed_and_above_a_limit_approved_before_it_is_published(
    database: "Database",
) -> None:
    async with rest(database) as api:
        second_admin(api)
        await guard(api, max_newly_allowed=2, max_newly_denied=0)
        draft = await a_draft(api, caller="tenant")
        q = f"?draft={draft}"
        (await api.post(RULES + q, rule(), caller="tenant")).succeeded(201)
        assert (await publish(api, draft, caller="tenant")).problem(409)["reason"] == "replay_required"
        assert (await approve(api, draft, "second")).problem(409)["reason"] == "replay_required"

        await replayed(api, draft, allowed=3)
        refused = (await publish(api, draft, caller="tenant")).problem(409)
        assert refused["reason"] == "approval_required"
        assert "'root'" in refused["detail"]
        assert [each["message"] for each in refused["errors"]] == [
            "3 requests would be newly allowed, the limit is 2"
        ]
        assert (await approve(api, draft, "tenant")).problem(409)["reason"] == "approver_is_author"
        (await approve(api, draft, "key")).problem(403)
        (await approve(api, draft, "emea")).problem(403)
        approved = (await approve(api, draft, "second")).succeeded(200).body
        assert (approved["approved_by"]["id"], approved["version"]) == ("second", 2)

        # An edit voids it, also one that is undone.
        edit = (await api.post(RULES + q, rule(act="x"), caller="emea")).succeeded(201).body["id"]
        (await api.delete(f"{RULES}/{edit}{q}", caller="emea")).succeeded(204)
        assert (await publish(api, draft, caller="tenant")).problem(409)["reason"] == "approval_required"
        (await approve(api, draft, "second")).succeeded(200)
        # Another replay voids it.
        await replayed(api, draft, allowed=3)
        assert (await publish(api, draft, caller="tenant")).problem(409)["reason"] == "approval_required"
        (await approve(api, draft, "second")).succeeded(200)
        # A live change voids it, and the replay.
        (await api.post(f"{V1}/service-api-keys", {"name": "k", "scopes": ["check"]})).succeeded(201)
        (await api.post(f"{DRAFTS}/{draft}/rebase", caller="tenant")).succeeded(200)
        assert (await publish(api, draft, caller="tenant")).problem(409)["reason"] == "replay_required"
        await replayed(api, draft, allowed=3)
        assert (await publish(api, draft, caller="tenant")).problem(409)["reason"] == "approval_required"
        (await approve(api, draft, "second")).succeeded(200)
        (await publish(api, draft, caller="tenant")).succeeded(200)
        assert ("approve", "draft") in await api.trail()


async def test_within_the_limits_no_approval_is_needed_unless_a_deny_goes(database: "Database") -> None:
    async with rest(database) as api:
        second_admin(api)
        deny = (await api.post(RULES, rule(effect="deny", act="a"))).succeeded(201).body["id"]
        other = (await api.post(POLICIES, policy(effect="deny"))).succeeded(201).body["id"]
        asleep = (await api.post(POLICIES, policy(name="z", effect="deny", enabled=False))).succeeded(201)
        await guard(api, max_newly_allowed=2, max_newly_denied=2)

        async def outcome(method: str, path: str, document: Any = None) -> str:
            draft = await a_draft(api, caller="tenant")
            answer = await api.ask(method, f"{path}?draft={draft}", document, caller="tenant")
            assert answer.status in {200, 201, 204}, answer
            await replayed(api, draft, allowed=2, denied=2)
            published = await publish(api, draft, caller="tenant")
            if published.status == 200:
                return "published"
            assert "deny" in published.problem(409)["errors"][0]["message"]
            (await approve(api, draft, "second")).succeeded(200)
            (await publish(api, draft, caller="tenant")).succeeded(200)
            return str(published.body["reason"])

        assert await outcome("POST", RULES, rule(act="new")) == "published"
        assert await outcome("PATCH", f"{POLICIES}/{other}", {"name": "renamed"}) == "published"
        assert await outcome("DELETE", f"{POLICIES}/{asleep.body['id']}") == "published"
        for change in ({"priority": -5}, {"mode": "shadow"}):
            assert await outcome("PATCH", f"{POLICIES}/{other}", change) == "approval_required"
        assert await outcome("PUT", f"{RULES}/{deny}", rule(act="a")) == "approval_required"


async def test_an_override_with_a_reason_is_told(database: "Database") -> None:
    told: list[str] = []
    async with rest(database) as api:
        gate: Any = api.services.validate.__self__  # type: ignore[attr-defined]
        gate._on_override = lambda: told.append("counted")
        await guard(api, max_newly_allowed=0)
        reason = "incident 4711"
        (await api.post(RULES, rule(), caller="emea", X_Change_Override=reason)).problem(403)
        (await api.post(RULES, rule(), caller="tenant", X_Change_Override=" ")).problem(400)
        (await api.post(RULES, rule(), caller="tenant", X_Change_Override=reason)).succeeded(201)
        draft = await a_draft(api, caller="tenant")
        (await api.post(f"{RULES}?draft={draft}", rule(act="x"), caller="tenant")).succeeded(201)
        (await publish(api, draft, caller="tenant", X_Change_Override=reason)).succeeded(200)
        # Where the guard has nothing against a change there is nothing to override.
        key = {"name": "k", "scopes": ["check"]}
        (await api.post(f"{V1}/service-api-keys", key, X_Change_Override=reason)).succeeded(201)

        assert told == ["counted"] * 2
        events = (await api.get(f"{V1}/audit?kind=change_guard")).body["items"]
        overrides = [each["after"] for each in events if each["action"] == "override"]
        assert [each["withheld"] for each in overrides] == ["replay_required", "draft_required"]
        assert {each["reason"] for each in overrides} == {reason}
        assert overrides[0]["revision"] == await revision(api) - 1


async def test_a_guard_that_no_caller_could_approve_is_refused(database: "Database") -> None:
    async with rest(database, token_policy=replace(TokenPolicy(), oidc_enabled=False)) as api:
        refused = (await api.put(GUARD, {"max_newly_denied": 3})).problem(422)
        assert "no caller could approve" in refused["errors"][0]["message"]
        (await api.put(GUARD, {"tests": "every_write"})).succeeded(200)


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"max_newly_allowed": -1}, "/max_newly_allowed"), ({"max_newly_denied": "1"}, "/max_newly_denied"),
        ({"nouns": []}, "/nouns"), ({"nouns": ["tenant"]}, "/nouns/0"), ({"tests": "never"}, "/tests"),
        ({"x": 1}, "/x"),
    ],
)  # fmt: skip
async def test_malformed_settings_are_refused(
    database: "Database", settings: dict[str, Any], pointer: str
) -> None:
    async with rest(database) as api:
        assert (await api.put(GUARD, settings)).pointers == [pointer]
        assert (await api.get(GUARD)).succeeded(200).headers["ETag"] == '"0"'


async def test_a_draft_that_is_not_there_is_not_approved(database: "Database") -> None:
    async with rest(database) as api:
        (await approve(api, NO_ID, "tenant")).problem(404)
        draft = await a_draft(api)
        (await api.post(f"{DRAFTS}/{draft}/approve", {"comment": ""}, caller="tenant")).problem(422)
        (await api.post(f"{DRAFTS}/{draft}/approve", {}, caller="tenant")).problem(422)


async def test_of_many_requests_one_publishes_and_only_what_was_approved(database: "Database") -> None:
    async with rest(database) as api:
        second_admin(api)
        await guard(api, max_newly_allowed=0)
        for number in range(4):
            draft = await a_draft(api, caller="tenant")
            q = f"?draft={draft}"
            (await api.post(RULES + q, rule(act=f"seen{number}"), caller="tenant")).succeeded(201)
            await replayed(api, draft, allowed=1)
            before = await revision(api)
            # The change comes before, between or after the approval and the publications.
            late = (
                api.post(RULES + q, rule(act=f"late{number}"), caller="tenant") for _ in range(number % 2)
            )
            publications = [publish(api, draft, caller="tenant") for _ in range(16)]
            approvals = [approve(api, draft, "second") for _ in range(4)]
            answers = await asyncio.gather(*publications[:8], *approvals, *publications[8:], *late)
            answers.append(await publish(api, draft, caller="tenant"))
            assert {answer.status for answer in answers} <= {200, 201, 409}
            live = {each["act"] for each in await items(api, RULES)}
            published = f"seen{number}" in live
            assert published or number % 2
            assert f"late{number}" not in live
            assert await revision(api) == before + published
            done = [answer for answer in answers if answer.body.get("state") == "published"]
            assert len(done) == published

"""Drafts over REST: written and read with `?draft`, compared, rebased, published in one revision, deleted."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.storage import drafts
from extauthz.storage.pool import tenant_transaction
from tests.integration.draft_requests import (
    BINDINGS,
    CSV,
    DRAFTS,
    NO_ID,
    POLICIES,
    RESOURCES,
    RULES,
    V1,
    a_draft,
    binding,
    diff,
    items,
    policy,
    publish,
    resource,
    revision,
)
from tests.integration.rest_harness import rest, rule
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def test_a_draft_is_written_and_read_apart_and_becomes_live_in_one_revision(
    database: "Database",
) -> None:
    async with rest(database) as api:
        kept = (await api.post(RULES, rule(act="kept"))).succeeded(201).body
        gone = (await api.post(BINDINGS, binding(user="gone"))).succeeded(201).body
        before = await revision(api)
        draft = await a_draft(api, title="finance reads invoices")
        q = f"?draft={draft}"

        made = (await api.post(RULES + q, rule())).succeeded(201)
        assert made.headers["ETag"] == '"2"'
        assert made.revision == before
        changed = (await api.put(f"{RULES}/{kept['id']}{q}", rule(act="changed"))).succeeded(200)
        assert changed.headers["ETag"] == '"3"'
        (await api.delete(f"{BINDINGS}/{gone['id']}{q}")).succeeded(204)
        written = (await api.post(POLICIES + q, policy())).succeeded(201).body
        (await api.patch(f"{POLICIES}/{written['id']}{q}", {"priority": -3})).succeeded(200)
        registered = (await api.post(RESOURCES + q, resource(name="report:read"))).succeeded(201).body

        # Live nothing has changed.
        assert await revision(api) == before
        assert [each["act"] for each in await items(api, RULES)] == ["kept"]
        assert await items(api, POLICIES) == []
        assert await items(api, RESOURCES) == []
        (await api.get(f"{RULES}/{made.body['id']}")).problem(404)
        # In the draft everything has.
        assert sorted(each["act"] for each in await items(api, RULES + q)) == ["changed", "read", "read"]
        assert await items(api, BINDINGS + q) == []
        found = (await api.get(f"{POLICIES}/{written['id']}{q}")).succeeded(200)
        assert (found.body["priority"], found.body["version"]) == (-3, 2)
        assert found.headers["ETag"] == '"7"'
        assert len(await items(api, f"{POLICIES}/{written['id']}/versions{q}")) == 2
        assert [each["name"] for each in await items(api, RESOURCES + q)] == ["report:read"]
        rules = await api.get(f"{RESOURCES}/{registered['id']}/policies{q}")
        assert [each["sub"] for each in rules.body] == ["finance"]
        assert b"report:read" in (await api.get(CSV + q)).raw
        assert sorted(await diff(api, draft)) == [
            ("create", "attribute_policy"), ("create", "resource"), ("create", "role_rule"),
            ("create", "role_rule"), ("delete", "role_binding"), ("update", "role_rule"),
        ]  # fmt: skip

        published = (await publish(api, draft)).succeeded(200)
        assert published.revision == before + 1 == await revision(api)
        assert published.body["state"] == "published"
        assert published.body["published_revision"] == before + 1
        assert sorted(each["act"] for each in await items(api, RULES)) == ["changed", "read", "read"]
        assert await items(api, BINDINGS) == []
        live = (await api.get(f"{POLICIES}/{written['id']}")).succeeded(200)
        assert live.body["version"] == 2
        assert live.headers["ETag"] == f'"{before + 1}"'
        versions = await items(api, f"{POLICIES}/{written['id']}/versions")
        assert [each["revision"] for each in versions] == [before + 1, before + 1]
        # The route is claimed now.
        taken = await api.post(RESOURCES, resource(name="other:read"))
        assert taken.problem(409)["ids"] == [registered["id"]]
        # It is not written any more.
        (await api.post(RULES + q, rule(act="late"))).problem(409)
        (await publish(api, draft)).problem(409)


async def test_an_ordinary_check_refuses_in_a_draft_too(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RULES, rule())).succeeded(201)
        draft = await a_draft(api)
        q = f"?draft={draft}"
        (await api.post(BINDINGS + q, binding(user="a", user_kind="role", role="b"))).succeeded(201)

        assert (await api.post(RULES + q, rule())).problem(409)["ids"]
        cycle = await api.post(BINDINGS + q, binding(user="b", user_kind="role", role="a"))
        assert "a" in str(cycle.problem(409)["errors"])
        assert (await api.post(RULES + q, rule(effect="permit"))).pointers == ["/effect"]
        (await api.post(RULES + q, rule(dom="apac"), caller="emea")).problem(403)
        (await api.post(RULES + q, rule(dom="apac"), caller="alice")).problem(403)
        (await api.put(f"{RULES}/{NO_ID}{q}", rule(act="x"))).problem(404)
        assert (await api.get(f"{DRAFTS}/{draft}")).body["version"] == 2
        assert await diff(api, draft) == [("create", "role_binding")]


async def test_the_entity_tag_is_the_version_of_the_draft(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        q = f"?draft={draft}"
        (await api.post(RULES + q, rule(), If_Match='"1"')).succeeded(201)
        (await api.post(RULES + q, rule(act="late"), If_Match='"1"')).problem(412)
        (await api.ask("DELETE", f"{DRAFTS}/{draft}", If_Match='"1"')).problem(412)
        (await publish(api, draft, If_Match='"1"')).problem(412)
        (await publish(api, draft, If_Match='"2"')).succeeded(200)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{V1}/audit"), ("GET", f"{V1}/service-api-keys"), ("POST", f"{V1}/service-api-keys"),
        ("GET", DRAFTS), ("POST", DRAFTS), ("POST", f"{V1}/check"), ("GET", f"{DRAFTS}/{NO_ID}"),
    ],
)  # fmt: skip
async def test_another_route_refuses_the_parameter(database: "Database", method: str, path: str) -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        answer = await api.ask(method, f"{path}?draft={draft}", None if method == "GET" else {})
        assert answer.problem(422)["errors"][0]["parameter"] == "draft"


async def test_a_draft_that_is_not_there_is_404(database: "Database") -> None:
    async with rest(database) as api:
        (await api.get(f"{RULES}?draft={NO_ID}")).problem(404)
        (await api.post(f"{RULES}?draft={NO_ID}", rule())).problem(404)
        assert (await api.get(f"{RULES}?draft=x")).problem(422)["errors"][0]["parameter"] == "draft"
        for method, rest_of_path in (("GET", ""), ("DELETE", ""), ("GET", "/diff"), ("POST", "/publish")):
            (await api.ask(method, f"{DRAFTS}/{NO_ID}{rest_of_path}")).problem(404)
        (await api.post(f"{DRAFTS}/{NO_ID}/rebase")).problem(404)
        (await api.post(f"{DRAFTS}/{NO_ID}/changes", [])).problem(404)


async def test_a_draft_of_another_tenant_is_404(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        draft = await a_draft(api, caller="acme/admin")
        for path in (f"{DRAFTS}/{draft}", f"{DRAFTS}/{draft}/diff", f"{RULES}?draft={draft}"):
            (await api.get(path, caller="acme/admin")).succeeded(200)
            (await api.get(path, caller="globex/admin")).problem(404)
        (await api.post(f"{RULES}?draft={draft}", rule(), caller="globex/admin")).problem(404)
        (await publish(api, draft, caller="globex/admin")).problem(404)
        (await api.delete(f"{DRAFTS}/{draft}", caller="globex/admin")).problem(404)
        assert await items(api, DRAFTS, "globex/admin") == []


async def test_live_changes_are_told_and_a_rebase_names_conflicts(database: "Database") -> None:
    async with rest(database) as api:
        mine = (await api.post(RULES, rule(act="mine"))).succeeded(201).body["id"]
        draft = await a_draft(api)
        q = f"?draft={draft}"
        (await api.put(f"{RULES}/{mine}{q}", rule(act="drafted"))).succeeded(200)
        new = (await api.post(RULES + q, rule(act="new"))).succeeded(201).body["id"]
        (await api.post(RULES, rule(act="unrelated"))).succeeded(201)

        outdated = (await publish(api, draft)).problem(409)
        assert "rebase" in outdated["detail"]
        rebased = (await api.post(f"{DRAFTS}/{draft}/rebase")).succeeded(200).body
        assert rebased["base_revision"] == rebased["live_revision"] == await revision(api)

        (await api.put(f"{RULES}/{mine}", rule(act="live"))).succeeded(200)
        other = (await api.post(RULES, rule(act="new"))).succeeded(201).body["id"]
        for answer in (await publish(api, draft), await api.post(f"{DRAFTS}/{draft}/rebase")):
            assert set(answer.problem(409)["ids"]) == {mine, other}
        (await api.post(RULES + q, rule(act="more"))).problem(409)
        shown = {each["id"]: each["conflict"] for each in await items(api, f"{DRAFTS}/{draft}/diff")}
        assert shown == {mine: "changed", new: "taken"}

        refused = await api.post(f"{DRAFTS}/{draft}/rebase", {"resolve": {mine: "draft"}})
        assert refused.problem(409)["ids"] == [other]
        refused = await api.post(f"{DRAFTS}/{draft}/rebase", {"resolve": {mine: "draft", new: "draft"}})
        assert refused.problem(409)["ids"] == [other]
        wrong = await api.post(f"{DRAFTS}/{draft}/rebase", {"resolve": {NO_ID: "live"}})
        assert wrong.pointers == [f"/resolve/{NO_ID}"]
        resolve = {"resolve": {mine: "draft", new: "live"}}
        (await api.post(f"{DRAFTS}/{draft}/rebase", resolve)).succeeded(200)
        assert await diff(api, draft) == [("update", "role_rule")]
        (await publish(api, draft)).succeeded(200)
        assert sorted(each["act"] for each in await items(api, RULES)) == ["drafted", "new", "unrelated"]


async def test_versions_follow_those_that_are_live_after_a_rebase(database: "Database") -> None:
    async with rest(database) as api:
        row = (await api.post(POLICIES, policy())).succeeded(201).body["id"]
        draft = await a_draft(api)
        (await api.patch(f"{POLICIES}/{row}?draft={draft}", {"priority": -1})).succeeded(200)
        (await api.patch(f"{POLICIES}/{row}?draft={draft}", {"priority": -2})).succeeded(200)
        (await api.patch(f"{POLICIES}/{row}", {"priority": -9})).succeeded(200)
        (await api.post(f"{DRAFTS}/{draft}/rebase", {"resolve": {row: "draft"}})).succeeded(200)
        (await publish(api, draft)).succeeded(200)
        live = (await api.get(f"{POLICIES}/{row}")).succeeded(200).body
        assert (live["priority"], live["version"]) == (-2, 3)
        versions = await items(api, f"{POLICIES}/{row}/versions")
        assert [each["version"] for each in versions] == [1, 2, 3]


async def test_a_change_that_is_undone_is_not_in_the_draft(database: "Database") -> None:
    async with rest(database) as api:
        row = (await api.post(RULES, rule())).succeeded(201).body["id"]
        draft = await a_draft(api)
        q = f"?draft={draft}"
        (await api.put(f"{RULES}/{row}{q}", rule(act="other"))).succeeded(200)
        (await api.put(f"{RULES}/{row}{q}", rule())).succeeded(200)
        added = (await api.post(BINDINGS + q, binding())).succeeded(201).body["id"]
        (await api.delete(f"{BINDINGS}/{added}{q}")).succeeded(204)
        assert await diff(api, draft) == []
        assert "nothing" in (await publish(api, draft)).problem(409)["detail"]


async def test_values_may_be_exchanged_in_a_draft(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(RULES, rule(act="a"))).succeeded(201).body["id"]
        second = (await api.post(RULES, rule(act="b"))).succeeded(201).body["id"]
        draft = await a_draft(api)
        q = f"?draft={draft}"
        for row, act in ((first, "c"), (second, "a"), (first, "b")):
            (await api.put(f"{RULES}/{row}{q}", rule(act=act))).succeeded(200)
        (await publish(api, draft)).succeeded(200)
        assert {each["id"]: each["act"] for each in await items(api, RULES)} == {first: "b", second: "a"}


async def test_every_change_is_audited_with_its_author_and_publisher(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api, caller="emea")
        q = f"?draft={draft}"
        (await api.post(RULES + q, rule(), caller="emea")).succeeded(201)
        (await api.post(BINDINGS + q, binding(), caller="tenant")).succeeded(201)
        (await publish(api, draft)).succeeded(200)

        events = (await items(api, f"{V1}/audit?limit=1000"))[::-1]
        told = [(each["action"], each["kind"], each["actor"]["id"]) for each in events]
        assert told[-6:] == [
            ("create", "draft", "eve"),
            ("change", "draft", "eve"),
            ("change", "draft", "root"),
            ("publish", "draft", "admin"),
            ("create", "role_rule", "eve"),
            ("create", "role_binding", "root"),
        ]
        assert [each["actor"].get("published_by", {}).get("id") for each in events[-2:]] == ["admin"] * 2
        assert [each["actor"].get("draft") for each in events[-2:]] == [draft] * 2
        assert {each["revision"] for each in events[-2:]} == {await revision(api)}
        # What a domain admin wrote stays a domain admin's.
        async with tenant_transaction(api.services.pool, "default", read_only=True) as connection:
            assert await connection.fetchval("SELECT by_domain_admin FROM role_rules")
            assert not await connection.fetchval("SELECT by_domain_admin FROM role_bindings")


async def test_lines_of_csv_go_into_a_draft(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        lines = b"p,role:finance,emea,invoice:read,read,allow\ng,user:alice,role:finance,emea\n"
        added = await api.ask("POST", f"{CSV}?draft={draft}", data=lines, Content_Type="text/csv")
        assert added.succeeded(200).body["role_rules"] == 1
        assert (await api.get(CSV)).raw == b""
        assert (await api.get(f"{CSV}?draft={draft}")).raw.split() == lines.split()
        (await publish(api, draft)).succeeded(200)
        assert (await api.get(CSV)).raw.split() == lines.split()


async def test_a_repeated_request_is_done_once_in_its_draft(database: "Database") -> None:
    async with rest(database) as api:
        key = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
        first, second = [(await api.post(DRAFTS, {}, Idempotency_Key=key)).succeeded(201) for _ in range(2)]
        assert first.raw == second.raw
        draft = first.body["id"]
        key = '"another"'
        made = [
            (await api.post(f"{RULES}?draft={draft}", rule(), Idempotency_Key=key)).succeeded(201)
            for _ in range(2)
        ]
        assert made[0].raw == made[1].raw
        (await api.post(RULES, rule(), Idempotency_Key=key)).problem(409)
        (await api.post(f"{RULES}?draft={draft}", rule(), Idempotency_Key='"b"')).problem(409)
        # A refused request leaves its key free.
        (await api.post(f"{RULES}?draft={draft}", rule(act="x"), Idempotency_Key='"b"')).succeeded(201)
        done = [(await publish(api, draft, Idempotency_Key='"c"')).succeeded(200) for _ in range(2)]
        assert done[0].raw == done[1].raw


async def test_pages_of_a_draft_have_its_rows(database: "Database") -> None:
    async with rest(database) as api:
        live = [
            (await api.post(RULES, rule(act=f"live{number}"))).succeeded(201).body["id"]
            for number in range(5)
        ]
        draft = await a_draft(api)
        q = f"draft={draft}"
        for number in range(5):
            (await api.post(f"{RULES}?{q}", rule(act=f"draft{number}"))).succeeded(201)
        (await api.delete(f"{RULES}/{live[1]}?{q}")).succeeded(204)
        seen: list[str] = []
        cursor = ""
        while True:
            page = (await api.get(f"{RULES}?{q}&limit=2{cursor}")).succeeded(200).body
            seen += [each["act"] for each in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
            (await api.get(f"{RULES}?limit=2{cursor}")).problem(422)
        assert seen == ["live0", "live2", "live3", "live4", *(f"draft{number}" for number in range(5))]


async def test_policies_and_digest_of_a_draft_are_read_as_live_policies_are(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RULES, rule())).succeeded(201)
        draft = await a_draft(api)
        q = f"?draft={draft}"
        row = UUID(draft)

        async def state() -> tuple[Any, str]:
            async with tenant_transaction(api.services.pool, "default", read_only=True) as connection:
                found = await drafts.draft_policies(connection, "default", row)
                return found, await drafts.draft_digest(connection, "default", row)

        empty, first = await state()
        (await api.post(RULES + q, rule(act="more"))).succeeded(201)
        (await api.post(POLICIES + q, policy(name="a \\ b"))).succeeded(201)
        found, second = await state()
        assert (len(empty.role_rules), len(found.role_rules)) == (1, 2)
        assert [each["name"] for each in found.attribute_policies] == ["a \\ b"]
        assert found.revision == await revision(api)
        assert first != second
        async with tenant_transaction(api.services.pool, "default", read_only=True) as connection:
            assert await drafts.open_policies(connection, "default") == found.attribute_policies
        assert (await state())[1] == second

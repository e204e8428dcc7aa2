"""`POST /api/v1/drafts/{id}/changes`: a list of changes, in order, all or none, also thousands of them."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.draft_requests import (
    BINDINGS,
    DRAFTS,
    NO_ID,
    POLICIES,
    RESOURCES,
    RULES,
    a_draft,
    binding,
    diff,
    items,
    policy,
    publish,
    resource,
    revision,
)
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


def change(action: str, kind: str, **members: object) -> dict[str, object]:
    return {"action": action, "kind": kind} | members


async def change_list(
    api: Api, draft: str, changes: list[Any], *, caller: str = "key", **headers: str
) -> Any:
    return await api.post(f"{DRAFTS}/{draft}/changes", changes, caller=caller, **headers)


async def test_a_list_creates_updates_and_deletes_every_kind(database: "Database") -> None:
    async with rest(database) as api:
        kept = (await api.post(RULES, rule(act="old"))).succeeded(201).body["id"]
        also = (await api.post(RULES, rule(act="older"))).succeeded(201).body["id"]
        gone = (await api.post(BINDINGS, binding())).succeeded(201).body["id"]
        ruled = (await api.post(POLICIES, policy())).succeeded(201).body["id"]
        hidden = (await api.post(POLICIES, policy(name="hidden"))).succeeded(201).body["id"]
        named = (await api.post(RESOURCES, resource(defaultRoles=[]))).succeeded(201).body["id"]
        unused = (await api.post(RESOURCES, resource(name="unused", routes=[]))).succeeded(201).body["id"]
        before = await revision(api)
        draft = await a_draft(api)
        changes = [
            change("update", "role_rule", id=kept, document=rule(act="new")),
            change("update", "role_rule", id=also, document=rule(act="newer")),
            change("delete", "role_binding", id=gone),
            change("create", "role_binding", document=binding(expires_at="2027-01-31T00:00:00Z")),
            change("update", "attribute_policy", id=ruled, document=policy(name="renamed")),
            change("delete", "attribute_policy", id=hidden),
            change("create", "attribute_policy", document=policy(name="more")),
            change("update", "resource", id=named, document=resource(displayName="Invoices", routes=[])),
            change("create", "resource", document=resource(name="report:read")),
            change("delete", "resource", id=unused),
            change("delete", "role_rule", id=also),
        ]
        answer = (await change_list(api, draft, changes)).succeeded(200)
        assert answer.headers["ETag"] == '"2"'
        assert answer.revision == before
        assert [each["action"] for each in answer.body["items"]][:3] == ["update", "update", "delete"]

        (await publish(api, draft)).succeeded(200)
        assert await revision(api) == before + 1
        assert {each["act"] for each in await items(api, RULES)} == {"new", "read"}
        assert [each["expires_at"] for each in await items(api, BINDINGS)] == ["2027-01-31T00:00:00Z"]
        assert {each["name"] for each in await items(api, POLICIES)} == {"renamed", "more"}
        versions = await items(api, f"{POLICIES}/{ruled}/versions")
        assert [each["version"] for each in versions] == [1, 2]
        shown = {each["name"]: each["displayName"] for each in await items(api, RESOURCES)}
        assert shown == {"invoice:read": "Invoices", "report:read": "report:read"}


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        (change("create", "role_rule"), "/1/document"),
        (change("create", "role_rule", document=rule(effect="permit")), "/1/document/effect"),
        (change("create", "role_rule", document=rule() | {"x": 1}), "/1/document/x"),
        (change("create", "role_rule", id=NO_ID, document=rule()), "/1/id"),
        (change("update", "role_rule", document=rule()), "/1/id"),
        (change("update", "role_rule", id="x", document=rule()), "/1/id"),
        (change("update", "role_binding", id=NO_ID, document=binding()), "/1/action"),
        (change("delete", "role_rule", id=NO_ID, document=rule()), "/1/document"),
        (change("delete", "role_rule", id=NO_ID, cascade=True), "/1/cascade"),
        (change("erase", "role_rule", id=NO_ID), "/1/action"),
        (change("delete", "tenant", id=NO_ID), "/1/kind"),
        ([], "/1"),
        (None, "/1"),
    ],
)
async def test_a_malformed_change_is_named_by_its_place(
    database: "Database", entry: Any, pointer: str
) -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        answer = await change_list(api, draft, [change("create", "role_rule", document=rule()), entry])
        assert [each["pointer"] for each in answer.problem(422)["errors"]] == [pointer]
        assert await diff(api, draft) == []


async def test_a_list_is_applied_in_order_and_entirely_or_not_at_all(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        twice = [change("create", "role_rule", document=rule(act=act)) for act in ("a", "b", "a")]
        answer = await change_list(api, draft, twice)
        assert answer.status == 409
        assert await diff(api, draft) == []
        missing = [change("create", "role_rule", document=rule()), change("delete", "role_rule", id=NO_ID)]
        assert (await change_list(api, draft, missing)).problem(404)["errors"][0]["pointer"] == "/1/id"
        assert await diff(api, draft) == []

        made = (await change_list(api, draft, [change("create", "role_rule", document=rule())])).succeeded(
            200
        )
        row = made.body["items"][0]["id"]
        moved = [
            change("update", "role_rule", id=row, document=rule(act="x")),
            change("create", "role_rule", document=rule()),
            change("update", "role_rule", id=row, document=rule(act="y")),
            change("update", "role_rule", id=row, document=rule(act="z")),
        ]
        (await change_list(api, draft, moved)).succeeded(200)
        assert sorted(each["act"] for each in await items(api, f"{RULES}?draft={draft}")) == ["read", "z"]
        clash = await change_list(
            api, draft,
            [change("create", "role_rule", document=rule(act="new")),
             change("update", "role_rule", id=row, document=rule())],
        )  # fmt: skip
        assert [each["pointer"] for each in clash.problem(409)["errors"]] == ["/1"]
        taken = [change("create", "resource", document=resource(name=name)) for name in ("r:1", "r:2")]
        assert (await change_list(api, draft, taken)).problem(409)["errors"][0]["pointer"] == "/1"
        assert (await change_list(api, draft, [])).succeeded(200).headers["ETag"] == '"3"'


async def test_each_change_of_a_list_needs_its_permission(database: "Database") -> None:
    async with rest(database) as api:
        deny = (await api.post(RULES, rule(effect="deny"), caller="tenant")).succeeded(201).body["id"]
        apac = (await api.post(RULES, rule(dom="apac"), caller="tenant")).succeeded(201).body["id"]
        named = (await api.post(RESOURCES, resource(), caller="tenant")).succeeded(201).body["id"]
        draft = await a_draft(api, caller="emea")
        own = change("create", "role_binding", document=binding())
        for entry, status in (
            (change("create", "role_rule", document=rule(dom="apac")), 403),
            (change("create", "role_rule", document=rule(dom="*")), 403),
            (change("create", "resource", document=resource(name="r")), 403),
            (change("delete", "resource", id=named), 403),
            (change("delete", "role_rule", id=deny), 403),
            (change("update", "role_rule", id=deny, document=rule()), 403),
            (change("delete", "role_rule", id=apac), 404),
            (change("create", "role_binding", document=binding(user_kind="role")), 403),
            (change("create", "attribute_policy", document=policy(priority=1)), 422),
        ):
            answer = await change_list(api, draft, [own, entry], caller="emea")
            assert answer.problem(status)["errors"][0]["pointer"].startswith("/1"), (entry, answer)
        (await change_list(api, draft, [own], caller="alice")).problem(403)
        (await change_list(api, draft, [own], caller="emea")).succeeded(200)


async def test_ten_thousand_changes_are_one_list_and_one_revision(database: "Database") -> None:
    async with rest(database) as api:
        changes = [
            change("create", "resource", document={
                "name": f"r{number}:read", "serviceName": "s",
                "routes": [{"methods": ["GET"], "path": f"/r{number}/{{id}}"}],
            })
            for number in range(2_000)
        ]  # fmt: skip
        changes += [
            change("create", "role_rule", document=rule(obj=f"r{number}:read", dom="*"))
            for number in range(4_000)
        ]
        changes += [
            change("create", "role_binding", document=binding(user=f"u{number}")) for number in range(2_000)
        ]
        changes += [
            change(
                "create", "attribute_policy", document=policy(name=f"p{number}", resource=f"r{number}:read")
            )
            for number in range(2_000)
        ]
        draft = await a_draft(api)
        began = time.process_time(), time.monotonic()
        answer = (await change_list(api, draft, changes, Idempotency_Key='"apply"')).succeeded(200)
        print("list", time.process_time() - began[0], time.monotonic() - began[1])
        assert len(answer.body["items"]) == 10_000
        before = await revision(api)
        published = (await publish(api, draft)).succeeded(200)
        print("and publish", time.process_time() - began[0], time.monotonic() - began[1])
        assert published.revision == before + 1
        assert await api.services.wait_for("default", published.revision, 10)

        kept = [each["id"] for each in answer.body["items"] if each["kind"] == "role_rule"]
        draft = await a_draft(api)
        began = time.process_time(), time.monotonic()
        changes = [
            change("update", "role_rule", id=row, document=rule(obj=f"r{number}:read", dom="*", act="write"))
            for number, row in enumerate(kept[:3000])
        ]
        changes += [change("delete", "role_rule", id=row) for row in kept[3000:]]
        (await change_list(api, draft, changes)).succeeded(200)
        print("updates", time.process_time() - began[0], time.monotonic() - began[1])
        (await api.get(f"{RULES}?draft={draft}&limit=1000")).succeeded(200)
        print("read", time.process_time() - began[0], time.monotonic() - began[1])
        (await publish(api, draft)).succeeded(200)
        print("and publish", time.process_time() - began[0], time.monotonic() - began[1])

"""Attribute policies over HTTP: written, patched, deleted softly, restored, with warnings and versions."""

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.integration.rest_harness import rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
PATH = "/api/v1/abac/policies"

DEPARTMENT = {"type": "CONDITION", "attribute": "user.department", "operator": "eq", "value": "sales"}


def policy(**members: object) -> dict[str, object]:
    return {
        "name": "sales stay out", "resource": "invoice:read", "effect": "deny",
        "rule_data": {"type": "ALWAYS"},
    } | members  # fmt: skip


async def test_a_policy_is_stored_with_its_defaults_written_out(database: "Database") -> None:
    async with rest(database) as api:
        created = (await api.post(PATH, policy())).succeeded(201)
        body = created.body
        assert body == policy() | {
            "id": body["id"], "actions": ["*"], "domain": "*", "priority": 0, "enabled": True,
            "mode": "enforce", "format": "json", "version": 1, "deleted_at": None,
            "created_at": body["created_at"], "updated_at": body["updated_at"],
        }  # fmt: skip
        read = await api.get(f"{PATH}/{body['id']}")
        assert (read.body, read.headers["ETag"]) == (body, created.headers["ETag"])
        assert (await api.get(f"{PATH}?resource=invoice:read")).body == {"items": [body], "next_cursor": None}
        assert (await api.get(f"{PATH}?resource=other")).body["items"] == []


async def test_numbers_come_back_exactly(database: "Database") -> None:
    value = b"[1.1,1e2,98765432109876543210]"
    tree = b'{"type":"CONDITION","attribute":"user.level","operator":"in","value":' + value + b"}"
    raw = b'{"name":"n","resource":"r","effect":"deny","rule_data":' + tree + b"}"
    async with rest(database) as api:
        created = (await api.ask("POST", PATH, data=raw)).succeeded(201)
        assert b"[1.1,100,98765432109876543210]" in created.raw
        assert created.body["rule_data"]["value"][0] == float(Decimal("1.1"))


async def test_writes_warn_of_what_may_surprise(database: "Database") -> None:
    async with rest(database) as api:
        created = (await api.post(PATH, policy(rule_data=DEPARTMENT))).succeeded(201).body
        (warning,) = created["warnings"]
        assert (warning["code"], warning["pointer"]) == ("deny_can_be_unknown", "/rule_data/attribute")
        path = f"{PATH}/{created['id']}"
        # Read and sent back, warnings and all.
        assert (await api.put(path, created | {"effect": "allow"})).succeeded(200).body.get(
            "warnings"
        ) is None
        outbid = (await api.patch(path, {"priority": 7})).succeeded(200).body
        assert [each["code"] for each in outbid["warnings"]] == ["allow_outbids_role_denies"]
        assert "warnings" not in (await api.get(path)).body


async def test_a_patch_is_judged_as_the_whole_that_comes_out(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, policy(rule_data=DEPARTMENT, priority=5))).body
        path = f"{PATH}/{body['id']}"
        merge = {"Content_Type": "application/merge-patch+json"}
        patched = (await api.patch(path, {"enabled": False, "priority": None}, **merge)).succeeded(200).body
        assert (patched["enabled"], patched["priority"], patched["version"]) == (False, 0, 2)
        # A whole tree replaces the old one, members of it are merged.
        patched = (await api.patch(path, {"rule_data": {"value": "it"}})).succeeded(200).body
        assert patched["rule_data"] == DEPARTMENT | {"value": "it"}
        patched = (await api.patch(path, {"rule_data": {"type": "ALWAYS"}})).succeeded(200).body
        assert patched["rule_data"] == {"type": "ALWAYS"}
        for bad, pointer in (
            ({"name": None}, "/name"),
            ({"effect": "allow", "priority": 1001}, "/priority"),
            ({"unknown": 1}, "/unknown"),
            ({"prioritie": None}, "/prioritie"),
            ({"a/b~": None}, "/a~1b~0"),
            ({"rule_data": {"type": "OR"}}, "/rule_data/conditions"),
            ({"id": "x"}, "/id"),
        ):
            answer = await api.patch(path, bad)
            answer.problem(422)
            assert answer.pointers == [pointer]
        (await api.ask("PATCH", path, data=b"[]")).problem(422)
        assert (await api.patch(path, {})).succeeded(200).headers.get("X-Policy-Revision") == "4"


async def test_conditions_that_are_never_true_are_stored_with_a_warning(database: "Database") -> None:
    until = {
        "type": "CONDITION", "attribute": "user.until", "operator": "gt", "value": "2027-01-01T00:00:00Z",
    }  # fmt: skip
    async with rest(database) as api:
        created = (await api.post(PATH, policy(effect="allow", rule_data=until))).succeeded(201).body
        (warning,) = created["warnings"]
        assert (warning["code"], warning["pointer"]) == ("condition_never_true", "/rule_data/value")
        assert "a string is not a time" in warning["message"]
        right = until | {"value": 1800000000}
        changed = await api.patch(f"{PATH}/{created['id']}", {"rule_data": right})
        assert "warnings" not in changed.succeeded(200).body
        expression = policy(
            effect="allow", format="casbin", rule_data="request.method == 'get' && env.hour > 23"
        )
        found = (await api.post(PATH, expression)).succeeded(201).body["warnings"]
        assert [(each["code"], each["pointer"]) for each in found] == [
            ("condition_never_true", "/rule_data")
        ] * 2


async def test_a_deleted_policy_is_kept_aside_and_restored(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, policy())).body
        path = f"{PATH}/{body['id']}"
        (await api.delete(path)).succeeded(204)
        gone = (await api.get(path)).problem(404)
        assert "was deleted at" in gone["detail"]
        assert "?deleted=true" in gone["detail"]
        (await api.put(path, policy())).problem(404)
        (await api.patch(path, {})).problem(404)
        (await api.delete(path)).problem(404)
        assert (await api.get(PATH)).body["items"] == []
        (aside,) = (await api.get(f"{PATH}?deleted=true")).body["items"]
        assert aside["deleted_at"] is not None
        kept = (await api.get(f"{path}?deleted=true")).succeeded(200)
        assert kept.body == aside
        (await api.post(f"{path}/restore", If_Match='"1"')).problem(412)
        shown = (await api.get(f"{path}?deleted=true")).succeeded(200).body
        assert (shown["id"], shown["deleted_at"]) == (body["id"], aside["deleted_at"])
        (await api.get(f"{path}?deleted=true", caller="emea")).problem(404)
        restored = (await api.post(f"{path}/restore", If_Match=kept.headers["ETag"])).succeeded(200)
        assert (restored.body["deleted_at"], restored.body["version"]) == (None, 3)
        present = (await api.get(f"{path}?deleted=true")).succeeded(200)
        assert present.body["deleted_at"] is None
        again = (await api.post(f"{path}/restore")).succeeded(200)
        assert again.revision == restored.revision
        found = (await api.get(f"{path}/versions")).succeeded(200).body["items"]
        assert [(each["version"], each["deleted"]) for each in found] == [(1, False), (2, True), (3, False)]
        assert found[0]["actor"]["kind"] == "admin_key"
        assert await api.trail() == [
            ("create", "attribute_policy"), ("delete", "attribute_policy"), ("restore", "attribute_policy"),
        ]  # fmt: skip


async def test_every_problem_of_a_policy_is_named_at_once(database: "Database") -> None:
    async with rest(database) as api:
        tree = {
            "type": "AND",
            "conditions": [
                DEPARTMENT | {"operator": "like"},
                DEPARTMENT | {"attribute": "request.headers.cookie"},
                DEPARTMENT | {"operator": "matches", "value": "("},
            ],
        }
        answer = await api.post(
            PATH,
            policy(effect="maybe", priority=2**31, actions=[], rule_data=tree, enabled="yes", name="a\u200b"),
        )
        answer.problem(422)
        assert sorted(answer.pointers) == [
            "/actions", "/effect", "/enabled", "/name", "/priority", "/rule_data/conditions/0/operator",
            "/rule_data/conditions/1/attribute", "/rule_data/conditions/2/value",
        ]  # fmt: skip


async def test_a_domain_admin_writes_for_its_domain_and_below_the_tenant(database: "Database") -> None:
    async with rest(database) as api:
        own = (await api.post(PATH, policy(effect="allow"), caller="emea")).succeeded(201).body
        assert own["domain"] == "emea"
        answer = await api.post(PATH, policy(), caller="both")
        answer.problem(422)
        assert answer.pointers == ["/domain"]
        (await api.post(PATH, policy(domain="apac"), caller="both")).succeeded(201)
        (await api.post(PATH, policy(effect="allow", priority=1), caller="emea")).problem(422)
        (await api.post(PATH, policy(priority=1001), caller="emea")).problem(422)
        (await api.post(PATH, policy(priority=1000), caller="emea")).succeeded(201)
        for domain in ("*", "apac"):
            (await api.post(PATH, policy(domain=domain), caller="emea")).problem(403)
            (await api.patch(f"{PATH}/{own['id']}", {"domain": domain}, caller="emea")).problem(403)
        assert len((await api.get(PATH, caller="emea")).body["items"]) == 2
        assert len((await api.get(PATH)).body["items"]) == 3


async def test_a_domain_admin_cannot_change_rows_of_tenant_admins(database: "Database") -> None:
    async with rest(database) as api:
        deny = (await api.post(PATH, policy(domain="emea"))).body["id"]
        low = (await api.post(PATH, policy(domain="emea", priority=-1))).body["id"]
        high = (await api.post(PATH, policy(domain="emea", effect="allow", priority=5))).body["id"]
        hidden = (await api.post(PATH, policy())).body["id"]
        (await api.delete(f"{PATH}/{deny}", caller="emea")).problem(403)
        (await api.patch(f"{PATH}/{deny}", {"enabled": False}, caller="emea")).problem(403)
        (await api.put(f"{PATH}/{deny}", policy(), caller="emea")).problem(403)
        (await api.delete(f"{PATH}/{low}", caller="emea")).succeeded(204)
        (await api.delete(f"{PATH}/{high}", caller="emea")).succeeded(204)
        (await api.post(f"{PATH}/{high}/restore", caller="emea")).problem(403)
        (await api.post(f"{PATH}/{low}/restore", caller="emea")).succeeded(200)
        for method, path in (
            ("GET", ""), ("DELETE", ""), ("PUT", ""), ("PATCH", ""), ("POST", "/restore"),
            ("GET", "/versions"),
        ):  # fmt: skip
            document = policy() if method in {"PUT", "PATCH"} else None
            (await api.ask(method, f"{PATH}/{hidden}{path}", document, caller="emea")).problem(404)


async def test_a_version_of_another_domain_is_not_shown(database: "Database") -> None:
    async with rest(database) as api:
        path = f"{PATH}/{(await api.post(PATH, policy(domain='apac'))).body['id']}"
        (await api.patch(path, {"domain": "emea"})).succeeded(200)
        seen = (await api.get(f"{path}/versions", caller="emea")).body["items"]
        assert [each["version"] for each in seen] == [2]
        assert len((await api.get(f"{path}/versions")).body["items"]) == 2


async def test_writes_of_a_rule_and_of_a_policy_are_audited_with_their_actor(database: "Database") -> None:
    async with rest(database) as api:
        created = (await api.post(PATH, policy(), caller="emea", X_Request_Id="r-1")).body
        await api.post("/api/v1/resources/policies", rule(), caller="tenant")
        newest, oldest = (await api.get("/api/v1/audit", caller="tenant")).succeeded(200).body["items"]
        assert newest["actor"] == {"kind": "user", "id": "root", "domain": None, "request_id": None}
        assert oldest["actor"] == {"kind": "user", "id": "eve", "domain": None, "request_id": "r-1"}
        assert (oldest["before"], oldest["after"]["name"], oldest["revision"]) == (None, created["name"], 1)
        path = f"/api/v1/audit?entity_id={created['id']}&kind=attribute_policy"
        assert (await api.get(path)).body["items"] == [oldest]
        page = (await api.get("/api/v1/audit?limit=1")).body
        assert page["items"] == [newest]
        page = (await api.get(f"/api/v1/audit?limit=1&cursor={page['next_cursor']}")).body
        assert (page["items"], page["next_cursor"]) == ([oldest], None)
        (await api.get("/api/v1/audit", caller="emea")).problem(403)

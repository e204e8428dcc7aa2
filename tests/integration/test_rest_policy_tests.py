"""Policy tests over REST: they gate publications, and by setting each write; untested rules are named."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.draft_requests import (
    BINDINGS,
    POLICIES,
    RESOURCES,
    RULES,
    V1,
    a_draft,
    binding,
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
TESTS, GUARD = f"{V1}/policy-tests", f"{V1}/change-guard"


def case(decision: str = "allow", **members: Any) -> dict[str, Any]:
    return {
        "name": "finance reads", "principal": {"id": "alice", "roles": ["finance"]},
        "request": {"path": "/invoices/7"}, "expect": {"decision": decision},
    } | members  # fmt: skip


async def test_a_test_is_kept_as_it_was_written_and_raises_no_revision(database: "Database") -> None:
    async with rest(database) as api:
        before = await revision(api)
        document = case(
            principal={"id": "bob", "kind": "service", "domain": "emea", "claims": {"level": 3}},
            request={"method": "GET", "path": "/invoices/7?page=2", "headers": {"x-channel": "web"}},
            expect={"decision": "deny", "reason": "unmapped_route", "rule": None},
            now="2026-01-05T10:00:00Z",
        )
        made = (await api.post(TESTS, document, Idempotency_Key='"a"')).succeeded(201)
        assert (await api.post(TESTS, document, Idempotency_Key='"a"')).raw == made.raw
        assert made.body.items() >= document.items()
        path = f"{TESTS}/{made.body['id']}"
        read = (await api.get(path)).succeeded(200)
        assert read.body == made.body
        assert [each["id"] for each in (await api.get(TESTS)).body["items"]] == [made.body["id"]]
        (await api.put(path, read.body | {"name": "another"}, If_Match='"99"')).problem(412)
        renamed = await api.put(path, read.body | {"name": "another"}, If_Match=read.headers["ETag"])
        assert renamed.succeeded(200).headers["ETag"] != read.headers["ETag"]
        assert (await api.post(TESTS, case(name="another"))).problem(409)["ids"] == [made.body["id"]]
        (await api.delete(path)).succeeded(204)
        (await api.get(path)).problem(404)
        assert await revision(api) == before
        told = [each for each in await api.trail() if each[1] == "policy_test"]
        assert told == [("create", "policy_test"), ("update", "policy_test"), ("delete", "policy_test")]


@pytest.mark.parametrize(
    ("members", "pointers"),
    [
        ({"expect": {}}, ["/expect/decision"]),
        ({"expect": {"decision": "maybe"}}, ["/expect/decision"]),
        ({"expect": {"decision": "allow", "status": 200}}, ["/expect/status"]),
        ({"expect": None}, ["/expect"]),
        ({"principal": 7}, ["/principal"]),
        ({"principal": {}}, ["/principal"]),
        ({"principal": {"id": "a", "kind": "robot"}}, [""]),
        ({"request": {}}, ["/request"]),
        ({"request": "x"}, ["/request"]),
        ({"request": {"path": "/x", "headers": 1}}, ["/request"]),
        ({"now": "yesterday"}, ["/now"]),
        ({"name": ""}, ["/name"]),
        ({"x": 1}, ["/x"]),
    ],
)
async def test_a_malformed_test_is_refused_with_its_place(
    database: "Database", members: dict[str, Any], pointers: list[str]
) -> None:
    async with rest(database) as api:
        answer = await api.post(TESTS, case(**members))
        answer.problem(422)
        assert (
            sorted({pointer.rpartition("/str")[0] or pointer for pointer in answer.pointers})[:1] == pointers
        )


async def test_a_draft_that_fails_a_test_is_not_published(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RESOURCES, resource())).succeeded(201)
        kept = (await api.post(TESTS, case())).succeeded(201).body["id"]
        denied = case("deny", name="clerks do not read", principal={"id": "carl", "roles": ["clerk"]})
        stops = (await api.post(TESTS, denied)).succeeded(201).body["id"]
        before = await revision(api)
        draft = await a_draft(api)
        clerk = rule(sub="clerk", dom="*")
        row = (await api.post(f"{RULES}?draft={draft}", clerk)).succeeded(201).body["id"]

        failed = (await publish(api, draft)).problem(409)
        assert (failed["reason"], failed["ids"]) == ("policy_tests_failed", [stops])
        assert "clerks do not read" in failed["errors"][0]["message"]
        assert await revision(api) == before
        results = (await api.get(f"{TESTS}/results?draft={draft}")).succeeded(200).body
        assert {each["id"]: each["passed"] for each in results["tests"]} == {kept: True, stops: False}
        assert [each["rules"] for each in results["tests"] if not each["passed"]] == [[row]]
        live = (await api.get(f"{TESTS}/results")).succeeded(200).body
        assert all(each["passed"] for each in live["tests"])

        (await api.put(f"{TESTS}/{stops}", denied | {"expect": {"decision": "allow"}})).succeeded(200)
        (await publish(api, draft)).succeeded(200)


async def test_tests_run_on_direct_writes_by_setting(database: "Database") -> None:
    async with rest(database) as api:
        made = (await api.post(RESOURCES, resource())).succeeded(201).body["id"]
        (rules,) = (await api.get(f"{RESOURCES}/{made}/policies")).body
        (await api.post(TESTS, case())).succeeded(201)
        assert (await api.get(GUARD)).succeeded(200).body["tests"] == "publish"
        guard = (await api.put(GUARD, {"tests": "every_write"})).succeeded(200)
        assert (await api.get(GUARD)).body == guard.body
        before = await revision(api)

        failed = (await api.delete(f"{RULES}/{rules['id']}")).problem(409)
        assert failed["reason"] == "policy_tests_failed"
        deny = policy(effect="deny", domain="*")
        assert (await api.post(POLICIES, deny)).problem(409)["reason"] == "policy_tests_failed"
        assert await revision(api) == before
        (await api.post(BINDINGS, binding())).succeeded(201)
        (await api.post(f"{V1}/service-api-keys", {"name": "k", "scopes": ["check"]})).succeeded(201)

        (await api.put(GUARD, {}, If_Match=guard.headers["ETag"])).succeeded(200)
        (await api.put(GUARD, {}, If_Match=guard.headers["ETag"])).problem(412)
        (await api.delete(f"{RULES}/{rules['id']}")).succeeded(204)
        assert api.services.compiled is not None


async def test_rules_that_decide_in_no_test_are_listed(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RESOURCES, resource())).succeeded(201)
        other = (await api.post(RULES, rule(sub="clerk"))).succeeded(201).body["id"]
        asleep = (await api.post(POLICIES, policy(enabled=False))).succeeded(201).body["id"]
        shadow = policy(name="s", mode="shadow", effect="deny", domain="*")
        (await api.post(POLICIES, shadow)).succeeded(201)
        wide = (await api.post(POLICIES, policy(name="w", domain="apac"))).succeeded(201).body["id"]
        (await api.post(TESTS, case())).succeeded(201)
        results = (await api.get(f"{TESTS}/results")).succeeded(200).body
        found = {(each["kind"], each["id"]) for each in results["untested"]}
        assert found == {("role_rule", other), ("attribute_policy", wide)}
        assert asleep not in str(results)


async def test_tests_are_judged_at_the_tenants_own_policies(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api, admin = found.api, "acme/admin"
        (await api.post(RESOURCES, resource(), caller=admin)).succeeded(201)
        tenant = {"type": "CONDITION", "attribute": "user.tenant", "operator": "eq", "value": "acme"}
        (await api.post(POLICIES, policy(domain="*", rule_data=tenant), caller=admin)).succeeded(201)
        by_name = {"resource": "invoice:read", "action": "read"}
        for name, request in (("by route", {"path": "/invoices/7"}), ("by name", by_name)):
            document = case(name=name, principal={"id": "x"}, request=request)
            made = (await api.post(TESTS, document, caller=admin)).succeeded(201).body["id"]
            (await api.get(f"{TESTS}/{made}", caller="globex/admin")).problem(404)
        results = (await api.get(f"{TESTS}/results", caller=admin)).succeeded(200).body
        assert [each["differences"] for each in results["tests"]] == [[], []]
        assert (await api.get(f"{TESTS}/results", caller="globex/admin")).body["tests"] == []
        draft = await a_draft(api, caller=admin)
        (await api.get(f"{TESTS}/results?draft={draft}", caller="globex/admin")).problem(404)


async def test_only_tenant_admins_read_and_write_tests(database: "Database") -> None:
    async with rest(database) as api:
        for caller in ("emea", "alice"):
            for path in (TESTS, GUARD, f"{TESTS}/results"):
                (await api.get(path, caller=caller)).problem(403)
            (await api.post(TESTS, case(), caller=caller)).problem(403)
            (await api.put(GUARD, {}, caller=caller)).problem(403)

"""Role rules over HTTP: by id, by value, in pages, and within the domains of the caller."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
PATH = "/api/v1/resources/policies"
NO_ID = "01900000-0000-7000-8000-000000000000"


async def test_a_rule_is_created_read_replaced_and_deleted(database: "Database") -> None:
    async with rest(database) as api:
        created = (await api.post(PATH, rule(), caller="tenant")).succeeded(201)
        body = created.body
        assert {name: body[name] for name in rule()} == rule()
        assert body["sub_kind"] == "role"
        assert created.headers["Location"] == f"{PATH}/{body['id']}"
        read = (await api.get(f"{PATH}/{body['id']}")).succeeded(200)
        assert read.body == body
        assert read.headers["ETag"] == created.headers["ETag"] == f'"{created.revision}"'
        # What was read can be changed and sent back.
        replaced = (await api.put(f"{PATH}/{body['id']}", body | {"effect": "deny"})).succeeded(200)
        assert (replaced.body["effect"], replaced.revision) == ("deny", created.revision + 1)
        assert replaced.body["created_at"] == body["created_at"]
        same = (await api.put(f"{PATH}/{body['id']}", body | {"effect": "deny"})).succeeded(200)
        assert same.revision == replaced.revision
        gone = (await api.delete(f"{PATH}/{body['id']}")).succeeded(204)
        assert (gone.raw, gone.revision) == (b"", replaced.revision + 1)
        (await api.get(f"{PATH}/{body['id']}")).problem(404)
        assert await api.trail() == [
            ("create", "role_rule"), ("update", "role_rule"), ("delete", "role_rule"),
        ]  # fmt: skip


async def test_workloads_are_subjects_of_rules_and_members_of_bindings(database: "Database") -> None:
    bindings = "/api/v1/role-bindings"
    async with rest(database) as api:
        for name in ("spiffe://mesh/ns/a/sa/b", "spiffe://mesh/**", "web.internal"):
            made = (await api.post(PATH, rule(sub=name, sub_kind="workload"))).succeeded(201).body
            assert (made["sub"], made["sub_kind"]) == (name, "workload")
            bound = {"user": name, "user_kind": "workload", "role": "r", "dom": "*"}
            assert (await api.post(bindings, bound)).succeeded(201).body["user_kind"] == "workload"
        for name in ("spiffe://Mesh/a", "SPIFFE://mesh/a", "spiffe://mesh/*", "spiffe://**", "web/**"):
            refused = await api.post(PATH, rule(sub=name, sub_kind="workload"))
            refused.problem(422)
            assert refused.pointers == ["/sub"]
            bound = {"user": name, "user_kind": "workload", "role": "r", "dom": "*"}
            refused = await api.post(bindings, bound)
            refused.problem(422)
            assert refused.pointers == ["/user"]
        refused = await api.post(PATH, rule(sub="*", sub_kind="workload", effect="x", obj=7))
        refused.problem(422)
        assert set(refused.pointers) == {"/sub_kind", "/effect", "/obj"}
        asked = {"subject": "spiffe://mesh/x", "subject_kind": "workload", "resource": "invoice:read"}
        await created_key(api)
        for subject, status in (("spiffe://mesh/x", 403), ("spiffe://MESH/x", 422)):
            answer = await api.post(
                "/api/v1/check", asked | {"subject": subject, "action": "read"}, caller="checker"
            )
            assert answer.status == status, answer.raw
        everywhere = rule(sub="spiffe://mesh/**", sub_kind="workload", dom="*")
        written = (await api.post(PATH, everywhere)).succeeded(201)
        question = asked | {"action": "read", "min_revision": written.revision}
        allowed = (await api.post("/api/v1/check", question, caller="checker")).succeeded(200).body
        assert allowed["matched_rule_id"] == written.body["id"]


async def created_key(api: Api) -> None:
    key = {"name": "checker", "scopes": ["check"]}
    made = (await api.post("/api/v1/service-api-keys", key)).succeeded(201).body
    api.callers["checker"] = {"X-Service-Api-Key": made["key"]}


async def test_the_kind_of_a_subject_that_names_none_follows_the_effect(database: "Database") -> None:
    async with rest(database) as api:
        assert (await api.post(PATH, rule())).body["sub_kind"] == "role"
        assert (await api.post(PATH, rule(effect="deny"))).body["sub_kind"] == "any"
        assert (await api.post(PATH, rule(sub="*"))).body["sub_kind"] == "any"


async def test_an_equal_rule_is_a_conflict_naming_the_other(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(PATH, rule())).body["id"]
        problem = (await api.post(PATH, rule())).problem(409)
        assert problem["ids"] == [first]
        other = (await api.post(PATH, rule(act="write"))).body["id"]
        assert (await api.put(f"{PATH}/{other}", rule())).problem(409)["ids"] == [first]


async def test_every_problem_of_a_rule_is_named_at_once(database: "Database") -> None:
    async with rest(database) as api:
        answer = await api.post(
            PATH, {"id": "x", "sub": "", "dom": "e\u0301mea", "obj": 3, "effect": "permit", "extra": 1}
        )
        answer.problem(422)
        assert sorted(answer.pointers) == ["/act", "/dom", "/effect", "/extra", "/id", "/obj", "/sub"]


async def test_rules_are_listed_in_pages_by_filter(database: "Database") -> None:
    async with rest(database) as api:
        for number in range(5):
            await api.post(PATH, rule(act=f"act-{number}"))
        await api.post(PATH, rule(obj="other", dom="apac"))
        seen: list[str] = []
        path = f"{PATH}?obj={quote('invoice:read')}&limit=2"
        cursor: str | None = ""
        while cursor is not None:
            page = (await api.get(path + (f"&cursor={cursor}" if cursor else ""))).succeeded(200).body
            seen += [item["act"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert seen == [f"act-{number}" for number in range(5)]
        (only,) = (await api.get(f"{PATH}?dom=apac&sub=finance")).body["items"]
        assert only["obj"] == "other"


async def test_invalid_queries_are_named(database: "Database") -> None:
    async with rest(database) as api:
        for query in (
            "limit=0", "limit=1001", "limit=-1", "limit=x", "limit=99999999999999999999", "limit=",
            "object=x", "obj=a&obj=b", "obj=", "obj=%00", "obj=e%CC%81", "dom=%20a", "limit=%D9%A1",
        ):  # fmt: skip
            (await api.get(f"{PATH}?{query}")).problem(422)
        for query in ("obj=%ff", "&".join(f"a{n}=1" for n in range(100)), "obj=%ED%A0%80"):
            (await api.get(f"{PATH}?{query}")).problem(400)


async def test_rules_are_replaced_by_value(database: "Database") -> None:
    async with rest(database) as api:
        read = (await api.post(PATH, rule())).body["id"]
        # Exactly this value first.
        replaced = (await api.put(PATH, rule(effect="deny"))).succeeded(200)
        assert (replaced.body["id"], replaced.body["effect"]) == (read, "deny")
        # Else the only one with (sub, dom, obj).
        replaced = (await api.put(PATH, rule(act="write"))).succeeded(200)
        assert (replaced.body["id"], replaced.body["act"]) == (read, "write")
        other = (await api.post(PATH, rule(act="approve"))).body["id"]
        problem = (await api.put(PATH, rule(act="read"))).problem(409)
        assert sorted(problem["ids"]) == sorted([read, other])
        (await api.put(PATH, rule(sub="nobody"))).problem(404)


async def test_rules_are_deleted_by_value_in_body_or_query(database: "Database") -> None:
    value = {"sub": "finance", "dom": "emea", "obj": "invoice:read"}
    query = "sub=finance&dom=emea&obj=invoice:read"
    async with rest(database) as api:
        for act in ("read", "write", "approve"):
            await api.post(PATH, rule(act=act))
        await api.post(PATH, rule(effect="deny"))
        assert len((await api.delete(PATH, value)).problem(409)["ids"]) == 4
        assert len((await api.delete(PATH, value | {"act": "read"})).problem(409)["ids"]) == 2
        (await api.delete(PATH, value | {"act": "read", "effect": "deny"})).succeeded(204)
        (await api.delete(PATH, rule())).succeeded(204)
        (await api.delete(f"{PATH}?{query}&act=write")).succeeded(204)
        (await api.delete(f"{PATH}?{query}")).succeeded(204)
        (await api.delete(f"{PATH}?{query}")).problem(404)
        (await api.delete(f"{PATH}?{query}", value)).problem(422)
        answer = await api.delete(PATH)
        assert [each["parameter"] for each in answer.problem(422)["errors"]] == ["sub", "dom", "obj"]
        (await api.delete(f"{PATH}?{query}&effect=permit")).problem(422)
        assert (await api.get(PATH)).body["items"] == []


async def test_if_match_lets_one_of_many_writers_through(database: "Database") -> None:
    async with rest(database) as api:
        created = await api.post(PATH, rule())
        path = f"{PATH}/{created.body['id']}"
        tag = created.headers["ETag"]
        answers = await asyncio.gather(
            *(api.put(path, rule(act=f"act-{number}"), If_Match=tag) for number in range(8))
        )
        assert sorted(answer.status for answer in answers) == [200] + [412] * 7
        (winner,) = (answer for answer in answers if answer.status == 200)
        assert (await api.get(path)).body == winner.body
        (await api.delete(path, If_Match=tag)).problem(412)
        (await api.delete(path, If_Match=f"W/{winner.headers['ETag']}")).problem(412)
        (await api.delete(path, If_Match="17")).problem(400)
        (await api.post(PATH, rule(), If_Match="*")).problem(412)
        (await api.put(path, rule(), If_Match=f'"x", {winner.headers["ETag"]}')).succeeded(200)
        (await api.delete(path, If_Match="*")).succeeded(204)


async def test_a_domain_admin_stays_in_its_domain(database: "Database") -> None:
    async with rest(database) as api:
        apac = (await api.post(PATH, rule(dom="apac"))).body["id"]
        everywhere = (await api.post(PATH, rule(dom="*"))).body["id"]
        own = (await api.post(PATH, rule(), caller="emea")).succeeded(201).body["id"]
        for caller, visible in (("emea", [own]), ("both", [apac, own]), ("key", [apac, everywhere, own])):
            items = (await api.get(PATH, caller=caller)).succeeded(200).body["items"]
            assert [item["id"] for item in items] == visible
        assert (await api.get(f"{PATH}?dom=apac", caller="emea")).body["items"] == []
        for hidden in (apac, everywhere):
            (await api.get(f"{PATH}/{hidden}", caller="emea")).problem(404)
            (await api.put(f"{PATH}/{hidden}", rule(), caller="emea")).problem(404)
            (await api.delete(f"{PATH}/{hidden}", caller="emea")).problem(404)
        for domain in ("apac", "*"):
            (await api.post(PATH, rule(dom=domain), caller="emea")).problem(403)
            (await api.put(f"{PATH}/{own}", rule(dom=domain), caller="emea")).problem(403)
            (await api.put(PATH, rule(dom=domain), caller="emea")).problem(403)
            (await api.delete(PATH, rule(dom=domain), caller="emea")).problem(403)
            # What is wrong comes before what is not allowed.
            (await api.post(PATH, rule(dom=domain, effect="x"), caller="emea")).problem(422)
        (await api.delete(f"{PATH}/{own}", caller="emea")).succeeded(204)


async def test_a_domain_admin_cannot_lift_a_deny_that_a_tenant_admin_wrote(database: "Database") -> None:
    async with rest(database) as api:
        deny = (await api.post(PATH, rule(effect="deny"))).body["id"]
        allow = (await api.post(PATH, rule(act="write"))).body["id"]
        (await api.delete(f"{PATH}/{deny}", caller="emea")).problem(403)
        (await api.put(f"{PATH}/{deny}", rule(), caller="emea")).problem(403)
        (await api.put(PATH, rule(), caller="emea")).problem(403)
        (await api.delete(PATH, rule(sub_kind="any", effect="deny"), caller="emea")).problem(403)
        (await api.delete(f"{PATH}/{allow}", caller="emea")).succeeded(204)
        own = (await api.post(PATH, rule(act="write", effect="deny"), caller="emea")).body["id"]
        (await api.delete(f"{PATH}/{own}", caller="emea")).succeeded(204)


async def test_invalid_ids_are_not_found(database: "Database") -> None:
    async with rest(database) as api:
        for bad in (NO_ID, "x", "%00", NO_ID.upper(), f"%7B{NO_ID}%7D", NO_ID.replace("-", ""), "%ff"):
            (await api.get(f"{PATH}/{bad}")).problem(404)
            (await api.delete(f"{PATH}/{bad}")).problem(404)
            (await api.put(f"{PATH}/{bad}", rule())).problem(404)

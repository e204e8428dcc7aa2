"""Resources over HTTP: registered once or in bulk, with routes and default roles."""

from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.forwarding import Forwarding
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
PATH = "/api/v1/resources"
RULES = "/api/v1/resources/policies"


def resource(**members: object) -> dict[str, object]:
    return {"name": "invoice:read", "serviceName": "billing"} | members


def route(path: str = "/invoices/{id}", **members: object) -> dict[str, object]:
    return {"methods": ["GET"], "path": path} | members


async def rules_of(api: Api) -> list[tuple[str, str, str, str]]:
    items = (await api.get(RULES)).succeeded(200).body["items"]
    return sorted((item["sub"], item["dom"], item["obj"], item["act"]) for item in items)


async def test_a_resource_is_registered_once(database: "Database") -> None:
    document = resource(displayName="Invoices", defaultRoles=["finance"], routes=[route()])
    async with rest(database) as api:
        created = (await api.post(PATH, document)).succeeded(201)
        body = created.body
        assert body == {
            "id": body["id"], "name": "invoice:read", "displayName": "Invoices", "serviceName": "billing",
            "defaultRoles": ["finance"],
            "routes": [
                {"methods": ["GET"], "path": "/invoices/{id}", "action": "read", "authentication": "required"}
            ],
            "createdAt": body["createdAt"], "updatedAt": body["updatedAt"],
        }  # fmt: skip
        assert created.headers["Location"] == f"{PATH}/{body['id']}"
        again = (await api.post(PATH, document)).succeeded(200)
        assert (again.body, again.revision) == (body, created.revision)
        read = (await api.get(f"{PATH}/{body['id']}")).succeeded(200)
        assert (read.body, read.headers["ETag"]) == (body, created.headers["ETag"])
        assert (await api.get(PATH)).body == {"items": [body], "next_cursor": None}
        assert (await api.get(f"{PATH}?serviceName=other")).body["items"] == []
        assert (await api.get(f"{PATH}?name=invoice:read")).body["items"] == [body]


async def test_registering_again_declares_again(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(PATH, resource(displayName="Invoices", routes=[route()]))).body
        moved = (await api.post(PATH, resource(routes=[route("/bills/{id}")]))).succeeded(200)
        assert (moved.body["id"], moved.body["displayName"]) == (first["id"], "Invoices")
        assert [each["path"] for each in moved.body["routes"]] == ["/bills/{id}"]
        kept = (await api.post(PATH, resource())).succeeded(200)
        assert (kept.body, kept.revision) == (moved.body, moved.revision)
        problem = (await api.post(PATH, resource(serviceName="other"))).problem(409)
        assert problem["ids"] == [first["id"]]
        (await api.post(PATH, resource(displayName="x"), If_Match='"1"')).problem(412)
        (await api.post(PATH, resource(displayName="x"), If_Match=moved.headers["ETag"])).succeeded(200)
        (await api.post(PATH, resource(name="new"), If_Match="*")).problem(412)


async def test_default_roles_become_rules_the_first_time_ever(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, resource(defaultRoles=["finance", "audit", "finance"]))).body
        assert body["defaultRoles"] == ["finance", "audit"]
        expected = [("audit", "*", "invoice:read", "read"), ("finance", "*", "invoice:read", "read")]
        assert await rules_of(api) == expected
        on_it = (await api.get(f"{PATH}/{body['id']}/policies")).succeeded(200).body
        assert sorted(each["sub"] for each in on_it) == ["audit", "finance"]
        (await api.delete(RULES, {"sub": "audit", "dom": "*", "obj": "invoice:read"})).succeeded(204)
        (await api.post(PATH, resource(defaultRoles=["finance", "audit"]))).succeeded(200)
        assert await rules_of(api) == expected[1:]
        (await api.delete(f"{PATH}/{body['id']}")).succeeded(204)
        assert await rules_of(api) == []
        (await api.post(PATH, resource(defaultRoles=["finance", "audit"]))).succeeded(201)
        assert await rules_of(api) == []


async def test_a_resource_without_default_action_gives_access(database: "Database") -> None:
    async with rest(database) as api:
        await api.post(PATH, resource(name="reports", defaultRoles=["finance"], routes=[route("/reports")]))
        assert await rules_of(api) == [("finance", "*", "reports", "access")]


async def test_a_route_that_is_taken_is_a_conflict_naming_both(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(PATH, resource(routes=[route()]))).body
        problem = (await api.post(PATH, resource(name="b", routes=[route("/invoices/{no}")]))).problem(409)
        assert problem["ids"] == [first["id"]]
        assert problem["errors"][0]["message"] == (
            f"GET any host /invoices/{{}} of 'b' already leads to 'invoice:read': {first['id']}"
        )
        assert len((await api.get(PATH)).body["items"]) == 1
        answer = await api.post(PATH, resource(name="b", routes=[route("/a"), route("/a")]))
        assert answer.problem(409)["ids"] == []
        # The name of what was not stored, and no id that leads nowhere.
        listed = [resource(name="b", routes=[route("/b")]), resource(name="c", routes=[route("/b")])]
        problem = (await api.post(f"{PATH}/list", listed)).problem(409)
        assert problem["errors"] == [
            {"pointer": "/1", "message": "GET any host /b of 'c' already leads to 'b'"}
        ]
        assert problem["ids"] == []


async def test_many_are_registered_together_or_not_at_all(database: "Database") -> None:
    async with rest(database) as api:
        documents: list[dict[str, Any]] = [
            resource(name=f"r{number}:read", routes=[route(f"/r{number}")], defaultRoles=["finance"])
            for number in range(3)
        ]
        created = (await api.post("/api/v1/resources/list", documents)).succeeded(201)
        assert [each["name"] for each in created.body] == ["r0:read", "r1:read", "r2:read"]
        again = (await api.post("/resources/list", documents)).succeeded(200)
        assert (again.body, again.revision) == (created.body, created.revision)
        more = [*documents, resource(name="r3"), resource(name="r4", routes=[route("/r1")])]
        problem = (await api.post("/resources/list", more)).problem(409)
        assert problem["errors"][0]["pointer"] == "/4"
        assert problem["ids"] == [created.body[1]["id"]]
        bad = [
            documents[0],
            resource(name="", extra=1),
            {"serviceName": "x", "routes": [{"methods": ["get"], "path": "x"}]},
            "resource",
        ]
        answer = await api.post("/resources/list", bad)
        answer.problem(422)
        assert sorted(answer.pointers) == [
            "/1/extra", "/1/name", "/2/name", "/2/routes/0/methods/0", "/2/routes/0/path", "/3",
        ]  # fmt: skip
        answer = await api.post("/resources/list", [documents[0], documents[1], documents[0]])
        answer.problem(422)
        assert answer.pointers == ["/2/name"]
        (await api.post("/resources/list", resource())).problem(422)
        assert (await api.post("/resources/list", [])).succeeded(200).body == []
        assert len((await api.get(PATH)).body["items"]) == 3
        # A route moves from one resource to a new one within one list.
        moved = [documents[0] | {"routes": []}, resource(name="r5", routes=[route("/r0")])]
        (await api.post("/resources/list", moved)).succeeded(201)


async def test_a_resource_is_patched(database: "Database") -> None:
    async with rest(database) as api:
        created = await api.post(PATH, resource(routes=[route()]))
        path = f"{PATH}/{created.body['id']}"
        patched = (await api.patch(path, {"displayName": "Bills"})).succeeded(200)
        assert patched.body == created.body | {
            "displayName": "Bills", "updatedAt": patched.body["updatedAt"],
        }  # fmt: skip
        assert (await api.patch(path, {"displayName": None})).body["displayName"] == "invoice:read"
        assert (await api.patch(path, {"routes": []})).body["routes"] == []
        (await api.patch(path, patched.body)).succeeded(200)
        for bad, pointer in (
            ({"name": "other"}, "/name"),
            ({"serviceName": None}, "/serviceName"),
            ({"route": None}, "/route"),
            ({"routes": [route("x")]}, "/routes/0/path"),
            ({"routes": [route(methods=["HEAD"])]}, "/routes/0/methods/0"),
            ({"unknown": 1}, "/unknown"),
            ({"id": "x"}, "/id"),
        ):
            answer = await api.patch(path, bad)
            answer.problem(422)
            assert answer.pointers == [pointer]
        (await api.patch(path, {}, If_Match=created.headers["ETag"])).problem(412)
        (await api.post(PATH, resource(name="other", routes=[route("/other")]))).succeeded(201)
        (await api.patch(path, {"routes": [route("/other")]})).problem(409)


async def test_deleting_a_resource_refuses_to_leave_rules_behind(database: "Database") -> None:
    async with rest(database) as api:
        created = await api.post(PATH, resource(defaultRoles=["finance"]))
        path = f"{PATH}/{created.body['id']}"
        extra = (await api.post(RULES, rule(effect="deny"))).body["id"]
        policy = {
            "name": "n", "resource": "invoice:read", "effect": "deny", "rule_data": {"type": "ALWAYS"},
        }  # fmt: skip
        attribute = (await api.post("/api/v1/abac/policies", policy)).body["id"]
        assert (await api.delete(path)).problem(409)["ids"] == [extra, attribute]
        (await api.delete(f"{path}?cascade=maybe")).problem(422)
        (await api.delete(f"{path}?cascade=true", If_Match='"77"')).problem(412)
        (await api.delete(f"{path}?cascade=true")).succeeded(204)
        (await api.get(path)).problem(404)
        (await api.delete(path)).problem(404)
        (await api.get(f"{path}/policies")).problem(404)
        assert await rules_of(api) == []
        (aside,) = (await api.get("/api/v1/abac/policies?deleted=true")).body["items"]
        assert aside["id"] == attribute


async def test_a_resource_has_a_thousand_default_roles_at_most(database: "Database") -> None:
    roles = [f"role {number}" for number in range(1001)]
    async with rest(database) as api:
        refused = await api.post(PATH, resource(defaultRoles=roles))
        created = (await api.post(PATH, resource(defaultRoles=roles[1:]))).succeeded(201)
        (await api.delete(f"{PATH}/{created.body['id']}")).succeeded(204)

        refused.problem(422)
        assert refused.pointers == ["/defaultRoles"]
        assert await rules_of(api) == []


async def test_the_rules_on_a_resource_come_in_parts_and_by_domain(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, resource())).body
        for number in range(3):
            await api.post(RULES, rule(act=f"a{number}"))
        await api.post(RULES, rule(dom="apac"))
        await api.post(RULES, rule(obj="other"))
        path = f"{PATH}/{body['id']}/policies"
        assert len((await api.get(path)).body) == 4
        seen = await api.get(f"{path}?limit=2", caller="emea")
        assert [each["act"] for each in seen.body] == ["a0", "a1"]
        link = seen.headers["Link"]
        assert link.endswith('>; rel="next"')
        rest_of_it = await api.get(link[1 : link.index(">")], caller="emea")
        assert [each["act"] for each in rest_of_it.body] == ["a2"]
        assert "Link" not in rest_of_it.headers


async def test_a_parameter_with_a_reserved_name_is_warned_of(database: "Database") -> None:
    async with rest(database) as api:
        document = resource(routes=[route("/a/{name}")])
        (warning,) = (await api.post(PATH, document)).succeeded(201).body["warnings"]
        assert (warning["code"], warning["pointer"]) == ("parameter_has_only_long_form", "/routes/0/path")
        (in_bulk,) = (await api.post("/resources/list", [document])).succeeded(200).body
        assert in_bulk["warnings"] == [warning]


async def test_writes_of_resources_are_audited(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, resource(defaultRoles=["finance"]))).body
        await api.patch(f"{PATH}/{body['id']}", {"displayName": "x"})
        await api.delete(f"{PATH}/{body['id']}")
        assert await api.trail() == [
            ("create", "resource"), ("create", "role_rule"), ("update", "resource"), ("delete", "role_rule"),
            ("delete", "resource"),
        ]  # fmt: skip


async def shown(api: "Api", resource_id: str) -> tuple[list[str], list[str]]:
    """Return the default roles that a resource is shown with, and the codes of its warnings."""
    body = (await api.get(f"{PATH}/{resource_id}")).succeeded(200).body
    (listed,) = [each for each in (await api.get(PATH)).body["items"] if each["id"] == resource_id]
    assert listed == body
    return body["defaultRoles"], [each["code"] for each in body.get("warnings", [])]


async def test_default_roles_are_shown_as_they_are_in_force(database: "Database") -> None:
    said = ["default_roles_not_in_force"]
    async with rest(database) as api:
        created = (await api.post(PATH, resource(defaultRoles=["finance", "audit"]))).succeeded(201).body
        one = created["id"]
        assert (created["defaultRoles"], created.get("warnings")) == (["finance", "audit"], None)
        assert await shown(api, one) == (["finance", "audit"], [])

        # What is declared later does not become rules, and takes none away.
        patched = (await api.patch(f"{PATH}/{one}", {"defaultRoles": ["clerk"]})).succeeded(200).body
        assert patched["defaultRoles"] == ["finance", "audit"]
        (warning,) = patched["warnings"]
        assert (warning["code"], warning["pointer"]) == (said[0], "/defaultRoles")
        assert "'clerk' is declared and not in force" in warning["message"]
        assert "'finance', 'audit' are in force and no longer declared" in warning["message"]
        assert await shown(api, one) == (["finance", "audit"], said)

        # What is shown can be sent back.
        again = (await api.patch(f"{PATH}/{one}", {"defaultRoles": patched["defaultRoles"]})).succeeded(200)
        assert "warnings" not in again.body

        rules = (await api.get(f"{PATH}/{one}/policies")).body
        (finance,) = [each["id"] for each in rules if each["sub"] == "finance"]
        (await api.delete(f"/api/v1/resources/policies/{finance}")).succeeded(204)
        assert await shown(api, one) == (["audit"], said)
        registered = (await api.post(PATH, resource(defaultRoles=["finance", "audit"]))).succeeded(200).body
        assert (registered["defaultRoles"], len(registered["warnings"])) == (["audit"], 1)
        (many,) = (
            (await api.post(f"{PATH}/list", [resource(defaultRoles=["finance", "audit"])]))
            .succeeded(200)
            .body
        )
        assert (many["defaultRoles"], len(many["warnings"])) == (["audit"], 1)

        # An equal rule suffices.
        rule = {"sub": "finance", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
        (await api.post("/api/v1/resources/policies", rule)).succeeded(201)
        assert await shown(api, one) == (["finance", "audit"], [])


async def test_rules_of_other_origin_are_not_default_roles(database: "Database") -> None:
    async with rest(database) as api:
        one = (await api.post(PATH, resource(defaultRoles=["finance"]))).succeeded(201).body["id"]
        rules = [
            {"sub": "clerk", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"},
            {"sub": "finance", "dom": "emea", "obj": "invoice:read", "act": "read", "effect": "allow"},
            {"sub": "finance", "dom": "*", "obj": "invoice:read", "act": "write", "effect": "allow"},
        ]
        for rule in rules:
            (await api.post("/api/v1/resources/policies", rule)).succeeded(201)
        assert await shown(api, one) == (["finance"], [])


async def test_a_name_that_is_registered_again_shows_no_role_that_has_no_rule(database: "Database") -> None:
    async with rest(database) as api:
        one = (await api.post(PATH, resource(defaultRoles=["finance"]))).succeeded(201).body["id"]
        (await api.patch(f"{PATH}/{one}", {"defaultRoles": []})).succeeded(200)
        # The rules that the default roles became go with the resource, also those that are declared no more.
        (await api.delete(f"{PATH}/{one}")).succeeded(204)
        assert (await api.get("/api/v1/resources/policies")).body["items"] == []
        again = (await api.post(PATH, resource(defaultRoles=["finance"]))).succeeded(201).body
        assert again["defaultRoles"] == []
        assert [each["code"] for each in again["warnings"]] == ["default_roles_not_in_force"]


async def test_a_literal_that_looks_like_a_wildcard_is_stored_with_a_warning(database: "Database") -> None:
    async with rest(database) as api:
        odd = resource(routes=[route("/invoices/{id}"), route("/invoices/*"), route("/invoices/:id/lines")])
        body = (await api.post(PATH, odd)).succeeded(201).body
        assert [(each["code"], each["pointer"]) for each in body["warnings"]] == [
            ("literal_looks_like_wildcard", "/routes/1/path"),
            ("literal_looks_like_wildcard", "/routes/2/path"),
        ]
        (many,) = (await api.post(f"{PATH}/list", [odd])).succeeded(200).body
        assert many["warnings"] == body["warnings"]


async def test_what_the_workload_gets_is_stored_shown_and_put_into_force(database: "Database") -> None:
    members = {
        "headers": {"x-user-email": "user.email"},
        "authorization": "remove",
        "assertion": False,
        "require_bound": True,
    }
    async with rest(database) as api:
        created = (await api.post(PATH, resource(routes=[route()], **members))).succeeded(201)
        assert {name: created.body[name] for name in members} == members
        one = f"{PATH}/{created.body['id']}"
        assert (await api.get(one)).succeeded(200).body == created.body
        assert (await api.get(PATH)).body["items"] == [created.body]

        assert await api.services.wait_for("default", created.revision, 5.0)
        directory = api.services.policies.current()
        assert directory is not None
        in_force = directory.snapshots["default"].resources_by_name["invoice:read"]
        assert in_force.require_bound
        assert in_force.forwarding == Forwarding((("x-user-email", "user.email"),), True, False)

        # A registration without the members keeps them, a patch with null removes them.
        again = (await api.post(PATH, resource(displayName="Invoices"))).succeeded(200).body
        assert {name: again[name] for name in members} == members
        added = {"headers": {"x-user-groups": "user.groups"}, "authorization": "keep"}
        patched = (await api.patch(one, added)).succeeded(200).body
        assert patched["headers"] == {"x-user-email": "user.email", "x-user-groups": "user.groups"}
        cleared = (await api.patch(one, dict.fromkeys(members))).succeeded(200)
        assert not members.keys() & cleared.body.keys()
        assert await api.services.wait_for("default", cleared.revision, 5.0)
        directory = api.services.policies.current()
        assert directory is not None
        in_force = directory.snapshots["default"].resources_by_name["invoice:read"]
        assert (in_force.forwarding, in_force.require_bound) == (None, False)


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"headers": {"x-other": "user.email"}}, "/headers/x-other"),
        ({"headers": {"x-auth-subject": "user.email"}}, "/headers/x-auth-subject"),
        ({"headers": {"x-user-email": "request.host"}}, "/headers/x-user-email"),
        ({"headers": "x-user-email"}, "/headers"),
        ({"headers": None}, "/headers"),
        ({"authorization": "drop"}, "/authorization"),
        ({"authorization": None}, "/authorization"),
        ({"assertion": "true"}, "/assertion"),
        ({"require_bound": "true"}, "/require_bound"),
    ],
)
async def test_a_wrong_member_about_the_workload_is_422(
    database: "Database", members: dict[str, Any], pointer: str
) -> None:
    async with rest(database) as api:
        problem = (await api.post(PATH, resource(**members))).problem(422)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]

"""`public: true` of a resource over REST: two allow rules and optional routes, for tenant admins only."""

from typing import TYPE_CHECKING

import pytest

from tests.integration.rest_harness import Api, rest
from tests.integration.test_rest_resources import PATH, RULES, resource, route
from tests.integration.test_rest_service_keys import REGISTRAR, made

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

PUBLIC_RULES = [
    ("*", "any", "*", "invoice:read", "read", "allow"),
    ("anonymous", "role", "*", "invoice:read", "read", "allow"),
]


async def rules(api: Api) -> list[tuple[str, ...]]:
    items = (await api.get(RULES)).succeeded(200).body["items"]
    members = ("sub", "sub_kind", "dom", "obj", "act", "effect")
    return sorted(tuple(item[member] for member in members) for item in items)


def authentications(body: dict[str, list[dict[str, str]]]) -> list[str]:
    return [each["authentication"] for each in body["routes"]]


async def test_a_public_resource_has_two_allow_rules_and_optional_routes(database: "Database") -> None:
    routes = [
        route("/a"),
        route("/b", authentication="required"),
        route("/c", authentication="none"),
        route("/d", action="write"),
    ]
    async with rest(database) as api:
        created = (await api.post(PATH, resource(public=True, routes=routes))).succeeded(201)
        assert created.body["public"] is True
        assert authentications(created.body) == ["optional", "required", "none", "optional"]
        assert await rules(api) == PUBLIC_RULES
        again = (await api.post(PATH, resource(public=True, routes=routes))).succeeded(200)
        assert (again.body, again.revision) == (created.body, created.revision)
        # Left out, it stays, for routes that are declared anew as well.
        more = (await api.post(PATH, resource(routes=[*routes, route("/e")]))).succeeded(200).body
        assert (more["public"], authentications(more)[-1]) == (True, "optional")
        read = (await api.get(f"{PATH}/{created.body['id']}")).succeeded(200).body
        assert read == more
        (listed,) = (await api.get(PATH)).body["items"]
        assert listed == more
        assert await rules(api) == PUBLIC_RULES
        audited = (await api.get("/api/v1/audit")).succeeded(200).body["items"]
        assert [each["action"] for each in audited if each["kind"] == "role_rule"] == ["create", "create"]


async def test_a_resource_becomes_public_and_private_by_its_declaration(database: "Database") -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, resource(routes=[route()]))).succeeded(201).body
        one = f"{PATH}/{body['id']}"
        assert "public" not in body
        opened = (await api.patch(one, {"public": True})).succeeded(200).body
        # A stored route keeps its authentication.
        assert (opened["public"], authentications(opened)) == (True, ["required"])
        assert await rules(api) == PUBLIC_RULES
        for closing in ({"public": False}, {"public": None}):
            closed = (await api.patch(one, closing)).succeeded(200).body
            assert "public" not in closed
            assert await rules(api) == []
            (await api.patch(one, {"public": True})).succeeded(200)
        (await api.post(PATH, resource(public=False))).succeeded(200)
        assert await rules(api) == []
        (many,) = (await api.post(f"{PATH}/list", [resource(public=True)])).succeeded(200).body
        assert many["public"] is True
        assert await rules(api) == PUBLIC_RULES
        (await api.delete(one)).succeeded(204)
        assert await rules(api) == []


async def test_a_deleted_rule_is_not_written_again_and_the_resource_not_shown_as_public(
    database: "Database",
) -> None:
    async with rest(database) as api:
        body = (await api.post(PATH, resource(public=True))).succeeded(201).body
        one = f"{PATH}/{body['id']}"
        (anonymous,) = [
            each["id"] for each in (await api.get(f"{one}/policies")).body if each["sub"] == "anonymous"
        ]
        (await api.delete(f"{RULES}/{anonymous}")).succeeded(204)
        again = (await api.post(PATH, resource(public=True))).succeeded(200).body
        shown = (await api.get(one)).succeeded(200).body
        for each in (again, shown):
            assert "public" not in each
            assert [(one["code"], one["pointer"]) for one in each["warnings"]] == [
                ("public_not_in_force", "/public")
            ]
        assert await rules(api) == PUBLIC_RULES[:1]
        (await api.patch(one, {"public": False})).succeeded(200)
        (await api.patch(one, {"public": True})).succeeded(200)
        assert await rules(api) == PUBLIC_RULES


async def test_only_a_tenant_admin_makes_a_resource_public(database: "Database") -> None:
    async with rest(database) as api:
        registrar = (await made(api, **REGISTRAR))["id"]
        own = route("/v1/invoices/{id}")
        refused = await api.post(PATH, resource(public=True, routes=[own]), caller=registrar)
        assert refused.problem(403)
        assert refused.pointers == ["/public"]
        refused = await api.post(f"{PATH}/list", [resource(public=True, routes=[own])], caller=registrar)
        assert refused.problem(403)
        assert refused.pointers == ["/0/public"]
        created = (await api.post(PATH, resource(routes=[own]), caller=registrar)).succeeded(201).body
        one = f"{PATH}/{created['id']}"
        (await api.patch(one, {"public": True}, caller=registrar)).problem(403)
        assert await rules(api) == []
        # What a tenant admin opened stays open, and may be declared again.
        (await api.post(PATH, resource(public=True, routes=[own]))).succeeded(200)
        for declared in (resource(routes=[own]), resource(public=True), resource(displayName="Invoices")):
            (await api.post(PATH, declared, caller=registrar)).succeeded(200)
        (await api.post(PATH, resource(public=False), caller=registrar)).problem(403)
        (await api.patch(one, {"public": None}, caller=registrar)).problem(403)
        # A new route of a public resource would be optional, which the registrar cannot write.
        more = [own, route("/v1/invoices/{id}/lines")]
        (await api.post(PATH, resource(routes=more), caller=registrar)).problem(403)
        more[1] = route("/v1/invoices/{id}/lines", authentication="required")
        (await api.post(PATH, resource(routes=more), caller=registrar)).succeeded(200)
        assert await rules(api) == PUBLIC_RULES


async def test_public_is_true_or_false(database: "Database") -> None:
    async with rest(database) as api:
        wrongs: list[object] = ["true", 1, None, [], {}]
        for wrong in wrongs:
            answer = await api.post(PATH, resource(public=wrong))
            assert answer.problem(422)
            assert answer.pointers == ["/public"]

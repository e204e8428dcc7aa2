"""Routes that cover messages of the Model Context Protocol, over HTTP."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rest_harness import rest

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
PATH = "/api/v1/resources"


def tool(name: str, **members: object) -> dict[str, Any]:
    return route({"method": "tools/call", "tool": name}, **members)


def route(mcp: object, **members: object) -> dict[str, Any]:
    return {"methods": ["POST"], "path": "/mcp", "mcp": mcp} | members


def resource(name: str, *routes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "serviceName": "invoices", "routes": list(routes)}


async def test_each_message_has_a_route_of_its_own(database: "Database") -> None:
    documents = [
        resource("session:use", route("session", methods=["POST", "GET", "DELETE"])),
        resource("read:call", tool("read-invoice")),
        resource("delete:call", tool("delete-invoice")),
        resource("reports:read", route({"method": "resources/read", "uri": "reports://{year}/{name}"})),
        resource("all:use", {"methods": ["*"], "path": "/mcp"}),
    ]
    async with rest(database) as api:
        for document in documents:
            created = (await api.post(PATH, document)).succeeded(201)
            (found,) = created.body["routes"]
            (given,) = document["routes"]
            assert found | given == found
            read = (await api.get(f"{PATH}/{created.body['id']}")).succeeded(200)
            assert read.body["routes"] == [found]


async def test_two_routes_cannot_cover_one_message(database: "Database") -> None:
    async with rest(database) as api:
        first = resource("read:call", tool("read-invoice"), tool("*"))
        (await api.post(PATH, first)).succeeded(201)
        taken = await api.post(PATH, resource("other:call", tool("read-invoice")))
        assert (taken.status, "tools/call read-invoice" in str(taken.body)) == (409, True)
        uri = route({"method": "resources/read", "uri": "a://{x}"})
        (await api.post(PATH, resource("one:read", uri))).succeeded(201)
        same = route({"method": "resources/read", "uri": "a://{y}"})
        assert (await api.post(PATH, resource("two:read", same))).status == 409
        assert (await api.post(PATH, resource("ping:call", route({"method": "ping"})))).status == 201
        assert (await api.post(PATH, resource("session:use", route("session")))).status == 409


@pytest.mark.parametrize(
    ("written", "pointers"),
    [
        (route("everything"), {"/routes/0/mcp"}),
        (route(None), {"/routes/0/mcp"}),
        (route({}), {"/routes/0/mcp/method"}),
        (route({"method": "tools/call"}), {"/routes/0/mcp/tool"}),
        (route({"method": "tools/call", "tool": "a b"}), {"/routes/0/mcp/tool"}),
        (route({"method": "tools/call", "name": "a"}), {"/routes/0/mcp/tool", "/routes/0/mcp/name"}),
        (route({"method": "tools/*"}), {"/routes/0/mcp/method"}),
        (route({"method": "ping", "tool": "a"}), {"/routes/0/mcp/tool"}),
        (route({"method": "resources/read", "uri": "a://{x}{y}"}), {"/routes/0/mcp/uri"}),
        (route({"method": "resources/read", "uri": "a://{x"}), {"/routes/0/mcp/uri"}),
        (route({"method": "resources/read", "uri": "a://{x}"}, path="/{x}/mcp"), {"/routes/0/mcp/uri"}),
        (tool("a", methods=["POST", "GET"]), {"/routes/0/methods"}),
        (tool("a", methods=["*"]), {"/routes/0/methods"}),
        (route("session", methods=["GET"]), {"/routes/0/methods"}),
        (route("session", methods=["POST", "PUT"]), {"/routes/0/methods"}),
    ],
)
async def test_what_is_wrong_is_named(
    database: "Database", written: dict[str, Any], pointers: set[str]
) -> None:
    async with rest(database) as api:
        refused = await api.post(PATH, resource("x:call", written))
        assert refused.status == 422
        assert {each["pointer"] for each in refused.body["errors"]} == pointers

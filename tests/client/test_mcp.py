"""Tools of MCP servers, and what is registered of them."""

import logging
from typing import Any

import pytest
from mcp.server import MCPServer

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import Resource, ServiceKey, SyncExtauthzClient, resource
from extauthz_client.mcp import declared_resources, protect
from tests.client.blocking_server import serving


def server() -> MCPServer[Any]:
    made: MCPServer[Any] = MCPServer("invoices")

    @made.tool(name="read-invoice")
    @resource("invoice:read", default_roles=["agent"])
    def read(number: int) -> str:
        return str(number)

    @made.tool(name="find-invoices")
    @resource("invoice:read", default_roles=["agent"])
    async def find(text: str) -> str:
        return text

    @made.tool(name="delete-invoice")
    @resource("delete-invoice:call", action="erase")
    def delete(number: int) -> str:
        return str(number)

    @made.tool()
    def drop_tables() -> str:
        return ""

    return made


def test_each_declared_tool_has_a_route(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = declared_resources(server(), "invoices", path="/tools", session_roles=["agent"])
    assert [(each.name, each.default_roles) for each in found] == [
        ("invoices:connect", ("agent",)),
        ("invoice:read", ("agent",)),
        ("delete-invoice:call", ()),
    ]
    session, read, delete = ([route.mcp for route in each.routes] for each in found)
    assert session == ["session"]
    assert read == [
        {"method": "tools/call", "tool": "read-invoice"},
        {"method": "tools/call", "tool": "find-invoices"},
    ]
    assert delete == [{"method": "tools/call", "tool": "delete-invoice"}]
    problems: list[Any] = []
    for each in found:
        assert parse_resource(each.document(), "", problems) is not None, problems
        shown = {**each.document(), "id": "x", "displayName": "x"}
        shown["routes"] = [
            {"action": "a", "authentication": "required"} | route.document() for route in each.routes
        ]
        assert [route.mcp for route in Resource.read(shown).routes] == [route.mcp for route in each.routes]
    (warned,) = caplog.messages
    assert "'drop_tables' declares no resource: calls of it are denied" in warned
    assert "test_mcp.server" in warned


@pytest.mark.parametrize("name", ["*", "read all", "l\u00f6schen", "x" * 129])
def test_a_tool_whose_name_no_route_can_have_is_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = server()

    @made.tool(name=name)
    @resource("invoice:all", default_roles=["everyone"])
    def everything() -> str:
        return ""

    with caplog.at_level(logging.WARNING):
        found = declared_resources(made, "invoices")
    assert [each.name for each in found] == ["invoices:connect", "invoice:read", "delete-invoice:call"]
    (warned,) = (each for each in caplog.messages if "no route" in each)
    assert repr(name) in warned
    assert "everything" in warned


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"path": "mcp"}, ValueError),
        ({"path": "/{tenant}/mcp"}, ValueError),
        ({"host": "a b"}, ValueError),
        ({"session_roles": "agent"}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        declared_resources(server(), "invoices", **options)


def test_something_else_than_a_server_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not a server"):
        declared_resources(object(), "invoices")


def test_the_resources_are_registered() -> None:
    with serving() as api:
        client = SyncExtauthzClient(api.url, ServiceKey("sak_live_x.y"))
        registration = protect(server(), client, service_name="invoices")
        assert registration.wait(10)
        registration.stop()
        names = {each["name"] for each in api.bodies[0]}
    assert names == {"invoices:connect", "invoice:read", "delete-invoice:call"}

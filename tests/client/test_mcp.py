"""Tools, resources and prompts of MCP servers, and what is registered of them."""

import logging
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver.resources import TextResource

from extauthz.compile.documents.mcp_routes import single_problem
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import Resource, ServiceKey, SyncExtauthzClient, resource
from extauthz_client.mcp import _Message, declared_resources, protect
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

    @made.resource("reports://latest")
    @resource("report:read", default_roles=["agent"])
    def latest() -> str:
        return ""

    @made.resource("reports://{year}/{name}")
    @resource("report:read", default_roles=["agent"])
    async def report(year: str, name: str) -> str:
        return f"{name} of {year}"

    @made.prompt(name="greeting")
    @resource("greeting:get")
    def greeting() -> str:
        return "Hello"

    @made.prompt()
    def farewell() -> str:
        return ""

    return made


def test_what_is_declared_has_routes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = declared_resources(server(), "invoices", path="/tools", session_roles=["agent"])
    assert [(each.name, each.default_roles) for each in found] == [
        ("invoices:connect", ("agent",)),
        ("invoice:read", ("agent",)),
        ("delete-invoice:call", ()),
        ("report:read", ("agent",)),
        ("greeting:get", ()),
    ]
    session, read, delete, report, greeting = ([route.mcp for route in each.routes] for each in found)
    assert session == ["session"]
    assert read == [
        {"method": "tools/call", "tool": "read-invoice"},
        {"method": "tools/call", "tool": "find-invoices"},
    ]
    assert delete == [{"method": "tools/call", "tool": "delete-invoice"}]
    assert report == [
        {"method": "resources/read", "uri": "reports://latest"},
        {"method": "resources/read", "uri": "reports://{year}/{name}"},
    ]
    assert greeting == [{"method": "prompts/get", "prompt": "greeting"}]
    problems: list[Any] = []
    for each in found:
        assert parse_resource(each.document(), "", problems) is not None, problems
        shown = {**each.document(), "id": "x", "displayName": "x"}
        shown["routes"] = [
            {"action": "a", "authentication": "required"} | route.document() for route in each.routes
        ]
        assert [route.mcp for route in Resource.read(shown).routes] == [route.mcp for route in each.routes]
    tool, prompt = caplog.messages
    assert "the tool 'drop_tables' declares no resource: tools/call is denied" in tool
    assert "the prompt 'farewell' declares no resource: prompts/get is denied" in prompt
    assert "test_mcp.server" in tool


def odd_server() -> MCPServer[Any]:
    """Return a server whose names no route can have, or that two have."""
    made: MCPServer[Any] = MCPServer("odd")

    @made.tool(name="a b")
    @resource("a:call")
    def blank() -> str:
        return ""

    @made.prompt(name="*")
    @resource("b:get")
    def star() -> str:
        return ""

    @made.resource("file:///{+path}")
    @resource("c:read")
    def file(path: str) -> str:
        return path

    @made.resource("twice://{first}")
    @resource("d:read")
    def first(first: str) -> str:
        return first

    @made.resource("twice://{second}")
    @resource("e:read")
    def second(second: str) -> str:
        return second

    @made.prompt(name="connects")
    @resource("odd:connect")
    def connects() -> str:
        return ""

    made.add_resource(TextResource(uri="text://a", name="a", text="a"))
    return made


def test_what_no_route_can_say_is_left_out_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = declared_resources(odd_server(), "odd")
    assert [each.name for each in found] == ["odd:connect", "d:read"]
    warned = [each.getMessage() for each in caplog.records if each.name == "extauthz_client"]
    assert len(warned) == 6
    for said in (
        "the tool 'a b' is not registered: no route can have this name: take at most 128 visible ASCII",
        "the resource 'text://a' declares no resource: resources/read is denied",
        "the resource template 'file:///{+path}' is not registered: in a route '{name}' stands",
        "the resource template 'twice://{second}' is not registered: another one has the same route",
        "the prompt '*' is not registered: no route can have this name: '*' stands for every prompt",
        "the prompt 'connects' is not registered: 'odd:connect' is the session",
    ):
        (message,) = [each for each in warned if said in each]
        assert "text://a" in said or "test_mcp.odd_server" in message


@pytest.mark.parametrize(
    "uri",
    [
        "a://b", "a://{x}", "a://{x}/{y}.{z}", "a://{x}{y}", "a://{x}/{x}", "a://{+x}", "a://{x", "a://x}",
        "a b", "é", "*", "", "a" * 512, "a" * 513, "a://{1}", "a://{x.y}",
        "/".join(f"{{a{n}}}" for n in range(17)),
        "a" + "/".join(f"{{a{n}}}" for n in range(16)), "a://{" + "x" * 64 + "}", "a://{" + "x" * 65 + "}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_template", [True, False])
def test_the_client_leaves_out_the_uris_that_the_control_plane_refuses(
    uri: str, *, is_template: bool
) -> None:
    refused = single_problem("resources/read", uri, is_template=is_template) is not None
    message = _Message("resource", "resources/read", "uri", uri, None, is_template=is_template)
    assert (message.problem() is not None) is refused


@pytest.mark.parametrize("name", ["*", "read all", "l\u00f6schen", "x" * 129])
def test_a_tool_whose_name_no_route_can_have_is_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    made = server()

    @made.tool(name=name)
    @resource("invoice:all", default_roles=["everyone"])
    def everything() -> str:
        return ""

    with caplog.at_level(logging.WARNING):
        found = declared_resources(made, "invoices")
    assert "invoice:all" not in [each.name for each in found]
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
    assert names == {"invoices:connect", "invoice:read", "delete-invoice:call", "report:read", "greeting:get"}

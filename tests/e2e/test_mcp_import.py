"""What real MCP servers list is imported, in both eras of the protocol."""

import json
from pathlib import Path
from typing import Any

import pytest

from extauthz.demo.processes import LOOPBACK
from tests.command_line import run_extauthz
from tests.e2e.mcp_servers import mcp_server
from tests.mcp_listing_server import listing_server

OPTIONS = [(), ("--json",), ("--handshake",), ("--handshake", "--json")]
ANY = {"type": "object"}
PAGES: dict[str, list[list[Any]]] = {
    "tools": [[{"name": "a", "inputSchema": ANY}], [{"name": "b", "inputSchema": ANY}]],
    "resources": [[{"uri": "x://1", "name": "1"}], [], [{"uri": "x://2", "name": "2"}]],
    "resourceTemplates": [
        [{"uriTemplate": "x://{id}", "name": "x"}],
        [{"uriTemplate": "y://{+path}", "name": "y"}],
    ],
    "prompts": [[{"name": "p"}], [{"name": "q r"}]],
}


def imported(port: int) -> tuple[int, Any, str]:
    """Return the exit status, the messages of the routes by resource or what was not taken, and stderr."""
    said = run_extauthz("mcp", "import", f"http://{LOOPBACK}:{port}/mcp", "--service", "x", "--json")
    return said.returncode, json.loads(said.stdout) if said.stdout else None, said.stderr


def messages(shown: Any) -> dict[str, Any]:
    return {each["name"]: each["routes"][0]["mcp"] for each in shown["policies"]["resources"]}


@pytest.mark.parametrize("options", OPTIONS)
def test_everything_that_a_server_lists_is_imported(tmp_path: Path, options: tuple[str, ...]) -> None:
    with mcp_server(tmp_path, *options) as port:
        status, shown, said = imported(port)
    assert (status, said) == (0, "")
    assert messages(shown) == {
        "x:connect": "session",
        **{
            f"x/{tool}:call": {"method": "tools/call", "tool": tool}
            for tool in ("read-invoice", "delete-invoice", "read-mailbox", "search-invoices", "drop-tables")
        },
        "x/reports://latest:read": {"method": "resources/read", "uri": "reports://latest"},
        "x/reports://{year}/{name}:read": {"method": "resources/read", "uri": "reports://{year}/{name}"},
        "x/greeting:get": {"method": "prompts/get", "prompt": "greeting"},
    }


@pytest.mark.parametrize("options", OPTIONS)
def test_every_page_of_a_list_is_read(options: tuple[str, ...]) -> None:
    with listing_server(PAGES, *options) as port:
        status, shown, _ = imported(port)
    assert list(messages(shown)) == [
        "x:connect", "x/a:call", "x/b:call", "x/x://1:read", "x/x://2:read", "x/x://{id}:read", "x/p:get",
    ]  # fmt: skip
    assert (status, shown["ok"]) == (1, False)
    assert [(each["object"], each["member"]) for each in shown["not_taken"]] == [
        ("resource template 'y://{+path}'", "uriTemplate"),
        ("prompt 'q r'", "name"),
    ]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ({"tools": PAGES["tools"]}, ["x:connect", "x/a:call", "x/b:call"]),
        ({"prompts": [[{"name": "p"}]]}, ["x:connect", "x/p:get"]),
        # Declares `resources`, and refuses resources/templates/list.
        ({"resources": [[{"uri": "x://1", "name": "1"}]]}, ["x:connect", "x/x://1:read"]),
    ],
)
def test_only_what_a_server_declares_is_asked_for(
    options: tuple[str, ...], lists: dict[str, Any], names: list[str]
) -> None:
    with listing_server(lists, *options) as port:
        status, shown, said = imported(port)
    assert (status, said) == (0, "")
    assert list(messages(shown)) == names


@pytest.mark.parametrize("options", OPTIONS)
def test_a_server_that_lists_nothing_is_named(options: tuple[str, ...]) -> None:
    with listing_server({}, *options) as port:
        status, _, said = imported(port)
    assert status == 1
    assert "declares no tools, no resources and no prompts" in said


def test_pages_without_an_end_are_given_up() -> None:
    with listing_server({"prompts": [[{"name": f"p{number}"}] for number in range(101)]}) as port:
        status, _, said = imported(port)
    assert status == 1
    assert "the answer to prompts/list does not end after 100 pages" in said

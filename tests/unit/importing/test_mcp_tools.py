"""Tools of MCP servers as resources with routes."""

import json
from pathlib import Path

import pytest
import yaml

from extauthz.importing.mcp_tools import NoToolsError, import_tools, tools_of
from tests.command_line import run_extauthz

ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "read", "description": "Read\nit"}]}}


def test_each_tool_is_a_resource_that_no_rule_allows() -> None:
    found = import_tools(tools_of(ANSWER), source="x", service="mail", path="/mcp", host="tools.example")
    assert found.policies() == {
        "resources": [
            {
                "name": "mail:connect",
                "serviceName": "mail",
                "routes": [
                    {
                        "methods": ["POST", "GET", "DELETE"],
                        "host": "tools.example",
                        "path": "/mcp",
                        "mcp": "session",
                    }
                ],
            },
            {
                "name": "mail/read:call",
                "serviceName": "mail",
                "routes": [
                    {
                        "methods": ["POST"],
                        "host": "tools.example",
                        "path": "/mcp",
                        "mcp": {"method": "tools/call", "tool": "read"},
                    }
                ],
            },
        ]
    }


def test_what_a_server_says_of_its_tools_stays_in_a_comment(tmp_path: Path) -> None:
    said = ["Reads \nit. ", "\u200b", "a\r\u2028\u0085role_rules: []", " \x1b[2J", "x" * 199 + " y"]
    tools = [{"name": f"tool-{position}", "description": text} for position, text in enumerate(said)]
    (tmp_path / "tools.json").write_text(json.dumps({"tools": tools}))
    written = run_extauthz("mcp", "import", tmp_path / "tools.json", "--service", "mail").stdout
    assert all(line.isprintable() for line in written.split("\n"))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mail.yaml").write_text(written)
    assert list(yaml.safe_load(written)) == ["resources"]
    assert run_extauthz("policy", "fmt", "--check", tmp_path / "policies").returncode == 0


@pytest.mark.parametrize(
    "name", [None, 3, "", "*", "a b", "é", "a\nb", "a" * 129, "read"], ids=[str(n) for n in range(9)]
)
def test_a_tool_that_no_route_can_name_is_left_out_and_named(name: object) -> None:
    tools: list[dict[str, object]] = [{"name": "read"}, {"name": name}, {"name": "write"}]
    found = import_tools(tools, source="x", service="mail", path="/mcp")
    assert [each.document["name"] for each in found.entries["resources"]] == [
        "mail:connect",
        "mail/read:call",
        "mail/write:call",
    ]
    assert len(found.not_taken) == 1


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"tools": {}}, {"tools": ["read"]}, {"error": {"code": 1}, "tools": []}, {"result": []}],
)
def test_what_does_not_answer_tools_list_is_refused(document: object) -> None:
    with pytest.raises(NoToolsError):
        tools_of(document)


def test_the_command_prints_policies_that_validate(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "tools.json").write_text('{"tools": [{"name": "read"}, {"name": "a b"}]}')
    said = run_extauthz("mcp", "import", str(folder / "tools.json"))
    assert (said.returncode, said.stderr.count("not taken:")) == (1, 1)
    assert "- name: mcp/read:call" in said.stdout
    (folder / "policies").mkdir()
    (folder / "policies" / "mcp.yaml").write_text(said.stdout)
    assert run_extauthz("policy", "validate", str(folder / "policies")).returncode == 0


@pytest.mark.parametrize(
    ("source", "environ", "said"),
    [
        ("missing.json", {}, "cannot be read"),
        ("http://", {}, "is not the address"),
        ("ftp://a/mcp", {}, "is not the address"),
        ("http://user:secret@127.0.0.1/mcp", {}, "is not the address"),
        ("http://tools.example/mcp", {"EXTAUTHZ_MCP_TOKEN": "t"}, "in the clear"),
        ("https://127.0.0.1/mcp", {"EXTAUTHZ_MCP_TOKEN": "a\nb"}, "is not a token"),
        ("https://127.0.0.1/mcp", {"EXTAUTHZ_CA_FILE": "missing.pem"}, "EXTAUTHZ_CA_FILE"),
        ("https://127.0.0.1/mcp", {"EXTAUTHZ_MCP_TOKEN_FILE": "missing"}, "EXTAUTHZ_MCP_TOKEN_FILE"),
    ],
)
def test_what_is_wrong_is_one_line(source: str, environ: dict[str, str], said: str) -> None:
    ran = run_extauthz("mcp", "import", source, environ=environ)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert "secret" not in ran.stderr

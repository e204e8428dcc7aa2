"""What MCP servers list, as resources with routes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.importing.mcp_lists import NoListsError, import_lists, lists_of
from tests.command_line import run_extauthz

TOOLS = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "read", "description": "Read\nit"}]}}
RESOURCES = {"resources": [{"uri": "report://latest", "name": "latest"}]}
TEMPLATES = {"resourceTemplates": [{"uriTemplate": "report://{year}/{name}", "name": "report"}]}
PROMPTS = {"prompts": [{"name": "greeting"}]}
SESSION = {"methods": ["POST", "GET", "DELETE"], "host": "tools.example", "path": "/mcp", "mcp": "session"}


def messages_of(lists: object) -> dict[str, Any]:
    """Return the messages of the routes that an import gives, by resource."""
    imported = import_lists(lists_of(lists), source="x", service="mail", path="/mcp")
    found: dict[str, Any] = {}
    for origin in imported.entries["resources"]:
        document: Any = origin.document
        (route,) = document["routes"]
        found[document["name"]] = route["mcp"]
    return found


def left_out(document: object) -> list[str]:
    imported = import_lists(lists_of(document), source="x", service="mail", path="/mcp")
    return [str(each) for each in imported.not_taken]


def test_each_tool_is_a_resource_that_no_rule_allows() -> None:
    found = import_lists(lists_of(TOOLS), source="x", service="mail", path="/mcp", host="tools.example")
    call = {"methods": ["POST"], "host": "tools.example", "path": "/mcp"}
    assert found.policies() == {
        "resources": [
            {"name": "mail:connect", "serviceName": "mail", "routes": [SESSION]},
            {
                "name": "mail/read:call",
                "serviceName": "mail",
                "routes": [{**call, "mcp": {"method": "tools/call", "tool": "read"}}],
            },
        ]
    }


def test_what_a_server_says_of_what_it_lists_stays_in_a_comment(tmp_path: Path) -> None:
    said = ["Reads \nit. ", "\u200b", "a\r\u2028\u0085role_rules: []", " \x1b[2J", "x" * 199 + " y"]
    lists = [
        {member: [{identity: f"x:{position}", "description": text} for position, text in enumerate(said)]}
        for member, identity in (("tools", "name"), ("resources", "uri"), ("prompts", "name"))
    ]
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    written = run_extauthz("mcp", "import", tmp_path / "lists.json", "--service", "mail").stdout
    assert all(line.isprintable() for line in written.split("\n"))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mail.yaml").write_text(written)
    assert list(yaml.safe_load(written)) == ["resources"]
    assert run_extauthz("policy", "fmt", "--check", tmp_path / "policies").returncode == 0


def test_resources_templates_and_prompts_have_routes_of_their_own() -> None:
    assert messages_of([TOOLS, RESOURCES, TEMPLATES, PROMPTS]) == {
        "mail:connect": "session",
        "mail/read:call": {"method": "tools/call", "tool": "read"},
        "mail/report://latest:read": {"method": "resources/read", "uri": "report://latest"},
        "mail/report://{year}/{name}:read": {"method": "resources/read", "uri": "report://{year}/{name}"},
        "mail/greeting:get": {"method": "prompts/get", "prompt": "greeting"},
    }
    for each in (TOOLS, RESOURCES, TEMPLATES, PROMPTS):
        assert len(messages_of(each)) == 2


def test_one_name_in_several_lists_is_several_resources() -> None:
    document = {kind: [{"name": "read", "uri": "read"}] for kind in ("tools", "resources", "prompts")}
    assert list(messages_of(document)) == [
        "mail:connect",
        "mail/read:call",
        "mail/read:read",
        "mail/read:get",
    ]


def test_pages_of_a_list_are_put_together() -> None:
    first = {"result": {"tools": [{"name": "a"}], "nextCursor": "2"}}
    last = {"tools": [{"name": "b"}]}
    assert list(messages_of([first, last])) == ["mail:connect", "mail/a:call", "mail/b:call"]
    assert left_out([first, last]) == []
    (said,) = left_out([PROMPTS, first])
    assert said.startswith(
        "x: tools, nextCursor: the answer is not the last page (left out, which allows less)"
    )


@pytest.mark.parametrize(
    "name", [None, 3, "", "*", "a b", "é", "a\nb", "a" * 129, "read"], ids=[str(n) for n in range(9)]
)
@pytest.mark.parametrize("member", ["tools", "prompts"])
def test_what_no_route_can_name_is_left_out_and_named(member: str, name: object) -> None:
    document = {member: [{"name": "read"}, {"name": name}, {"name": "write"}]}
    action = {"tools": "call", "prompts": "get"}[member]
    assert list(messages_of(document)) == ["mail:connect", f"mail/read:{action}", f"mail/write:{action}"]
    (said,) = left_out(document)
    subject = f"{member[:-1]} {ascii(name)[:100] if isinstance(name, str) else 1}, name: "
    assert said.startswith(f"x: {subject}")
    assert said.endswith("(left out, which allows less); rename it in the server")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("file:///{+path}", "no other brackets"),
        ("search://{?q}", "no other brackets"),
        ("a://{x.y}", "no other brackets"),
        ("a://{x:3}", "no other brackets"),
        ("a://{/parts*}", "no other brackets"),
        ("a://{x}{y}", "between two parameters"),
        ("a://{x}/{x}", "appears once"),
        ("a://{other}", "another resource template has the same route"),
        ("*", "stands for every uri"),
        ("a b", "visible ASCII"),
        ("a://" + "b" * 260, "is longer than 256 characters"),
        (None, "has no uriTemplate"),
    ],
)
def test_a_template_that_no_route_can_say_is_left_out_and_named(template: object, said: str) -> None:
    document = {"resourceTemplates": [{"uriTemplate": "a://{id}"}, {"uriTemplate": template}]}
    assert list(messages_of(document)) == ["mail:connect", "mail/a://{id}:read"]
    (left,) = left_out(document)
    assert said in left
    assert "uriTemplate: " in left


def test_a_uri_with_brackets_is_left_out() -> None:
    document = {"resources": [{"uri": "a://{id}"}, {"uri": "a://b"}, {"uri": "a://b"}]}
    assert list(messages_of(document)) == ["mail:connect", "mail/a://b:read"]
    brackets, repeated = left_out(document)
    assert "resource 'a://{id}', uri: found 'a://{id}', in a route '{name}' stands for a part" in brackets
    assert "another resource has the same route" in repeated


def test_a_parameter_of_the_path_cannot_be_in_a_uri() -> None:
    lists = lists_of({"resourceTemplates": [{"uriTemplate": "a://{tenant}"}]})
    found = import_lists(lists, source="x", service="mail", path="/{tenant}/mcp")
    (left,) = found.not_taken
    assert "the parameter 'tenant' is in the path, too" in str(left)


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"tools": {}}, {"tools": ["read"]}, {"error": {"code": 1}, "tools": []}, {"result": []},
        [{"tools": []}, {}], [[{"tools": []}]], [{"tools": []}, {"error": {}}], {"prompts": None},
        {"tools": [{"name": "a"}] * 6000, "prompts": [{"name": "a"}] * 6000},
    ],
)  # fmt: skip
def test_what_lists_nothing_is_refused(document: object) -> None:
    with pytest.raises(NoListsError):
        lists_of(document)


def test_a_list_of_answers_names_the_wrong_one() -> None:
    with pytest.raises(NoListsError, match=r"^answer 1: it is an error of the server$"):
        lists_of([TOOLS, {"error": {"code": -32601}}])


def test_the_command_prints_policies_that_validate(tmp_path: Path) -> None:
    answers = [{"tools": [{"name": "read"}, {"name": "a b"}]}, RESOURCES, TEMPLATES, PROMPTS]
    (tmp_path / "lists.json").write_text(json.dumps(answers))
    said = run_extauthz("mcp", "import", str(tmp_path / "lists.json"))
    assert (said.returncode, said.stderr.count("not taken:")) == (1, 1)
    assert "- name: mcp/read:call" in said.stdout
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mcp.yaml").write_text(said.stdout)
    assert run_extauthz("policy", "validate", str(tmp_path / "policies")).returncode == 0
    shown = json.loads(run_extauthz("mcp", "import", str(tmp_path / "lists.json"), "--json").stdout)
    assert (shown["ok"], shown["objects"]["resources"], len(shown["not_taken"])) == (False, 5, 1)


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

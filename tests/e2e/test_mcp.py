"""An MCP server on the official SDK behind real Envoy, called by the SDK's client in both protocol eras."""

import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent, TextResourceContents

from extauthz.demo.processes import LOOPBACK
from tests.command_line import run_extauthz
from tests.e2e.gate import EC, Gate, Posture, gate
from tests.e2e.mcp_servers import mcp_server
from tests.tokens import AUDIENCE, claims
from tests.waiting import await_true, until

pytestmark = pytest.mark.anyio
CLOSED = Posture(careful=True, fail_open=False)
BYTES = {
    "with_request_body": {"max_request_bytes": 65536, "allow_partial_message": True, "pack_as_bytes": True}
}
ERAS = ("legacy", "2026-07-28")
SITE = """
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/**", authentication: optional}]}
role_rules:
  - {id: allow-all, sub: "*", dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: allow-anonymous, sub: anonymous, dom: "*", obj: "site:use", act: "*", effect: allow}
"""
SEARCH = """
resources:
  - name: search-invoices:call
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: search-invoices}}]
role_rules:
  - {id: agents-search, sub: agent, dom: "*", obj: "search-invoices:call", act: "*", effect: allow}
attribute_policies:
  - id: an-owner
    name: Of one owner
    resource: "search-invoices:call"
    effect: deny
    rule_data:
      {type: CONDITION, attribute: request.body.params.arguments.owner, operator: exists, value: false}
  - id: no-iban
    name: Not by an account
    resource: "search-invoices:call"
    effect: deny
    rule_data:
      {type: CONDITION, attribute: request.body.params.arguments.fields.iban, operator: exists, value: true}
"""


def sample() -> str:
    """Return the policies of docs/mcp.md."""
    page = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()
    _, _, text = page.partition("```yaml title=invoices-mcp.yaml\n")
    return text.partition("```")[0]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "rules").mkdir()
    (folder / "rules" / "site.yaml").write_text(SITE)
    (folder / "rules" / "sample.yaml").write_text(sample())
    (folder / "rules" / "search.yaml").write_text(SEARCH)
    with (
        mcp_server(folder, "--json") as port,
        gate(folder, check=BYTES, workload=port, POLICY_SOURCE=f"files:{folder / 'rules'}") as found,
    ):
        yield found


GRANTED = """
role_rules:
  - {id: agents-connect, sub: agent, dom: "*", obj: "invoices:connect", act: connect, effect: allow}
  - {id: agents-call, sub: agent, dom: "*", obj: "invoices/read-invoice:call", act: call, effect: allow}
  - {id: guests-connect, sub: guest, dom: "*", obj: "invoices:connect", act: connect, effect: allow}
  - {id: reports, sub: agent, dom: "*", obj: "invoices/reports://{year}/{name}:read", act: "*", effect: allow}
  - {id: agents-get, sub: agent, dom: "*", obj: "invoices/greeting:get", act: get, effect: allow}
"""


@pytest.fixture(scope="module")
def imported_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server behind the routes that `mcp import` printed, of which rules allow some."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "rules").mkdir()
    (folder / "rules" / "site.yaml").write_text(SITE)
    (folder / "rules" / "granted.yaml").write_text(GRANTED)
    with mcp_server(folder, "--json") as port:
        said = run_extauthz("mcp", "import", f"http://{LOOPBACK}:{port}/mcp", "--service", "invoices")
        assert said.returncode == 0, said.stderr
        (folder / "rules" / "imported.yaml").write_text(said.stdout)
        with gate(folder, check=BYTES, workload=port, POLICY_SOURCE=f"files:{folder / 'rules'}") as found:
            yield found


def token(door: Gate, *roles: str) -> str:
    now = int(time.time())
    usual = {"iss": door.provider.issuer, "aud": AUDIENCE, "iat": now - 5, "exp": now + 600}
    return EC.sign(claims(**usual, sub="alice", realm_access={"roles": roles}))


@contextlib.asynccontextmanager
async def client(door: Gate, era: str, *roles: str) -> AsyncIterator[Client]:
    url = f"http://{LOOPBACK}:{door.ports[CLOSED]}/mcp"
    mode: Any = era
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token(door, *roles)}"}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, read_timeout_seconds=10) as found,
    ):
        yield found


async def outcome(found: Client, tool: str, **arguments: object) -> str:
    try:
        answer = await found.call_tool(tool, arguments)
    except (MCPError, httpx2.HTTPStatusError):
        return "denied"
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("era", ERAS)
async def test_the_tool_and_its_arguments_decide(door: Gate, era: str) -> None:
    async with client(door, era, "agent", "clerk") as agent:
        names = {tool.name for tool in (await agent.list_tools()).tools}
        assert {"read-invoice", "delete-invoice", "drop-tables"} <= names
        assert await outcome(agent, "read-invoice", number=7) == "read 7"
        assert await outcome(agent, "delete-invoice", number=7, amount=100) == "deleted 7 of 100"
        assert await outcome(agent, "delete-invoice", number=7, amount=101) == "denied"
        assert await outcome(agent, "delete-invoice", number=7) == "denied"
        assert await outcome(agent, "read-mailbox", owner="alice") == "mail of alice"
        assert await outcome(agent, "read-mailbox", owner="bob") == "denied"
        assert await outcome(agent, "drop-tables") == "denied"
    async with client(door, era, "agent") as agent:
        assert await outcome(agent, "read-invoice", number=7) == "read 7"
        assert await outcome(agent, "delete-invoice", number=7, amount=1) == "denied"


@pytest.mark.parametrize("era", ERAS)
async def test_text_that_the_server_reads_as_json_again_decides_nothing(door: Gate, era: str) -> None:
    async with client(door, era, "agent") as agent:
        tool = "search-invoices"
        assert await outcome(agent, tool, owner="eve", fields={"a": "b"}) == "invoices of eve with {'a': 'b'}"
        assert await outcome(agent, tool) == "denied"
        assert await outcome(agent, tool, owner=None) == "denied"
        assert await outcome(agent, tool, owner="null") == "denied"
        assert await outcome(agent, tool, owner=" null\n") == "denied"
        assert await outcome(agent, tool, owner="eve", fields={"iban": "b"}) == "denied"
        assert await outcome(agent, tool, owner="eve", fields='{"iban": "b"}') == "denied"


@pytest.mark.parametrize("era", ERAS)
async def test_the_uri_of_a_resource_decides(door: Gate, era: str) -> None:
    async with client(door, era, "agent") as agent:
        (read,) = (await agent.read_resource("reports://2026/sales")).contents
        assert isinstance(read, TextResourceContents)
        assert read.text == "sales of 2026"
        with pytest.raises((MCPError, httpx2.HTTPStatusError)):
            await agent.read_resource("reports://2025/sales")


async def test_a_listener_needs_the_right_to_subscribe_to_a_resource(door: Gate) -> None:
    async with client(door, "2026-07-28", "agent") as agent:
        with pytest.raises((MCPError, httpx2.HTTPStatusError, SubscriptionLost)):
            async with agent.listen(resource_subscriptions=["reports://2026/sales"]):
                pass
    denied = ("deny", "unmapped_route", "resources/subscribe", "reports://2026/sales")
    await until(lambda: denied in logged(door), what="the decision in the log")


def logged(door: Gate) -> list[tuple[str, ...]]:
    fields = ("decision", "reason", "mcp_method", "mcp_name")
    lines = map(json.loads, door.decision_log.read_text().splitlines())
    return [tuple(line.get(name) for name in fields) for line in lines]


@pytest.mark.parametrize("era", ERAS)
async def test_of_an_imported_server_what_rules_allow_is_reached(imported_door: Gate, era: str) -> None:
    async with client(imported_door, era, "agent") as agent:
        assert [each.name for each in (await agent.list_prompts()).prompts] == ["greeting"]
        assert [str(each.uri) for each in (await agent.list_resources()).resources] == ["reports://latest"]
        assert await outcome(agent, "read-invoice", number=7) == "read 7"
        assert await outcome(agent, "drop-tables") == "denied"
        (read,) = (await agent.read_resource("reports://2026/sales")).contents
        assert isinstance(read, TextResourceContents)
        assert read.text == "sales of 2026"
        with pytest.raises((MCPError, httpx2.HTTPStatusError)):
            await agent.read_resource("reports://latest")
        (message,) = (await agent.get_prompt("greeting")).messages
        assert isinstance(message.content, TextContent)
        assert message.content.text == "Hello"
    async with client(imported_door, era, "guest") as guest:
        assert [each.name for each in (await guest.list_prompts()).prompts] == ["greeting"]
        with pytest.raises((MCPError, httpx2.HTTPStatusError)):
            await guest.get_prompt("greeting")


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}


def called(tool: str, **arguments: object) -> str:
    return json.dumps(CALL | {"params": {"name": tool, "arguments": arguments}})


def asked(method: str, **params: object) -> str:
    return json.dumps(CALL | {"method": method, "params": params})


async def decided(door: Gate, body: str, *roles: str, **headers: str) -> tuple[str, str, str | None]:
    """Post a body; return decision, reason and rule of its line in the decision log."""
    trace = uuid.uuid4().hex
    url = f"http://{LOOPBACK}:{door.ports[CLOSED]}/mcp"
    usual = {
        "Authorization": f"Bearer {token(door, *roles)}",
        "Content-Type": "application/json",
        "Traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, content=body, headers=usual | named)

    def lines() -> list[dict[str, Any]]:
        complete, _, _ = door.decision_log.read_bytes().rpartition(b"\n")
        return [json.loads(line) for line in complete.splitlines() if trace.encode() in line]

    await_true(lines, within=10, what="the line of the decision")
    (line,) = lines()
    assert (answer.status_code == 403) is (line["decision"] == "deny")
    return line["decision"], line["reason"], line["matched_rule_id"]


MATCHED, NONE, UNKNOWN, UNMAPPED = "rule_matched", "no_matching_rule", "condition_unknown", "unmapped_route"


@pytest.mark.parametrize(
    ("roles", "body", "expected"),
    [
        ("agent", asked("initialize"), ("allow", MATCHED, "agents-connect")),
        ("agent", asked("server/discover"), ("allow", MATCHED, "agents-connect")),
        ("agent", asked("resources/templates/list"), ("allow", MATCHED, "agents-connect")),
        ("agent", called("read-invoice"), ("allow", MATCHED, "agents-read")),
        ("agent", called("delete-invoice", amount=1), ("deny", NONE, None)),
        ("clerk", called("delete-invoice", amount=100), ("allow", MATCHED, "clerks-delete")),
        ("clerk", called("delete-invoice", amount=101), ("deny", MATCHED, "only-small-deletes")),
        ("clerk", called("delete-invoice"), ("deny", UNKNOWN, "only-small-deletes")),
        ("other", called("read-mailbox", owner="alice"), ("allow", MATCHED, "own-mailbox")),
        ("other", called("read-mailbox", owner="bob"), ("deny", NONE, None)),
        ("agent", asked("resources/read", uri="reports://2026/a"), ("allow", MATCHED, "agents-report")),
        ("agent", asked("resources/read", uri="reports://2025/a"), ("deny", MATCHED, "reports-of-the-year")),
        ("agent", called("drop-tables"), ("deny", UNMAPPED, None)),
        ("agent", asked("resources/subscribe", uri="reports://2026/a"), ("deny", UNMAPPED, None)),
        ("agent", asked("completion/complete"), ("deny", UNMAPPED, None)),
        ("agent", asked("logging/setLevel"), ("deny", UNMAPPED, None)),
        ("agent", f"[{called('read-invoice')}]", ("deny", UNMAPPED, None)),
        ("agent", called("read-invoice")[:-1], ("deny", UNMAPPED, None)),
        ("agent", called("read-invoice", padding="x" * 65_536), ("deny", UNMAPPED, None)),
    ],
)
async def test_the_sample_decides_as_its_page_says(
    door: Gate, roles: str, body: str, expected: tuple[str, str, str | None]
) -> None:
    assert await decided(door, body, roles) == expected


@pytest.mark.parametrize("headers", [{"Mcp_Method": "tools/list"}, {"Mcp_Name": "drop-tables"}])
async def test_a_header_that_differs_from_the_body_is_denied(door: Gate, headers: dict[str, str]) -> None:
    assert await decided(door, called("read-invoice"), "agent", **headers) == ("deny", UNMAPPED, None)

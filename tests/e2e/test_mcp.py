"""An MCP server on the official SDK behind real Envoy, called by the SDK's client in both protocol eras."""

import contextlib
import json
import sys
import time
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

from extauthz.demo.processes import LOOPBACK, ReservedPorts, http_answers, spawn
from tests.command_line import run_extauthz
from tests.e2e.gate import EC, Gate, Posture, gate
from tests.light_processes import LIGHT
from tests.tokens import AUDIENCE, claims
from tests.waiting import until

pytestmark = pytest.mark.anyio
CLOSED = Posture(careful=True, fail_open=False)
BYTES = {
    "with_request_body": {"max_request_bytes": 65536, "allow_partial_message": True, "pack_as_bytes": True}
}
ERAS = ("legacy", "2026-07-28")
POLICIES = """
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/**", authentication: optional}]}
  - name: session:use
    serviceName: invoices
    routes: [{methods: [POST, GET, DELETE], path: /mcp, mcp: session}]
  - name: read-invoice:call
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: read-invoice}}]
  - name: delete-invoice:call
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: delete-invoice}}]
  - name: read-mailbox:call
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: read-mailbox}}]
  - name: search-invoices:call
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: search-invoices}}]
  - name: reports:read
    serviceName: invoices
    routes: [{methods: [POST], path: /mcp, mcp: {method: resources/read, uri: "reports://{year}/{name}"}}]
role_rules:
  - {id: allow-all, sub: "*", dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: allow-anonymous, sub: anonymous, dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: agents-connect, sub: agent, dom: "*", obj: "session:use", act: "*", effect: allow}
  - {id: agents-read, sub: agent, dom: "*", obj: "read-invoice:call", act: "*", effect: allow}
  - {id: clerks-delete, sub: clerk, dom: "*", obj: "delete-invoice:call", act: "*", effect: allow}
  - {id: agents-search, sub: agent, dom: "*", obj: "search-invoices:call", act: "*", effect: allow}
  - {id: agents-report, sub: agent, dom: "*", obj: "reports:read", act: "*", effect: allow}
attribute_policies:
  - id: small-deletes
    name: Up to a hundred
    resource: "delete-invoice:call"
    effect: deny
    format: casbin
    rule_data: request.body.params.arguments.amount > 100
  - id: own-mailbox
    name: Each reads its own mailbox
    resource: "read-mailbox:call"
    effect: allow
    format: casbin
    rule_data: request.body.params.arguments.owner == user.id
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
  - id: reports-of-the-year
    name: Only of 2026
    resource: "reports:read"
    effect: deny
    format: casbin
    rule_data: resource.year != "2026"
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "rules").mkdir()
    (folder / "rules" / "all.yaml").write_text(POLICIES)
    with (
        mcp_server(folder, "--json") as port,
        gate(folder, check=BYTES, workload=port, POLICY_SOURCE=f"files:{folder / 'rules'}") as found,
    ):
        yield found


@contextlib.contextmanager
def mcp_server(folder: Path, *options: str) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        (port,) = reserved.take()
        server = spawn(
            "mcp",
            [sys.executable, "-m", "tests.mcp_server", str(port), *options],
            output=folder / "mcp.log",
            environment={"PYTHONPATH": f"{LIGHT['PYTHONPATH']}:{Path(__file__).parents[2]}"},
        )
        stack.callback(server.kill)
        server.wait_ready(lambda: http_answers(port, "/"), timeout_s=20)
        yield port


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
    await until(lambda: denied in decided(door), what="the decision in the log")


def decided(door: Gate) -> list[tuple[str, ...]]:
    fields = ("decision", "reason", "mcp_method", "mcp_name")
    lines = map(json.loads, door.decision_log.read_text().splitlines())
    return [tuple(line.get(name) for name in fields) for line in lines]


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_tools_of_a_server_are_imported(
    tmp_path_factory: pytest.TempPathFactory, *, as_json: bool
) -> None:
    with mcp_server(tmp_path_factory.mktemp("imported"), *(["--json"] if as_json else [])) as port:
        said = run_extauthz("mcp", "import", f"http://{LOOPBACK}:{port}/mcp", "--service", "x", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    names = {each["name"] for each in json.loads(said.stdout)["policies"]["resources"]}
    assert {"x:connect", "x/read-invoice:call", "x/drop-tables:call"} <= names

"""The synchronous client: it behaves as the asynchronous one, and threads and forks share it."""

import asyncio
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from extauthz.demo.processes import free_port
from extauthz_client import (
    ClientCredentials,
    ClientError,
    ExtauthzClient,
    Resource,
    RoleRule,
    Route,
    ServiceKey,
    SyncAssertionVerifier,
    SyncExtauthzClient,
    Unreachable,
    timing,
)
from tests.integration.client_harness import control_plane
from tests.integration.scripted_server import Handler, disconnects, is_silent, says, scripted

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio

KEY = "sak_live_0123456789"
RULE = RoleRule("finance", "emea", "invoice:read", "read", "allow")
STORED = RULE.document() | {"id": "7", "sub_kind": "role"}
EMPTY = says(200, {"items": [], "next_cursor": None})
MORE = says(200, {"items": [STORED], "next_cursor": "c2"})
CREATED = says(201, STORED, X_Policy_Revision="7")
ALLOW = {
    "decision": "allow", "reason": "rule_matched", "matched_rule_id": "1", "decision_id": "2",
    "policy_revision": 3, "message": "a rule allows it",
}  # fmt: skip
Call = Callable[[Any], Any]


def listing(client: Any) -> Any:
    return client.role_rules(obj="invoice:read")


def creating(client: Any) -> Any:
    return client.create_role_rule(RULE)


def replacing(client: Any) -> Any:
    return client.replace_role_rule(RoleRule.read(STORED))


def deleting(client: Any) -> Any:
    return client.delete_role_rule("7")


def checking(client: Any) -> Any:
    return client.check(resource="invoice:read", action="read", min_revision=3)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(timing, "pause", pause)
    monkeypatch.setattr(timing, "pause_blocking", lambda _: None)


@pytest.mark.parametrize(
    ("call", "answers"),
    [
        (listing, [EMPTY]),
        (listing, [MORE, EMPTY]),
        (listing, [says(503), says(429), disconnects, EMPTY]),
        (listing, [says(502)]),
        (listing, [says(503, retry_after="1"), EMPTY]),
        (listing, [says(429, retry_after="3600"), EMPTY]),
        (listing, [says(401), EMPTY]),
        (listing, [says(307, location="http://127.0.0.1:9/")]),
        (listing, [says(200)]),
        (listing, [says(200, {"items": {}})]),
        (creating, [CREATED]),
        (creating, [says(429), CREATED]),
        (creating, [says(503), CREATED]),
        (creating, [disconnects, CREATED]),
        (creating, [says(422, {"title": "no", "errors": [{"pointer": "/sub", "message": "is empty"}]})]),
        (replacing, [disconnects, CREATED]),
        (deleting, [disconnects, says(404)]),
        (deleting, [says(404)]),
        (deleting, [says(204)]),
        (checking, [says(200, ALLOW)]),
        (checking, [says(403, ALLOW | {"decision": "deny"})]),
        (checking, [says(200, ALLOW | {"decision": "deny"})]),
        (checking, [says(403, {"title": "Forbidden"})]),
    ],
)
async def test_both_clients_come_to_the_same(call: Call, answers: list[Handler]) -> None:
    outcomes = []
    for kind in (ExtauthzClient, SyncExtauthzClient):
        async with scripted(*answers) as server:
            client = kind(server.url, ServiceKey(KEY))
            found = await outcome(client, call)
            asked = [
                (each.method, each.path_qs, dict(each.headers) | {"Host": ""}, await each.read())
                for each in server.requests
            ]
            outcomes.append((found.replace(server.url, "URL"), asked, client.policy_revision))
    assert outcomes[0] == outcomes[1]
    assert KEY not in outcomes[1][0]


async def outcome(client: ExtauthzClient | SyncExtauthzClient, call: Call) -> str:
    """Return what a call came to, as a text."""
    try:
        if isinstance(client, SyncExtauthzClient):
            with client:
                return repr(await asyncio.to_thread(call, client))
        async with client:
            return repr(await call(client))
    except ClientError as error:
        # The texts of the operating system differ where a connection is lost.
        return re.sub(r"(role-rules|policies[^:]*): .*", r"\1", f"{type(error).__name__} {error}")


async def test_the_api_takes_and_answers_blocking_calls(database: "Database") -> None:
    async with control_plane(database) as plane:
        key = await plane.service_key(
            name="billing",
            scopes=["resources:write", "check"],
            service_name="billing",
            prefixes=["/bills"],
        )

        def calls() -> tuple[object, ...]:
            with SyncExtauthzClient(plane.url, key) as client:
                bill = Resource("bill:read", "billing", default_roles=("finance",))
                (stored,) = client.register([Resource(**_members(bill, routes=(Route(("GET",), "/bills"),)))])
                found = client.check(
                    resource="bill:read",
                    action="read",
                    subject="alice",
                    attributes={"user": {"roles": ["finance"]}},
                    min_revision=client.policy_revision,
                )
                return stored.name, stored.routes[0].path, found.allowed

        assert await asyncio.to_thread(calls) == ("bill:read", "/bills", True)


def _members(resource: Resource, **changes: Any) -> dict[str, Any]:
    return {"name": resource.name, "service_name": resource.service_name,
            "default_roles": resource.default_roles} | changes  # fmt: skip


async def test_threads_share_one_token() -> None:
    tokens = 0

    async def provider(request: Any) -> Any:
        nonlocal tokens
        own = f"http://{request.host}"
        if request.path != "/token":
            return await says(200, {"issuer": own, "token_endpoint": f"{own}/token"})(request)
        tokens += 1
        return await says(200, {"access_token": "abc", "token_type": "Bearer", "expires_in": 60})(request)

    async with scripted(provider) as idp, scripted(EMPTY) as api:

        def calls() -> list[object]:
            with (
                SyncExtauthzClient(api.url, ClientCredentials(idp.url, "a", "b")) as client,
                ThreadPoolExecutor(8) as pool,
            ):
                return list(pool.map(lambda _: client.role_rules(), range(40)))

        assert await asyncio.to_thread(calls) == [()] * 40
    assert tokens == 1


async def test_a_client_is_open_until_its_last_user_is_done() -> None:
    async with scripted(EMPTY) as server:
        client = SyncExtauthzClient(server.url + "/", ServiceKey(KEY))

        def calls() -> None:
            with pytest.raises(RuntimeError, match=r"open\(\)"):
                client.role_rules()
            with client:
                with client:
                    client.role_rules()
                client.role_rules()
            with pytest.raises(RuntimeError, match=r"open\(\)"):
                client.role_rules()
            client.open()
            client.role_rules()
            client.close()

        await asyncio.to_thread(calls)


def test_an_answer_that_arrives_byte_by_byte_is_given_up_in_time() -> None:
    """Each read of the answer succeeds; the request as a whole is bounded all the same."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stopped.wait(0.02):
                try:
                    connection.sendall(b"x: y\r\n")
                except OSError:
                    return

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    began = time.monotonic()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with (
            SyncExtauthzClient(url, ServiceKey(KEY), attempts=1, timeout_s=0.3) as client,
            pytest.raises(Unreachable, match="TimeoutError"),
        ):
            client.role_rules()
        assert 0.3 <= time.monotonic() - began < 5
    finally:
        stopped.set()
        dripping.join(5)
        listener.close()


async def test_a_silent_server_is_given_up_on() -> None:
    async with scripted(is_silent) as server:
        with (
            SyncExtauthzClient(server.url, ServiceKey(KEY), attempts=2, timeout_s=0.1) as client,
            pytest.raises(Unreachable, match="TimeoutError"),
        ):
            await asyncio.to_thread(client.role_rules)
        assert len(server.requests) == 2


def test_a_refused_connection_is_reported_with_the_address() -> None:
    port = free_port()
    with (
        SyncExtauthzClient(f"http://127.0.0.1:{port}", ServiceKey(KEY), attempts=2) as client,
        pytest.raises(Unreachable, match=f"POST http://127.0.0.1:{port}/api/v1/resources/policies: "),
    ):
        client.create_role_rule(RULE)


FORKS = """
import os, sys
from extauthz_client import ServiceKey, SyncExtauthzClient
with SyncExtauthzClient(sys.argv[1], ServiceKey("k")) as client:
    client.role_rules()
    child = os.fork()
    client.role_rules()
    if child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    client.role_rules()
"""


async def test_a_child_process_has_connections_of_its_own() -> None:
    peers = []

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername")[1])
        return await EMPTY(request)

    async with scripted(answer) as server:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKS, server.url)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert sorted(peers.count(each) for each in set(peers)) == [1, 3]


async def test_keys_of_assertions_are_fetched_once_for_all_threads() -> None:
    async with scripted(says(200, {"keys": []})) as server:
        verifier = SyncAssertionVerifier(server.url + "/keys", issuer="mesh", audience="billing")

        def verify(_: int) -> str:
            try:
                verifier.verify("eyJhbGciOiJFUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJhc3NlcnRpb24rand0In0.e30.AA")
            except ClientError as error:
                return str(error)
            return ""

        def calls() -> set[str]:
            with ThreadPoolExecutor(8) as pool:
                return set(pool.map(verify, range(16)))

        assert await asyncio.to_thread(calls) == {"no published key has the key id of the assertion"}
        assert len(server.requests) == 1

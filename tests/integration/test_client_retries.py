"""Servers that refuse temporarily, close connections, are silent or absent; and answers of other servers."""

import asyncio
import email.utils
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from extauthz.demo.processes import free_port
from extauthz_client import (
    ApiError,
    ClientError,
    ExtauthzClient,
    RoleRule,
    ServiceKey,
    UnexpectedAnswer,
    Unreachable,
)
from extauthz_client.http import ClientResponse
from tests.integration.scripted_server import Handler, Scripted, disconnects, is_silent, says, scripted

pytestmark = pytest.mark.anyio

KEY = "sak_live_0123456789"
RULE = RoleRule("finance", "emea", "invoice:read", "read", "allow")
STORED = RULE.document() | {"id": "7", "sub_kind": "role"}
EMPTY = says(200, {"items": [], "next_cursor": None})
CREATED = says(201, STORED, X_Policy_Revision="7")
ALLOW = {
    "decision": "allow", "reason": "rule_matched", "matched_rule_id": "1", "decision_id": "2",
    "policy_revision": 3, "message": "a rule allows it",
}  # fmt: skip
Call = Callable[[ExtauthzClient], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client(url: str, **options: Any) -> ExtauthzClient:
    return ExtauthzClient(url, ServiceKey(KEY), **options)


async def listing(opened: ExtauthzClient) -> object:
    return await opened.role_rules()


async def creating(opened: ExtauthzClient) -> object:
    return await opened.create_role_rule(RULE)


async def deleting(opened: ExtauthzClient) -> None:
    await opened.delete_role_rule("7")


async def checking(opened: ExtauthzClient) -> object:
    return await opened.check(resource="invoice:read", action="read")


async def called(call: Call, *handlers: Handler, **options: Any) -> tuple[object, Scripted]:
    """Return what a call came to, and the server that it was made to."""
    async with scripted(*handlers) as server, client(server.url, **options) as opened:
        try:
            found = await call(opened)
        except ClientError as error:
            found = error
    assert KEY not in f"{found!r} {found}"
    return found, server


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_unavailable_answer_is_asked_again(status: int) -> None:
    found, server = await called(listing, says(status), says(status), EMPTY)

    assert found == ()
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 500])
async def test_a_refusal_is_not_asked_again(status: int) -> None:
    found, server = await called(listing, says(status), EMPTY)

    assert isinstance(found, ApiError)
    assert found.status == status
    assert len(server.requests) == 1


async def test_the_last_refusal_is_reported() -> None:
    problem = {"title": "Service Unavailable", "detail": "no policies are loaded yet"}
    found, server = await called(listing, says(503, problem), attempts=2)

    assert str(found) == "503 Service Unavailable: no policies are loaded yet"
    assert len(server.requests) == 2


async def test_retry_after_is_waited_for() -> None:
    found, server = await called(listing, says(503, retry_after="1"), EMPTY)

    assert found == ()
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


async def test_a_long_retry_after_is_left_to_the_caller() -> None:
    found, server = await called(listing, says(429, retry_after="3600"), EMPTY)

    assert isinstance(found, ApiError)
    assert found.retry_after_s == 3600
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("0", 0.0), ("", None), ("-1", None), ("soon", None), ("1.5", None)]
)
def test_retry_after_is_a_number_of_seconds(text: str, seconds: float | None) -> None:
    assert ClientResponse(503, "", {"retry-after": text}, None).retry_after_s == seconds


def test_retry_after_is_a_date() -> None:
    def waits(at: float) -> float | None:
        return ClientResponse(
            503, "", {"retry-after": email.utils.formatdate(at, usegmt=True)}, None
        ).retry_after_s

    soon = waits(time.time() + 60)
    assert soon is not None
    assert 50 < soon <= 60
    assert waits(time.time() - 60) == 0


async def test_a_request_that_is_not_idempotent_is_not_sent_again() -> None:
    found, server = await called(creating, says(503), CREATED)
    assert isinstance(found, ApiError)
    assert len(server.requests) == 1

    found, server = await called(creating, disconnects, CREATED)
    assert isinstance(found, Unreachable)
    assert "POST http://127.0.0.1" in str(found)
    assert len(server.requests) == 1


async def test_a_request_that_was_certainly_not_processed_is_sent_again() -> None:
    found, server = await called(creating, says(429), CREATED)
    assert isinstance(found, RoleRule)
    assert len(server.requests) == 2

    port = free_port()
    async with client(f"http://127.0.0.1:{port}") as opened:
        creation = asyncio.create_task(opened.create_role_rule(RULE))
        # One turn of the loop: no server listens at the first attempt.
        await asyncio.sleep(0)
        async with scripted(CREATED, port=port) as server:
            assert await creation == RoleRule.read(STORED)
            assert opened.policy_revision == 7
            assert len(server.requests) == 1


async def test_a_lost_connection_is_made_again() -> None:
    found, server = await called(listing, disconnects, disconnects, EMPTY)

    assert found == ()
    assert len(server.requests) == 3


async def test_a_404_after_a_lost_delete_counts_as_deleted() -> None:
    assert (await called(deleting, disconnects, says(404)))[0] is None
    assert (await called(deleting, says(502), says(404)))[0] is None

    found, _ = await called(deleting, says(429), says(404))
    assert isinstance(found, ApiError)


async def test_a_silent_server_is_given_up_on() -> None:
    found, server = await called(listing, is_silent, attempts=2, timeout_s=0.1)

    assert isinstance(found, Unreachable)
    assert "TimeoutError" in str(found)
    assert len(server.requests) == 2


async def test_a_refused_connection_is_reported_with_the_address() -> None:
    port = free_port()
    async with client(f"http://127.0.0.1:{port}", attempts=2) as opened:
        with pytest.raises(Unreachable, match=f"GET http://127.0.0.1:{port}/api/v1/resources/policies"):
            await opened.role_rules()


async def test_a_credential_never_follows_a_redirect() -> None:
    async with scripted(EMPTY) as elsewhere:
        found, _ = await called(listing, says(307, location=elsewhere.url))

        assert isinstance(found, ApiError)
        assert found.status == 307
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (listing, says(200)),
        (listing, says(200, [])),
        (listing, says(200, {"items": {}})),
        (listing, says(200, {"items": [{"sub": "finance"}], "next_cursor": None})),
        (listing, says(200, {"items": [STORED | {"effect": "Deny"}], "next_cursor": None})),
        (creating, says(201, "created")),
        (deleting, says(200)),
        (checking, says(200, {"allow": True})),
        (checking, says(200, ALLOW | {"decision": "deny"})),
        (checking, says(200, ALLOW | {"decision": "ALLOW"})),
        (checking, says(200, ALLOW | {"decision": True})),
        (checking, says(200, ALLOW | {"policy_revision": True})),
        (checking, says(403, ALLOW)),
    ],
)
async def test_an_answer_that_the_api_never_gives_is_an_error(call: Call, answer: Handler) -> None:
    found, server = await called(call, answer)

    assert isinstance(found, UnexpectedAnswer)
    assert len(server.requests) == 1


async def test_a_denial_is_a_result_and_a_refused_question_is_not() -> None:
    denied, _ = await called(checking, says(403, ALLOW | {"decision": "deny"}))
    assert getattr(denied, "allowed", None) is False
    allowed, _ = await called(checking, says(200, ALLOW))
    assert getattr(allowed, "allowed", None) is True

    refused, _ = await called(checking, says(403, {"title": "Forbidden", "detail": "not yours"}))
    assert isinstance(refused, ApiError)
    assert refused.detail == "not yours"


async def test_a_key_is_accepted_in_its_header_only() -> None:
    _, server = await called(listing, EMPTY)

    assert server.requests[0].headers["x-service-api-key"] == KEY
    assert "authorization" not in server.requests[0].headers
    assert KEY not in repr(ServiceKey(KEY))


@pytest.mark.parametrize("key", ["", "sak_live_1\n", "two words", "schlüssel"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="one word of ASCII"):
        ServiceKey(key)


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", "https://u:p@host", "http://h?x"]
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the API is at an address"):
        client(url)


async def test_a_client_is_open_until_its_last_user_is_done() -> None:
    async with scripted(EMPTY) as server:
        opened = client(server.url + "/")
        with pytest.raises(RuntimeError, match="async with"):
            await opened.role_rules()
        async with opened:
            async with opened:
                assert await opened.role_rules() == ()
            assert await opened.role_rules() == ()
        with pytest.raises(RuntimeError, match="async with"):
            await opened.role_rules()
        async with opened:
            assert await opened.role_rules() == ()

"""Client credentials: the request to the provider, its answers, and the variables that name a client."""

import asyncio
import base64
import logging
import traceback
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from extauthz_client import (
    ClientCredentials,
    ClientError,
    ExtauthzClient,
    ServiceKey,
    Unreachable,
    credentials_from,
)
from tests.integration.scripted_server import Handler, Scripted, disconnects, is_silent, says, scripted
from tests.secret_traces import found

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

EMPTY = says(200, {"items": [], "next_cursor": None})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def provider(*tokens: Handler, **discovery: str) -> Handler:
    """Return an identity provider whose token endpoint answers with one handler after the other."""
    waiting = list(tokens)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)
        own = f"http://{request.host}"
        return web.json_response({"issuer": own, "token_endpoint": f"{own}/token"} | discovery)

    return handler


def grants(**changes: object) -> Handler:
    return says(200, {"access_token": "abc.def", "token_type": "Bearer", "expires_in": 3600} | changes)


async def with_token(
    *tokens: Handler, slash: str = "", **discovery: str
) -> tuple[object, Scripted, Scripted]:
    async with scripted(provider(*tokens, **discovery)) as idp, scripted(EMPTY) as api:
        credentials = ClientCredentials(idp.url + slash, "a:b", "ö+ /", scope="extauthz")
        async with ExtauthzClient(api.url, credentials) as opened:
            try:
                return await opened.role_rules(), idp, api
            except ClientError as error:
                return error, idp, api


async def test_the_client_authenticates_as_the_specification_requires() -> None:
    found, idp, api = await with_token(grants())

    assert found == ()
    request = idp.requests[1]
    # RFC 6749 2.3.1 and appendix B: form-encoded, then joined.
    assert request.headers["authorization"] == "Basic YSUzQWI6JUMzJUI2JTJCKyUyRg=="
    assert dict(await request.post()) == {"grant_type": "client_credentials", "scope": "extauthz"}
    assert api.requests[0].headers["authorization"] == "Bearer abc.def"


async def test_a_provider_that_cannot_now_is_asked_again() -> None:
    found, idp, _ = await with_token(says(503), disconnects, grants())

    assert found == ()
    assert [request.path for request in idp.requests].count("/token") == 3


@pytest.mark.parametrize(
    "answer",
    [
        says(400, {"error": "invalid_scope"}),
        says(200, {}),
        says(200, []),
        grants(access_token=""),
        grants(access_token="a\r\nx: y"),
        grants(token_type="mac"),
        grants(token_type=None),
        says(302, location="http://127.0.0.1:9/"),
    ],
)
async def test_an_invalid_token_answer_is_not_sent_as_a_token(answer: Handler) -> None:
    found, idp, api = await with_token(answer)

    assert isinstance(found, ClientError)
    assert not isinstance(found, Unreachable)
    assert [request.path for request in idp.requests].count("/token") == 1
    assert api.requests == []


@pytest.mark.parametrize(
    ("discovery", "problem"),
    [
        ({"issuer": "https://other.example.com"}, "is of the issuer"),
        ({"token_endpoint": "ftp://x/token"}, "unprotected"),
    ],
)
async def test_a_strange_discovery_document_is_not_followed(discovery: dict[str, str], problem: str) -> None:
    found, idp, _ = await with_token(grants(), **discovery)

    assert problem in str(found)
    assert [request.path for request in idp.requests] == ["/.well-known/openid-configuration"]


async def test_the_issuer_is_compared_exactly() -> None:
    found, idp, _ = await with_token(grants(), slash="/")

    assert "is of the issuer" in str(found)
    assert idp.requests[0].path == "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("expires_in", "fetches"),
    [(3600, 1), ("3600", 1), (None, 1), ("soon", 1), (-5, 1), (1e-9, 3)],
)
async def test_a_token_is_kept_for_its_lifetime(expires_in: object, fetches: int) -> None:
    async with scripted(provider(grants(expires_in=expires_in))) as idp, scripted(EMPTY) as api:
        async with ExtauthzClient(api.url, ClientCredentials(idp.url, "a", "b")) as opened:
            for _ in range(3):
                await opened.role_rules()

        assert [request.path for request in idp.requests].count("/token") == fetches


async def test_calls_at_once_share_one_token() -> None:
    async with scripted(provider(grants())) as idp, scripted(says(401), says(401), EMPTY) as api:
        async with ExtauthzClient(api.url, ClientCredentials(idp.url, "a", "b")) as opened:
            await asyncio.gather(*(opened.role_rules() for _ in range(5)))

        # Both refusals are of one token, so that at most every refused token is replaced once.
        assert [request.path for request in idp.requests].count("/token") <= 3


async def test_calls_at_once_share_one_failure() -> None:
    async with scripted(provider(is_silent)) as idp, scripted(EMPTY) as api:
        credentials = ClientCredentials(idp.url, "a", "b")
        async with ExtauthzClient(api.url, credentials, attempts=1, timeout_s=0.2) as opened:
            found = await asyncio.gather(*(opened.role_rules() for _ in range(9)), return_exceptions=True)

        assert {type(each) for each in found} == {Unreachable}
        assert [request.path for request in idp.requests].count("/token") == 1


# The environment


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "AUTH_SERVER_URL, ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET not set"),
        ({"AUTH_SERVER_URL": "https://idp", "ADMIN_CLIENT_ID": "a"}, "ADMIN_CLIENT_SECRET not set"),
        ({"EXTAUTHZ_SERVICE_API_KEY": "k\n"}, "line end"),
        ({"EXTAUTHZ_SERVICE_API_KEY": "k", "EXTAUTHZ_SERVICE_API_KEY_FILE": "f"}, "both set"),
        ({"EXTAUTHZ_SERVICE_API_KEY_FILE": "/nowhere/key"}, "'/nowhere/key' cannot be read"),
    ],
)
def test_an_environment_without_usable_credential_is_refused(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ClientError, match=problem):
        credentials_from(environ)


def test_an_environment_names_one_caller(tmp_path: "Path") -> None:
    file = tmp_path / "secret"
    file.write_text("hidden\n")

    assert credentials_from({"EXTAUTHZ_SERVICE_API_KEY": "k"}) == ServiceKey("k")
    assert credentials_from({"EXTAUTHZ_SERVICE_API_KEY_FILE": str(file)}) == ServiceKey("hidden")
    environ = {"AUTH_SERVER_URL": "https://i", "ADMIN_CLIENT_ID": "a", "ADMIN_CLIENT_SECRET_FILE": str(file)}
    assert isinstance(credentials_from(environ), ClientCredentials)


@pytest.mark.parametrize(
    ("token", "answer"),
    [
        (None, EMPTY), (None, says(401, {"title": "Unauthorized"})), (None, says(500)), (None, disconnects),
        (says(401, {"error": "invalid_client"}), EMPTY), (says(503), EMPTY), (disconnects, EMPTY),
        (says(200, {"access_token": "with space", "token_type": "Bearer"}), EMPTY),
        (says(302, location="http://elsewhere.test"), EMPTY),
    ],
)  # fmt: skip
async def test_no_log_and_no_error_contains_a_secret(
    token: Handler | None, answer: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {
        "secret": "client-secret-of-the-test-0123456789",
        "token": "access-token-of-the-test-0123456789",
    }
    said = ""
    grant = token or grants(access_token=secrets["token"])
    async with scripted(provider(grant)) as idp, scripted(answer) as api:
        credentials = ClientCredentials(idp.url, "operations", secrets["secret"])
        client = ExtauthzClient(api.url, credentials, attempts=2)
        try:
            async with client as opened:
                await opened.role_rules()
        except ClientError as error:
            said = "".join(traceback.format_exception(error)) + repr(error)
        said += f"{client!r} {credentials!r} {vars(client).keys()}"
        basic = base64.b64encode(f"operations:{secrets['secret']}".encode()).decode()
        assert any(request.headers.get("authorization") == f"Basic {basic}" for request in idp.requests)
    places = {"log": caplog.text.encode(), "said": said.encode()}
    assert found(secrets | {"basic": basic}, places) == []

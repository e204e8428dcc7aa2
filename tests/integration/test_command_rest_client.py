"""The REST client of the commands against scripted servers: what is repeated, refused and said."""

import asyncio
import email.utils
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from extauthz.folders.live_rows import live_rows
from extauthz.folders.rest_access import RestAccess
from extauthz.folders.rest_client import Answer, NoRestAnswerError, NotTheApiError, RestClient, RestError
from tests.certificates import Authority
from tests.command_line import run_extauthz
from tests.integration.scripted_server import disconnects, is_silent, says, scripted

pytestmark = pytest.mark.anyio
KEY = "sak_live_secret_of_this_test"
LIST: dict[str, Any] = {"items": [], "next_cursor": None}


class Pauses(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(round(seconds, 1))


async def asked(url: str, pauses: Pauses, **more: Any) -> Answer:
    client = RestClient(RestAccess(url, {"X-Service-Api-Key": KEY}), pause=pauses)
    try:
        return await asyncio.to_thread(client.call, "POST", "/api/v1/drafts", {}, key="k", **more)
    finally:
        client.close()


async def test_not_now_is_asked_again_after_the_time_that_the_server_names() -> None:
    pauses = Pauses()
    date = email.utils.format_datetime(email.utils.localtime())
    answers = (says(429, Retry_After="3"), disconnects, says(503, Retry_After=date), says(201, {"id": "d"}))
    async with scripted(*answers) as server:
        answer = await asked(server.url, pauses)
        assert (answer.status, answer.document) == (201, {"id": "d"})
        assert {request.headers["Idempotency-Key"] for request in server.requests} == {'"k"'}
    assert pauses == [3.0, 0.6, 0.0]


async def test_the_last_answer_counts_and_a_long_wait_is_not_waited_for() -> None:
    pauses = Pauses()
    async with scripted(says(503, {"detail": "no database"}, Retry_After="1")) as server:
        answer = await asked(server.url, pauses)
        assert answer.detail == "503 no database"
        assert len(server.requests) == 4
    async with scripted(says(429, Retry_After="3600")) as server:
        assert (await asked(server.url, pauses)).status == 429
        assert len(server.requests) == 1


async def test_a_redirect_is_refused_and_the_key_does_not_follow_it() -> None:
    async with scripted(says(200, {})) as other, scripted(says(307, Location=f"{other.url}/x")) as server:
        with pytest.raises(NotTheApiError, match="redirect") as refused:
            await asked(server.url, Pauses())
        assert other.requests == []
    assert KEY not in str(refused.value)


async def test_a_server_that_answers_nothing_or_byte_by_byte_is_given_up_in_time() -> None:
    async def drips(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.02)

    for handler in (is_silent, drips):
        async with scripted(handler) as server:
            with pytest.raises(NoRestAnswerError, match=r"within 0.3 s|in time"):
                await asked(server.url, Pauses(), timeout_s=0.3, attempts=1)


@pytest.mark.parametrize("body", ["<html>", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "\ufeff{}"])
async def test_what_is_not_json_is_not_the_api(body: str) -> None:
    async def answers(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with scripted(answers) as server:
        with pytest.raises(NotTheApiError, match="is EXTAUTHZ_URL the admin REST API"):
            await asked(server.url, Pauses())


async def test_an_untrusted_certificate_is_named_and_a_file_of_cas_is_used(tmp_path: Path) -> None:
    authority = Authority("ca of the test")
    served = authority.issue("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    chain, ca = tmp_path / "chain.pem", tmp_path / "ca.pem"
    chain.write_bytes(served.chain + served.key)
    ca.write_bytes(authority.pem)
    context.load_cert_chain(chain)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", says(201, {"id": "d"}))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with pytest.raises(NoRestAnswerError, match=r"certificate is not trusted.*EXTAUTHZ_CA_FILE"):
            await asked(url, Pauses(), attempts=1)
        client = RestClient(RestAccess(url, {}, ca))
        assert (await asyncio.to_thread(client.call, "GET", "/")).status == 201
        client.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(404, {"detail": "no such path"}), "is EXTAUTHZ_URL the admin REST API"),
        (says(200, LIST), "does not say the revision of its lists; it is an older version"),
        (says(200, [1], X_Policy_Revision="1"), "another document than a list"),
        (says(200, {"items": [1]}, X_Policy_Revision="1"), "another document than a list"),
        (
            says(401, {"title": "Unauthorized", "detail": "unknown\x1b[31m key"}),
            "401 unknown\\x1b[31m key; look at",
        ),
    ],
)
async def test_lists_that_are_not_the_apis_are_refused(answer: Any, said: str) -> None:
    async with scripted(answer) as server:
        client = RestClient(RestAccess(server.url, {}), pause=Pauses())
        with pytest.raises(RestError) as refused:
            await asyncio.to_thread(live_rows, client)
        assert said in str(refused.value)
        client.close()


async def test_a_server_without_drafts_is_an_older_version(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("resources: [{name: r, serviceName: s}]\n")

    async def older(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/drafts"):
            return web.json_response({"detail": "there is nothing here"}, status=404)
        return web.json_response(LIST, headers={"X-Policy-Revision": "7"})

    async with scripted(older) as server:
        environ = {"EXTAUTHZ_URL": server.url, "EXTAUTHZ_SERVICE_API_KEY": KEY}
        found = await asyncio.to_thread(run_extauthz, "policy", "apply", tmp_path, environ=environ)
    assert found.returncode == 1
    assert "has no /api/v1/drafts (404): it is an older version" in found.stderr
    assert KEY not in found.stderr + found.stdout


async def test_policies_that_change_all_the_time_are_not_read_in_parts(tmp_path: Path) -> None:
    revision = 0

    async def moving(_: web.Request) -> web.StreamResponse:
        nonlocal revision
        revision += 1
        return web.json_response(LIST, headers={"X-Policy-Revision": str(revision)})

    async with scripted(moving) as server:
        environ = {"EXTAUTHZ_URL": server.url, "EXTAUTHZ_SERVICE_API_KEY": KEY}
        found = await asyncio.to_thread(run_extauthz, "policy", "export", tmp_path / "new", environ=environ)
    assert found.returncode == 1
    assert "written during each of 10 readings" in found.stderr
    assert not (tmp_path / "new").exists()

"""Hostile discovery documents, for keys and for introspection: none leads anywhere, none raises."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from extauthz.decide.needs import NeedsIntrospection
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.fetcher import FetchedKeys, FetchFailed, FetchLimits, KeyFetcher
from extauthz.keys.source import IssuerSource
from tests.integration.introspecting import answer, config, says_bytes, stage
from tests.integration.scripted_server import Handler, Scripted, scripted
from tests.tokens import SigningKey, jwks

pytestmark = pytest.mark.anyio

KEY = SigningKey.es256("found")
LIMITS = FetchLimits(connect_s=1.0, total_s=1.0)
DEEP = b"[" * 5000 + b"]" * 5000


def document(origin: str, **changes: object) -> bytes:
    usual = {
        "issuer": origin,
        "jwks_uri": f"{origin}/jwks",
        "introspection_endpoint": f"{origin}/introspect",
    }
    return json.dumps(usual | changes).encode()


async def trickle(request: web.Request) -> web.StreamResponse:
    """One octet at a time, for longer than anyone waits."""
    response = web.StreamResponse()
    await response.prepare(request)
    for octet in document(str(request.url.origin())):
        await response.write(bytes([octet]))
        await asyncio.sleep(0.1)
    return response


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": f"{request.url.origin()}/elsewhere"})


def with_changes(**changes: object) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=document(str(request.url.origin()), **changes))

    return handler


def twice(name: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        origin = str(request.url.origin())
        extra = json.dumps({name: "https://evil.example"})[1:-1].encode()
        return web.Response(body=document(origin)[:-1] + b", " + extra + b"}")

    return handler


HOSTILE: dict[str, Handler] = {
    "huge": with_changes(pad="x" * (600 * 1024)),
    "many members": with_changes(pad=[0] * 20_000),
    "deep": says_bytes(b'{"issuer": ' + DEEP + b"}"),
    "slow": trickle,
    "redirecting": redirect,
    "empty": says_bytes(b""),
    "HTML": says_bytes(b"<html></html>", content_type="text/html"),
    "a list": says_bytes(b"[]"),
    "null": says_bytes(b"null"),
    "NaN": says_bytes(b'{"issuer": NaN}'),
    "two issuers": twice("issuer"),
    "two key sets": twice("jwks_uri"),
    "two endpoints": twice("introspection_endpoint"),
    "another issuer": with_changes(issuer="https://evil.example"),
    "a slash more": with_changes(issuer="http://127.0.0.1/"),
    "an issuer in a list": with_changes(issuer=["https://idp.example"]),
    "no address": with_changes(jwks_uri=None, introspection_endpoint=None),
    "a number for an address": with_changes(jwks_uri=7, introspection_endpoint=7),
    "an object for an address": with_changes(jwks_uri={}, introspection_endpoint={}),
    "a file": with_changes(jwks_uri="file:///etc/passwd", introspection_endpoint="file:///etc/passwd"),
    "http elsewhere": with_changes(
        jwks_uri="http://idp.example/jwks", introspection_endpoint="http://idp.example/x"
    ),
    "credentials": with_changes(
        jwks_uri="https://a:b@idp.example/jwks", introspection_endpoint="https://a:b@idp.example/x"
    ),
    "no text": with_changes(jwks_uri="\ud800", introspection_endpoint="\ud800"),
    "404": says_bytes(b"{}", status=404),
    "500": says_bytes(b"{}", status=500),
}


def behind(discovery: Handler) -> Handler:
    """Answer the discovery document so, and everything else as a good provider does."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/.well-known/openid-configuration":
            return await discovery(request)
        if request.path == "/introspect":
            return web.json_response(answer())
        if request.path == "/jwks":
            return web.Response(body=jwks(KEY))
        raise AssertionError(request.path)

    return handler


@asynccontextmanager
async def fetching(discovery: Handler) -> AsyncIterator[tuple[KeyFetcher, IssuerSource, Scripted]]:
    async with scripted(behind(discovery)) as server, KeyFetcher(limits=LIMITS) as fetcher:
        yield fetcher, IssuerSource(config(server.url), operator_configured=True), server


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_keys_come_of_a_hostile_document(name: str) -> None:
    async with fetching(HOSTILE[name]) as (fetcher, source, server):
        found = await fetcher.fetch(source)
        assert isinstance(found, FetchFailed)
        assert found.detail
        assert {request.path for request in server.requests} <= {"/.well-known/openid-configuration"}


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_token_and_no_secret_is_sent_by_a_hostile_document(tmp_path: Path, name: str) -> None:
    async with stage(tmp_path, behind(HOSTILE[name]), discovered=True, timeout=1.0) as play:
        found = await play.ask()
        assert isinstance(found, Rejected)
        assert found.reason is Reason.INTROSPECTION_UNAVAILABLE
        assert {request.path for request in play.server.requests} <= {"/.well-known/openid-configuration"}
        assert isinstance(play.judge(), NeedsIntrospection)


async def test_a_good_document_has_any_content_type(tmp_path: Path) -> None:
    async def plain(request: web.Request) -> web.StreamResponse:
        return web.Response(body=document(str(request.url.origin())), content_type="text/plain")

    async with fetching(plain) as (fetcher, source, _):
        assert isinstance(await fetcher.fetch(source), FetchedKeys)
    async with stage(tmp_path, behind(plain), discovered=True) as play:
        assert isinstance(await play.ask(), Principal)

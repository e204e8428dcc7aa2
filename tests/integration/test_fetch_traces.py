"""Spans of fetches: below the check that waits for them, and what the other servers are told of the trace."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.introspection_client import ClientAuth, IntrospectionClient
from extauthz.keys.introspector import Introspector
from extauthz.keys.source import IssuerSource
from extauthz.settings import Sampler
from extauthz.signed.head import HeadRejectedError
from extauthz.signed.http_source import HttpPolicies
from extauthz.signed.server_address import ServerAddress
from extauthz.telemetry.check_trace import CheckTracing
from extauthz.telemetry.sampling import Sampling
from extauthz.telemetry.spans import EndedSpan, SpanKind, Tracing
from tests.builders import check_request, read_answer
from tests.integration.introspecting import answer, config
from tests.integration.scripted_server import scripted
from tests.key_server import key_server
from tests.real_service import FixedKeys, RealService, real_service
from tests.tokens import AUDIENCE, SigningKey, claims
from tests.waiting import await_true

pytestmark = pytest.mark.anyio
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = f"00-{TRACE}-{SPAN}-01"
POLICIES = {
    "resources": [{"name": "a:read", "serviceName": "a", "routes": [{"methods": ["GET"], "path": "/a"}]}],
    "role_rules": [
        {"id": "r1", "sub": "read", "dom": "*", "obj": "a:read", "act": "read", "effect": "allow"}
    ],
}


def new_tracing() -> Tracing:
    # Only what a caller records is traced: what runs by itself leaves no span.
    return Tracing(Sampling(Sampler.PARENT_ALWAYS_OFF), capacity=10_000)


def by_name(tracing: Tracing) -> dict[str, list[EndedSpan]]:
    found: dict[str, list[EndedSpan]] = {}
    for span in tracing.take(10_000):
        found.setdefault(span.name, []).append(span)
    return found


async def asked(running: RealService, bearer: str) -> bytes:
    """Ask in a thread, as a server does."""
    raw = check_request("/a", headers={"authorization": f"Bearer {bearer}", "traceparent": TRACED})
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, running.service.answer, raw, 5.0)


async def test_a_fetch_of_keys_is_below_the_check_that_waits_for_it(tmp_path: Path) -> None:
    tracing = new_tracing()
    first, second = SigningKey.es256("first"), SigningKey.es256("second")
    async with key_server(first) as provider, KeyFetcher(tracing=tracing) as fetcher:
        cache = JwksCache(fetcher, tracing=tracing)
        issuer = IssuerConfig.usual(
            provider.issuer, "default", (AUDIENCE,), "roles", "dom", "adm", frozenset()
        )
        cache.configure([IssuerSource(issuer, provider.jwks_uri, operator_configured=True)])
        task = asyncio.create_task(cache.run())
        await asyncio.to_thread(await_true, cache.all_tried, within=10, what="the first fetch")
        assert tracing.take(100) == []
        provider.keys = [first, second]
        seen: list[web.Request] = []

        async def handler(request: web.Request) -> web.StreamResponse:
            seen.append(request)
            return await provider.serve_keys(request)

        provider.handler = handler
        now = int(time.time())
        bearer = second.sign(claims(iss=provider.issuer, iat=now - 60, exp=now + 600))
        with real_service(tmp_path, POLICIES, keys=cache, tracing=CheckTracing(tracing)) as running:
            await asked(running, bearer)
            # The check, its phases, the fetch and its request; a slow machine answers the check before them.
            await asyncio.to_thread(await_true, lambda: tracing.waiting >= 8, within=10, what="all spans")
        task.cancel()
    found = by_name(tracing)
    (check,), (fetch,), (request,) = found["extauthz.check"], found["extauthz.fetch_keys"], found["GET"]
    assert (check.trace_id, fetch.parent_id, request.parent_id) == (TRACE, check.span_id, fetch.span_id)
    assert fetch.attributes == {"extauthz.issuer": provider.issuer}
    assert request.kind is SpanKind.CLIENT
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["url.full"] == provider.jwks_uri
    assert "extauthz.wait" in found
    assert [request.headers.get("traceparent") for request in seen] == [None]


async def test_an_introspection_is_below_the_check_that_asks(tmp_path: Path) -> None:
    tracing = new_tracing()
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response(answer(iat=None, exp=4_000_000_000))

    (tmp_path / "secret").write_text("the-secret\n")
    async with scripted(handler) as server, KeyFetcher(tracing=tracing) as fetcher:
        client = IntrospectionClient(
            "gateway",
            ClientAuth.CLIENT_SECRET_BASIC,
            endpoint=f"{server.url}/introspect?api=s3cret",
            secret_file=tmp_path / "secret",
        )
        source = IssuerSource(config(server.url), operator_configured=True, introspection=client)
        introspector = Introspector(fetcher.http, b"secret", tracing=tracing)
        introspector.configure([source])
        task = asyncio.create_task(introspector.run())
        await asyncio.sleep(0)
        keys = FixedKeys(KeyRing.of([IssuerKeys(source.config)]))
        with real_service(
            tmp_path, POLICIES, keys=keys, introspector=introspector, tracing=CheckTracing(tracing)
        ) as running:
            assert read_answer(await asked(running, "an-opaque-token")).allowed
        task.cancel()
    found = by_name(tracing)
    (check,), (question,), (request,) = found["extauthz.check"], found["extauthz.introspect"], found["POST"]
    assert (check.trace_id, question.parent_id, request.parent_id) == (TRACE, check.span_id, question.span_id)
    assert [each.name for each in (*found["extauthz.wait"], *found["extauthz.decide"])] == [
        "extauthz.wait",
        "extauthz.decide",
    ]
    assert len(found["extauthz.identify"]) == 2
    assert request.attributes["url.full"] == f"{server.url}/introspect"
    text = json.dumps([str(each) for each in found.values()])
    for each in ("an-opaque-token", "the-secret", "s3cret"):
        assert each not in text
    assert "traceparent" not in seen[0]


@pytest.mark.parametrize("status", [200, 503])
async def test_the_control_plane_is_told_of_the_trace_of_a_fetch_of_policies(status: int) -> None:
    tracing = Tracing(Sampling(Sampler.ALWAYS_ON), capacity=100)
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("traceparent"))
        return web.Response(body=b"{}", status=status)

    async with (
        scripted(handler) as server,
        HttpPolicies(ServerAddress(server.url, api_key="s3cret", tracing=tracing), "acme") as policies,
    ):
        with refused(status != 200):
            await policies.head(7, 1)
    (span,) = tracing.take(10)
    assert (span.name, span.kind, span.parent_id) == ("GET", SpanKind.CLIENT, None)
    assert seen == [f"00-{span.trace_id}-{span.span_id}-01"]
    assert span.attributes["url.full"] == f"{server.url}/signed-policies/acme/head.json"
    assert span.error == (None if status == 200 else "503")
    assert "s3cret" not in str(span)


async def test_a_server_that_does_not_answer_is_the_error_of_its_span() -> None:
    tracing = Tracing(Sampling(Sampler.ALWAYS_ON), capacity=100)
    async with HttpPolicies(ServerAddress("http://127.0.0.1:1", tracing=tracing), "acme") as policies:
        with refused(True):
            await policies.head(None, 0)
    (span,) = tracing.take(10)
    assert span.error == "ClientConnectorError"


@contextmanager
def refused(expected: bool) -> Iterator[None]:
    if not expected:
        yield
        return
    with pytest.raises(HeadRejectedError):
        yield

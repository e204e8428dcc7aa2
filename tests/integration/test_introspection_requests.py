"""Which tokens an issuer is asked about, how often, and what its slowness or absence delays (RFC 7662)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from extauthz.decide.needs import NeedsIntrospection
from extauthz.decide.tokens.keyring import IntrospectionRule, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.introspector import CONCURRENT, MOST_OPEN
from tests.integration.introspecting import (
    AUDIENCE,
    TOKEN,
    answer,
    config,
    says,
    stage,
)
from tests.integration.scripted_server import scripted
from tests.tokens import SigningKey, claims

pytestmark = pytest.mark.anyio


def reason(found: Principal | Rejected) -> Reason | None:
    return found.reason if isinstance(found, Rejected) else None


async def test_a_slow_answer_is_unavailable_in_time_and_known_afterwards(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response(answer())

    async with stage(tmp_path, slow) as play:
        assert reason(await play.ask(wait_s=0.02)) is Reason.INTROSPECTION_UNAVAILABLE
        waiting = asyncio.create_task(play.ask())
        go.set()
        assert isinstance(await waiting, Principal)
        assert isinstance(play.judge(), Principal)
        assert len(play.server.requests) == 1


async def test_requests_with_one_token_share_one_question(tmp_path: Path) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def held(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await go.wait()
        return web.json_response(answer())

    async with stage(tmp_path, held) as play:
        asking = [asyncio.create_task(play.ask()) for _ in range(200)]
        await arrived.wait()
        go.set()
        assert all(isinstance(found, Principal) for found in await asyncio.gather(*asking))
        assert len(play.server.requests) == 1


async def test_a_flood_of_invented_tokens_is_bounded_at_the_issuer(tmp_path: Path) -> None:
    at_once = [0, 0]
    go = asyncio.Event()

    async def held(_: web.Request) -> web.StreamResponse:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await go.wait()
        at_once[0] -= 1
        return web.json_response({"active": False})

    async with stage(tmp_path, held, timeout=3.0) as play:
        asking = [asyncio.create_task(play.ask(f"invented-{number}")) for number in range(MOST_OPEN + 500)]
        refused = 0
        for each in asyncio.as_completed(asking[MOST_OPEN:]):
            assert reason(await each) is Reason.OVERLOADED
            refused += 1
        assert refused == 500
        go.set()
        found = await asyncio.gather(*asking[:MOST_OPEN])
        assert {reason(each) for each in found} == {Reason.TOKEN_INACTIVE}
        assert at_once[1] <= CONCURRENT
        assert len(play.server.requests) == MOST_OPEN
        assert play.outcomes.count("overloaded") == 500
        # A token that is known is answered from memory meanwhile and afterwards.
        assert reason(await play.ask("invented-1")) is Reason.TOKEN_INACTIVE


async def test_an_issuer_that_hangs_holds_one_request_at_a_time(tmp_path: Path) -> None:
    go, second = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        if len(play.server.requests) == 2:
            second.set()
        await go.wait()
        return web.json_response(answer())

    async with stage(tmp_path, hang, timeout=0.2) as play:
        assert reason(await play.ask("first")) is Reason.INTROSPECTION_UNAVAILABLE
        one = asyncio.create_task(play.ask("second"))
        await second.wait()
        for number in range(50):
            assert reason(await play.ask(f"more-{number}", wait_s=60.0)) is Reason.INTROSPECTION_UNAVAILABLE
        assert reason(await one) is Reason.INTROSPECTION_UNAVAILABLE
        assert len(play.server.requests) == 2
        go.set()
        assert isinstance(await play.ask("third"), Principal)
        many = await asyncio.gather(*(play.ask(f"after-{number}") for number in range(20)))
        assert all(isinstance(found, Principal) for found in many)


async def test_an_issuer_that_is_down_is_unavailable_and_asked_again(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        port = int(play.server.url.rpartition(":")[2])
    async with stage(tmp_path, says(), endpoint=f"http://127.0.0.1:{port}/introspect") as play:
        assert reason(await play.ask()) is Reason.INTROSPECTION_UNAVAILABLE
        assert play.outcomes == ["unreachable"]
        async with scripted(says(), port=port):
            assert isinstance(await play.ask(), Principal)


async def test_the_connection_is_kept_and_a_closed_one_is_replaced(tmp_path: Path) -> None:
    peers: list[object] = []
    closed = asyncio.Event()

    async def noted(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        peers.append(transport.get_extra_info("peername"))
        response = web.json_response(answer())
        if len(peers) == 2:
            # Closed behind the answer, without saying so in it.
            await response.prepare(request)
            await response.write_eof()
            transport.close()
            closed.set()
        return response

    async with stage(tmp_path, noted) as play:
        for number in range(4):
            assert isinstance(await play.ask(f"token-{number}"), Principal)
            if number == 1:
                await closed.wait()
    assert peers[0] == peers[1]
    assert peers[1] != peers[2]
    assert peers[2] == peers[3]


async def test_the_endpoint_is_discovered_from_the_issuer_alone(tmp_path: Path) -> None:
    documents: list[dict[str, object]] = []

    async def both(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/.well-known/openid-configuration"):
            origin = str(request.url.origin())
            usual: dict[str, object] = {"issuer": origin, "introspection_endpoint": f"{origin}/found"}
            return web.json_response(usual | documents[-1])
        assert request.path == "/found"
        return web.json_response(answer())

    async with scripted(says()) as elsewhere, stage(tmp_path, both, discovered=True) as play:
        wrongs: tuple[dict[str, object], ...] = (
            {"issuer": "https://another.example"},
            {"introspection_endpoint": None},
            {"introspection_endpoint": 7},
            {"introspection_endpoint": f"{elsewhere.url}/introspect"},
            {"introspection_endpoint": "ftp://127.0.0.1/x"},
            {"introspection_endpoint": "http://[::1"},
            {"introspection_endpoint": ""},
        )
        for wrong in wrongs:
            documents.append(wrong)
            assert reason(await play.ask()) is Reason.INTROSPECTION_UNAVAILABLE, wrong
        assert elsewhere.requests == []
        documents.append({})
        assert isinstance(await play.ask(), Principal)
        assert isinstance(await play.ask("another-token"), Principal)
        asked = [request.path for request in play.server.requests]
        assert asked[-3:] == ["/.well-known/openid-configuration", "/found", "/found"]


async def test_only_bearer_tokens_are_sent_to_the_issuer(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        for text in ("", " ", "a b", "ä", "a\r\nb", "a,b", "a=b", "{}", "a;b", "\x00", "�", "a" * 20_000):
            found = play.judge(text)
            assert isinstance(found, Rejected), text
            assert found.reason is Reason.TOKEN_MALFORMED
        assert isinstance(await play.ask("  ya29.a0-b_c~d+e/f=="), Principal)
        assert len(play.server.requests) == 1


async def test_a_jwt_is_not_sent_to_the_issuer_unless_it_says_so(tmp_path: Path) -> None:
    signer = SigningKey.es256("jwt")
    async with stage(tmp_path, says(), says(active=False)) as play:
        own = signer.sign(claims(iss=play.server.url, aud=AUDIENCE))
        other = signer.sign(claims(aud=AUDIENCE))
        for text in (own, other, "a.b.c", ".."):
            assert not isinstance(play.judge(text), NeedsIntrospection)
        play.configure(introspection=IntrospectionRule(60.0, every_token=True))
        assert isinstance(await play.ask(own), Principal)
        # A token of another issuer is not shown to this one.
        assert reason(await play.ask(other)) is Reason.TOKEN_UNKNOWN_ISSUER
        assert reason(await play.ask(own + "A")) is Reason.TOKEN_INACTIVE
        assert len(play.server.requests) == 2


async def test_an_opaque_token_is_of_the_owner_of_the_target_alone(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        for owner in (None, "another"):
            found = play.judge(owner=owner)
            assert isinstance(found, Rejected)
            assert found.reason is Reason.TOKEN_MALFORMED
        assert isinstance(await play.ask(), Principal)


def test_a_tenant_with_two_introspecting_issuers_has_none() -> None:
    one, two = config("https://one.example"), config("https://two.example")
    other = replace(config("https://three.example"), tenant="other")
    ring = KeyRing.of([IssuerKeys(each) for each in (one, two, other)])
    assert dict(ring.introspecting) == {"other": other}
    assert ring.having(IssuerKeys(one)).introspecting == ring.introspecting


async def test_no_token_is_kept(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        needs: Any = play.judge()
        assert TOKEN not in repr(needs)
        assert TOKEN not in str(needs.otherwise)
        await play.ask()
        remembered = play.introspector.remembered
        entry = remembered.find(needs.key, play.source.config, play.now)
        assert TOKEN not in repr(entry)
        assert TOKEN.encode() not in needs.key
        assert remembered.key_of("a", "bc") != remembered.key_of("ab", "c")

"""The cache of keys and providers that are slow, fail or are many: each is asked in its own time."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from aiohttp import web

from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Principal
from extauthz.keys.schedule import RateLimit
from extauthz.keys.source import IssuerSource
from tests.integration.key_stage import CALM, NEW, OLD, landed, stage
from tests.key_server import answering, key_server
from tests.tokens import NOW, jwks


def test_a_fetch_that_hangs_does_not_delay_the_next_and_its_late_answer_changes_nothing() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            gate = asyncio.Event()

            async def hang(_request: web.Request) -> web.StreamResponse:
                await gate.wait()
                return web.Response(body=jwks(OLD))

            play.server.handler = hang
            hung = play.cache.ensure(play.server.issuer, "new")
            await play.server.asked(2)
            play.server.handler = play.server.serve_keys
            play.server.keys = [NEW]
            play.clock.now += 2
            assert play.cache.ensure(play.server.issuer, "new").done(), "a check waited for a slow provider"
            await play.server.asked(3)
            async with asyncio.timeout(5):
                while not isinstance(play.judge(play.token(NEW)), Principal):  # noqa: ASYNC110 - no event says so
                    await asyncio.sleep(0)
            assert not hung.done()
            gate.set()
            await landed(hung)
            assert isinstance(play.judge(play.token(NEW)), Principal)
            assert isinstance(play.judge(play.token(OLD)), Rejected)
            assert play.outcomes == ["ok", "ok", "ok"]

    asyncio.run(scenario())


def test_a_failing_fetch_on_demand_and_the_schedule_together_keep_their_distance() -> None:
    async def scenario() -> None:
        schedule = replace(CALM, usual_lifetime=10.0, shortest_lifetime=10.0, first_retry=1.0)
        async with stage(OLD, schedule=schedule) as play:
            play.server.handler = answering(status=500)
            begun: list[float] = []
            for _ in range(300):
                play.clock.now += 0.1
                before = play.server.requests["/jwks"]
                flight = play.cache.ensure(play.server.issuer, "new")
                await landed(flight)
                if play.server.requests["/jwks"] > before:
                    begun.append(play.clock.now)
            on_demand = [later - earlier for earlier, later in pairwise(begun)]
            assert len(begun) >= 10
            assert min(on_demand) >= 1.99

    asyncio.run(scenario())


def test_a_provider_that_hangs_delays_no_other() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play, key_server(NEW) as other:
            gate = asyncio.Event()

            async def hang(request: web.Request) -> web.StreamResponse:
                await gate.wait()
                return await play.server.serve_keys(request)

            play.server.handler = hang
            config = replace(play.source().config, issuer=other.issuer, tenant="globex")
            play.cache.configure([play.source(), IssuerSource(config, None, operator_configured=True)])
            first = play.cache.ensure(play.server.issuer, "new")
            assert isinstance(await play.ask(play.token(NEW, iss=other.issuer)), Principal)
            assert not first.done()
            gate.set()
            await landed(first)

    asyncio.run(scenario())


def test_all_issuers_together_are_asked_at_most_fifty_times_a_second_on_demand() -> None:
    limit = RateLimit(50)
    assert sum(limit.take(NOW + number / 1000) for number in range(999)) == 50
    assert limit.take(NOW + 1.0)
    assert sum(limit.take(NOW + 1.0) for _ in range(100)) == 0
    assert limit.take(NOW - 3600), "the clock was put back"

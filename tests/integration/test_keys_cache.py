"""The cache of keys against a real provider that rotates, breaks, hangs and goes away."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from extauthz.decide.needs import NeedsKey
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.schedule import Schedule
from extauthz.keys.source import IssuerSource
from tests.asking import Answer
from tests.integration.key_stage import CALM, LIMITS, NEW, OLD, landed, stage
from tests.key_server import answering, key_server
from tests.tokens import NOW, SigningKey, b64, claims, jwks
from tests.waiting import until


def test_keys_are_fetched_before_the_first_request() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            assert isinstance(play.judge(play.token(OLD)), Principal)
            assert play.outcomes == ["ok"]
            assert play.cache.ages() == {play.server.issuer: 0.0}

    asyncio.run(scenario())


def test_a_rotated_key_works_with_the_first_request_even_just_after_a_scheduled_fetch() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            play.server.keys = [OLD, NEW]
            assert isinstance(await play.ask(play.token(NEW)), Principal)
            assert isinstance(await play.ask(play.token(OLD)), Principal)
            assert play.server.requests["/jwks"] == 2
            assert play.server.requests["/.well-known/openid-configuration"] == 1

    asyncio.run(scenario())


def test_a_key_that_left_the_set_stops_working_with_the_next_successful_fetch() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            token = play.token(OLD)
            assert isinstance(await play.ask(token), Principal)
            play.server.keys = [NEW]
            assert isinstance(await play.ask(play.token(NEW)), Principal)
            assert await play.ask(token) is Reason.TOKEN_UNKNOWN_KEY

    asyncio.run(scenario())


def test_one_fetch_serves_a_hundred_callers() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            play.server.keys = [OLD, NEW]
            gate = asyncio.Event()

            async def when_all_wait(request: web.Request) -> web.StreamResponse:
                await gate.wait()
                return await play.server.serve_keys(request)

            play.server.handler = when_all_wait
            token = play.token(NEW)
            barrier = threading.Barrier(101)

            def call() -> Answer:
                first = play.judge(token)
                assert isinstance(first, NeedsKey)
                flight = play.cache.ensure(first.issuer, first.kid)
                barrier.wait(10)
                flight.result(10)
                return play.judge(token)

            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(101) as threads:
                calls = [loop.run_in_executor(threads, call) for _ in range(100)]
                await loop.run_in_executor(threads, barrier.wait, 10)
                gate.set()
                answers = await asyncio.gather(*calls)
            assert all(isinstance(answer, Principal) for answer in answers)
            assert play.server.requests["/jwks"] == 2

    asyncio.run(scenario())


def test_ten_thousand_random_kids_cause_one_fetch_per_cool_down() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            good = play.token(OLD)
            assert isinstance(await play.ask(good), Principal)
            before = play.server.requests["/jwks"]
            signed = OLD.sign(claims(iss=play.server.issuer))
            payload, signature = signed.split(".")[1:]
            for number in range(10_000):
                header = b64(b'{"alg":"ES256","kid":"%d"}' % number)
                answer = await play.ask(f"Bearer {header}.{payload}.{signature}")
                assert answer is Reason.TOKEN_UNKNOWN_KEY
                if number == 5_000:
                    assert play.server.requests["/jwks"] == before + 1
                    play.clock.now += 1.9
                if number == 7_500:
                    assert play.server.requests["/jwks"] == before + 1
                    play.clock.now += 0.1
            assert play.server.requests["/jwks"] == before + 2
            assert isinstance(play.judge(good), Principal)
            assert play.verified.hits == 1

    asyncio.run(scenario())


def test_inside_the_cool_down_a_young_token_gets_503_and_an_old_one_401() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            assert await play.ask(play.token(NEW)) is Reason.TOKEN_UNKNOWN_KEY
            play.clock.now += 1
            play.server.keys = [OLD, NEW]
            for issued_at in (NOW + 1, NOW, NOW - 5, NOW - 44, None):
                assert await play.ask(play.token(NEW, iat=issued_at)) is Reason.KEYS_UNAVAILABLE
            assert await play.ask(play.token(NEW, iat=NOW - 45)) is Reason.TOKEN_UNKNOWN_KEY
            play.clock.now += 1
            assert isinstance(await play.ask(play.token(NEW, iat=NOW - 5)), Principal)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (b"", 200, "invalid"),
        (b'{"keys":[]}', 200, "invalid"),
        (b"<html>", 200, "invalid"),
        (b"", 500, "refused"),
    ],
)
def test_an_invalid_answer_never_replaces_a_valid_one(body: bytes, status: int, outcome: str) -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            token = play.token(OLD)
            play.server.handler = answering(body=body, status=status)
            assert await play.ask(play.token(NEW, iat=int(NOW))) is Reason.KEYS_UNAVAILABLE
            assert play.outcomes == ["ok", outcome]
            assert isinstance(await play.ask(token), Principal)

    asyncio.run(scenario())


def test_without_its_provider_known_keys_work_until_they_are_too_old() -> None:
    async def scenario() -> None:
        schedule = replace(CALM, max_staleness=3600.0)
        async with stage(OLD, schedule=schedule) as play:
            play.server.handler = answering(status=503)
            token = play.token(OLD, exp=int(NOW) + 7200)
            play.clock.now = NOW + 3599.0
            assert isinstance(play.judge(token), Principal)
            play.clock.now = NOW + 3600.0
            assert await play.ask(token) is Reason.KEYS_UNAVAILABLE
            play.server.handler = play.server.serve_keys
            play.clock.now += 2
            assert isinstance(await play.ask(token), Principal)

    asyncio.run(scenario())


def test_keys_are_refreshed_in_the_background_at_the_interval_of_the_provider() -> None:
    async def scenario() -> None:
        async with key_server(OLD) as server, KeyFetcher(limits=LIMITS) as fetcher:
            server.headers = {"Cache-Control": "max-age=0"}
            cache = JwksCache(fetcher, schedule=Schedule(shortest_lifetime=0.05), chance=lambda: 0.0)
            config = IssuerConfig.usual(server.issuer, "default", None, "roles", "dom", "adm", frozenset())
            cache.configure([IssuerSource(config, None, operator_configured=True)])
            running = asyncio.create_task(cache.run())
            await server.asked(3)
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())


def test_a_provider_that_comes_back_is_found_again_without_a_request() -> None:
    async def scenario() -> None:
        schedule = Schedule(shortest_lifetime=0.01, usual_lifetime=0.01, first_retry=0.01, longest_retry=0.02)
        async with key_server(OLD) as server, KeyFetcher(limits=LIMITS) as fetcher:
            server.handler = answering(status=500)
            outcomes: list[str] = []
            cache = JwksCache(fetcher, schedule=schedule, on_fetch=outcomes.append)
            config = IssuerConfig.usual(server.issuer, "default", None, "roles", "dom", "adm", frozenset())
            cache.configure([IssuerSource(config, None, operator_configured=True)])
            running = asyncio.create_task(cache.run())
            await server.asked(3)
            server.handler = server.serve_keys
            await server.asked(5)
            running.cancel()
            await asyncio.wait([running])
            assert set(outcomes) == {"refused", "ok"}
            assert cache.current().issuers[server.issuer].keys is not None

    asyncio.run(scenario())


def test_a_late_caller_does_not_wait_for_a_fetch_that_hangs() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            gate = asyncio.Event()

            async def hang(request: web.Request) -> web.StreamResponse:
                await gate.wait()
                return await play.server.serve_keys(request)

            play.server.handler = hang
            play.server.keys = [NEW]
            first = play.cache.ensure(play.server.issuer, "new")
            joined = play.cache.ensure(play.server.issuer, "new")
            assert joined is first
            assert not first.cancel()
            play.clock.now += 0.2
            assert play.cache.ensure(play.server.issuer, "new").done()
            assert not first.done()
            assert await play.ask(play.token(NEW)) is Reason.KEYS_UNAVAILABLE
            gate.set()
            await landed(first)
            assert isinstance(play.judge(play.token(NEW)), Principal)

    asyncio.run(scenario())


def test_a_clock_put_back_stops_neither_refreshing_nor_asking() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            play.server.keys = [OLD, NEW]
            play.clock.now -= 86_400 * 30
            assert isinstance(await play.ask(play.token(NEW)), Principal)
            assert len(play.outcomes) >= 2

    asyncio.run(scenario())


def test_a_clock_put_back_makes_no_keys_younger() -> None:
    async def scenario() -> None:
        async with stage(OLD, schedule=replace(CALM, max_staleness=3600.0)) as play:
            play.server.handler = answering(status=503)
            play.clock.now += 1800.0
            assert isinstance(play.judge(play.token(OLD)), Principal)
            play.clock.put_back(86_400.0)
            play.cache.configure([play.source()])
            await until(lambda: play.cache.ages() == {play.server.issuer: 1800.0})
            assert isinstance(play.judge(play.token(OLD)), Principal)
            play.clock.now += 1800.0
            assert await play.ask(play.token(OLD)) is Reason.KEYS_UNAVAILABLE

    asyncio.run(scenario())


def test_keys_of_a_control_plane_whose_clock_is_ahead_count_no_longer() -> None:
    async def scenario() -> None:
        async with stage(OLD, schedule=replace(CALM, max_staleness=3600.0)) as play:
            play.server.handler = answering(status=503)
            known = play.cache.current().issuers[play.server.issuer].keys
            assert known is not None
            play.cache.seed(play.server.issuer, known, NOW + 50.0)
            play.clock.now = NOW + 3599.0
            assert isinstance(play.judge(play.token(OLD)), Principal)
            play.clock.now = NOW + 3600.0
            assert await play.ask(play.token(OLD)) is Reason.KEYS_UNAVAILABLE

    asyncio.run(scenario())


def test_registrations_change_while_running() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            token = play.token(OLD)
            source = play.source()
            moved = replace(source, config=replace(source.config, tenant="acme"))
            play.cache.configure([moved])
            answer = play.judge(token)
            assert isinstance(answer, Principal)
            assert answer.tenant == "acme"

            play.cache.configure([play.source(play.server.jwks_uri)])
            assert isinstance(play.judge(token), NeedsKey)
            assert isinstance(await play.ask(token), Principal)

            play.cache.configure([source, moved])
            assert await play.ask(token) is Reason.TOKEN_UNKNOWN_ISSUER
            play.cache.configure([])
            assert await play.ask(token) is Reason.TOKEN_UNKNOWN_ISSUER

    asyncio.run(scenario())


def test_removing_an_issuer_during_a_fetch_releases_the_waiting_callers() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            flight = play.cache.ensure(play.server.issuer, "new")
            play.cache.configure([])
            await landed(flight)
            assert not play.cache.current().issuers

    asyncio.run(scenario())


def test_waiting_callers_are_released_when_the_cache_stops_and_later_callers_do_not_wait() -> None:
    async def scenario() -> None:
        async with key_server(OLD) as server, KeyFetcher(limits=LIMITS) as fetcher:
            gate = asyncio.Event()

            async def hang(request: web.Request) -> web.StreamResponse:
                await gate.wait()
                return await server.serve_keys(request)

            server.handler = hang
            cache = JwksCache(fetcher)
            config = IssuerConfig.usual(server.issuer, "default", None, "roles", "dom", "adm", frozenset())
            cache.configure([IssuerSource(config, None, operator_configured=True)])
            assert cache.ensure(server.issuer, "x").done()
            running = asyncio.create_task(cache.run())
            await server.asked(1)
            flight = cache.ensure(server.issuer, "x")
            assert not flight.done()
            running.cancel()
            await asyncio.wait([running])
            assert flight.done()
            assert cache.ensure(server.issuer, "x").done()
            gate.set()

    asyncio.run(scenario())


def test_unknown_issuers_are_not_asked() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            assert play.cache.ensure("https://elsewhere.example.test", "x").done()
            assert await play.ask(play.token(NEW, iss="https://elsewhere.example.test")) is (
                Reason.TOKEN_UNKNOWN_ISSUER
            )

    asyncio.run(scenario())


def test_the_log_names_the_reason_of_every_key_whether_one_is_usable_or_none() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            short = SigningKey.rs256("short", bits=1024).jwk()
            for usable in ([], [OLD, NEW]):
                play.server.handler = answering(body=jwks(*usable, short, OLD.jwk(kid="enc", use="enc")))
                with capture_logs() as logs:
                    await play.ask(play.token(NEW))
                (entry,) = logs
                assert entry["event"] == ("keys_changed" if usable else "key_fetch_failed")
                assert entry["ignored"] == [
                    "short: an RSA key of fewer than 2048 bits",
                    "enc: use is not sig",
                ]
                play.clock.now += 2

    asyncio.run(scenario())


def test_the_log_names_the_problem_and_never_the_answer() -> None:
    async def scenario() -> None:
        async with stage(OLD) as play:
            play.server.handler = answering(body=b'{"keys":"s3cret"}')
            with capture_logs() as logs:
                await play.ask(play.token(NEW))
            assert [entry["event"] for entry in logs] == ["key_fetch_failed"]
            assert "s3cret" not in repr(logs)
            play.server.handler = play.server.serve_keys
            play.server.keys = [NEW]
            play.clock.now += 2
            with capture_logs() as logs:
                await play.ask(play.token(NEW))
            assert [entry["event"] for entry in logs] == ["keys_changed"]

    asyncio.run(scenario())

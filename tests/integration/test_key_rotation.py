"""A key that the provider rotates in, while clients flood a real sidecar with unknown key ids."""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from aiohttp import web

from extauthz.check.grpcio_server import CHECK_SERVICE
from extauthz.demo.processes import LOOPBACK, ReservedPorts, http_answers, spawn
from tests.builders import check_request, read_answer
from tests.key_server import Handler, KeyServer, answering, key_server
from tests.light_processes import LIGHT
from tests.real_tokens import good_claims
from tests.tokens import AUDIENCE, SigningKey, b64

OLD = SigningKey.es256("old")
NEW = SigningKey.es256("new")
CHECK = f"/{CHECK_SERVICE}/Check"
POLICIES = """
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/**"}]}
role_rules:
  - {id: allow-all, sub: "*", dom: "*", obj: "site:use", act: "*", effect: allow}
"""
FLOOD_PER_S = 1000
BURST = 20
SERVED_WITHIN_S = 3.0
FETCHES_APART_S = 2.0
KID = "unknown-000000"


@dataclass
class Flood:
    """Tokens with a key id each that the provider never had; what they were answered, and how late."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0


@dataclass
class Stage:
    """A sidecar process and the provider it asks."""

    provider: KeyServer
    grpc_ports: list[int]
    log: Path
    _channels: list[grpc.aio.Channel]

    def token(self, signer: SigningKey) -> str:
        """Return a token that was issued just now."""
        return signer.sign(good_claims(self.provider.issuer, "alice", iat=int(time.time())))

    async def ask(self, call: bytes, *, worker: int = 0, deadline: float = 2.0) -> bytes:
        check = self._channels[worker].unary_unary(CHECK, None, None)
        answer: bytes = await check(call, timeout=deadline)
        return answer

    async def flood(self, seen: Flood, until: asyncio.Event) -> None:
        """Send FLOOD_PER_S requests a second to every worker in turn."""
        signed = self.token(OLD)
        _, payload, signature = signed.split(".")
        header = b64(json.dumps({"alg": "ES256", "kid": KID}).encode())
        template = request(f"{header}.{payload}.{signature}")
        number, running = 0, set[asyncio.Task[None]]()
        started = time.monotonic()
        while not until.is_set():
            for _ in range(BURST):
                kid = b64(json.dumps({"alg": "ES256", "kid": f"unknown-{number:06}"}).encode())
                call = template.replace(header.encode(), kid.encode())
                task = asyncio.create_task(self._unknown(call, seen, number % len(self._channels)))
                running.add(task)
                task.add_done_callback(running.discard)
                number += 1
            await asyncio.sleep(max(0.0, started + number / FLOOD_PER_S - time.monotonic()))
        await asyncio.gather(*running)

    async def _unknown(self, call: bytes, seen: Flood, worker: int) -> None:
        begun = time.monotonic()
        status = read_status(await self.ask(call, worker=worker, deadline=10.0))
        seen.statuses[status] += 1
        seen.slowest_s = max(seen.slowest_s, time.monotonic() - begun)


def request(token: str) -> bytes:
    return check_request("/x", headers={"authorization": f"Bearer {token}"})


def read_status(raw: bytes) -> int:
    """Return the HTTP status of a CheckResponse; the full reading is too slow for a flood."""
    for status, text in ((401, b'"unauthorized"'), (503, b'"service_unavailable"')):
        if text in raw:
            return status
    answer = read_answer(raw)
    return 200 if answer.allowed else answer.status or 0


@contextlib.asynccontextmanager
async def stage(folder: Path, *, workers: int = 1) -> AsyncIterator[Stage]:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(POLICIES)
    ports = ReservedPorts()
    health, first = ports.take()[0], ports.take(workers)[0]
    async with key_server(OLD) as provider:
        environ = {
            **LIGHT,
            "AUTH_SERVER_URL": provider.issuer,
            "OIDC_AUDIENCE": AUDIENCE,
            "POLICY_SOURCE": f"files:{folder / 'policies'}",
            "DECISION_LOG": str(folder / "decisions.jsonl"),
            "SIDECAR_PORT": str(health),
            "GRPC_PORT": str(first),
            "WORKERS": str(workers),
        }
        command = [sys.executable, "-m", "extauthz", "sidecar"]
        child = await asyncio.to_thread(
            spawn, "sidecar", command, output=folder / "sidecar.log", environment=environ
        )
        try:
            await asyncio.to_thread(
                child.wait_ready, lambda: http_answers(health, "/healthz/ready"), timeout_s=30
            )
            listening = [first + number for number in range(workers)]
            channels = [grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") for port in listening]
            yield Stage(provider, listening, folder / "decisions.jsonl", channels)
            for channel in channels:
                await channel.close(None)
        finally:
            await asyncio.to_thread(child.stop, grace_s=8)
            ports.release()


async def until_served(play: Stage, token: str, *, worker: int = 0) -> tuple[float, Counter[int]]:
    """Ask as a client that retries; return the time until the first allow, and the answers before it."""
    begun, told, call = time.monotonic(), Counter[int](), request(token)
    while time.monotonic() - begun < SERVED_WITHIN_S + 5:
        answer = read_answer(await play.ask(call, worker=worker))
        if answer.allowed:
            return time.monotonic() - begun, told
        assert answer.status is not None
        told[answer.status] += 1
        if answer.status == 503:
            assert answer.headers["retry-after"] == "1"
        await asyncio.sleep(0.05)
    raise AssertionError(f"never served; told {told}")


async def known_tokens(play: Stage, until: asyncio.Event) -> list[float]:
    """Ask with a good token every 20 ms; return how long each allow took."""
    call, took = request(play.token(OLD)), list[float]()
    while not until.is_set():
        begun = time.monotonic()
        assert read_answer(await play.ask(call, deadline=5.0)).allowed
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.02)
    return sorted(took)


def hanging(gate: asyncio.Event, play: KeyServer) -> Handler:
    async def handler(asked: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await play.serve_keys(asked)

    return handler


def slow(seconds: float, play: KeyServer) -> Handler:
    async def handler(asked: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await play.serve_keys(asked)

    return handler


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rotated_key_is_served_within_three_seconds_under_a_flood_of_unknown_ones(
    tmp_path: Path, workers: int
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path, workers=workers) as play:
            assert read_answer(await play.ask(request(play.token(OLD)))).allowed
            seen, over = Flood(), asyncio.Event()
            before, begun = play.provider.requests["/jwks"], time.monotonic()
            flood = asyncio.create_task(play.flood(seen, over))
            known = asyncio.create_task(known_tokens(play, over))
            await play.provider.asked(before + workers + 1)
            play.provider.keys = [OLD, NEW]
            served = await asyncio.gather(
                *(until_served(play, play.token(NEW), worker=n) for n in range(workers))
            )
            over.set()
            await flood
            took = time.monotonic() - begun
            fetches = play.provider.requests["/jwks"] - before

            assert all(seconds < SERVED_WITHIN_S for seconds, _ in served), served
            assert all(set(told) <= {503} for _, told in served), served
            assert fetches <= workers * (took / FETCHES_APART_S + 1), (fetches, took)
            assert set(seen.statuses) <= {401, 503}, seen.statuses
            assert seen.statuses.total() >= FLOOD_PER_S, seen
            assert await known
            print("served", served, "fetches", fetches, "in", round(took, 1), seen)

    asyncio.run(scenario())


Trouble = Callable[[asyncio.Event, KeyServer], Handler]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(hanging, id="hangs"),
        pytest.param(lambda _gate, _server: answering(status=500), id="fails"),
        pytest.param(lambda _gate, server: slow(0.4, server), id="is slow"),
    ],
)
def test_a_failing_provider_delays_neither_known_tokens_nor_the_rotation(
    tmp_path: Path, trouble: Trouble
) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as play:
            gate, over, seen = asyncio.Event(), asyncio.Event(), Flood()
            assert read_answer(await play.ask(request(play.token(OLD)))).allowed
            play.provider.handler = trouble(gate, play.provider)
            before, begun = play.provider.requests["/jwks"], time.monotonic()
            flood = asyncio.create_task(play.flood(seen, over))
            known = asyncio.create_task(known_tokens(play, over))
            await play.provider.asked(before + 3)
            play.provider.keys = [OLD, NEW]
            play.provider.handler = play.provider.serve_keys
            seconds, told = await until_served(play, play.token(NEW))
            took, fetches = time.monotonic() - begun, play.provider.requests["/jwks"] - before
            over.set()
            await flood
            latencies = await known
            gate.set()

            assert seconds < SERVED_WITHIN_S, (seconds, told)
            assert set(told) <= {503}, told
            assert fetches <= took / FETCHES_APART_S + 1, (fetches, took)
            assert set(seen.statuses) <= {401, 503}, seen.statuses
            middle = latencies[len(latencies) // 2]
            print("served", seconds, told, "fetches", fetches, "in", round(took, 1), seen)
            print("known: median", middle, "slowest", latencies[-1])
            assert middle < 0.15, latencies[-10:]

    asyncio.run(scenario())


def test_a_short_deadline_is_kept_while_the_provider_hangs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as play:
            gate = asyncio.Event()
            await play.ask(request(play.token(OLD)))
            play.provider.handler = hanging(gate, play.provider)
            answer = read_answer(await play.ask(request(play.token(NEW)), deadline=0.1))
            gate.set()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    asyncio.run(scenario())


def test_the_decision_log_has_the_reason_for_a_missing_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stage(tmp_path) as play:
            unknown = SigningKey.es256("unknown")
            first = read_answer(await play.ask(request(play.token(unknown))))
            second = read_answer(await play.ask(request(play.token(unknown))))
            assert (first.status, second.status) == (401, 503)

    asyncio.run(scenario())
    lines = map(json.loads, (tmp_path / "decisions.jsonl").read_text().splitlines())
    decisions = [(line["reason"], line["detail"]) for line in lines if line["event"] == "decision"]
    assert [reason for reason, _ in decisions] == ["token_unknown_key", "keys_unavailable"]
    assert decisions[0][1] == "the issuer has no such key"
    assert decisions[1][1].startswith("the issuer had no such key ")

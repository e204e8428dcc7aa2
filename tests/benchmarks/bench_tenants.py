"""A sidecar with a thousand tenants of a thousand rules each: its start, its memory, its decisions.

Real parts: the embedded PostgreSQL; tenants with hosts, identity providers and resources made over REST by
`extauthz control-plane`, their rules through the storage layer; then `extauthz sidecar` on that database, for
one tenant (`TENANTS`), for a tenth of them, for all, in turns. A load that costs more for each rule the more
tenants there are shows in `growth`: the CPU of a rule among all against that of one among a tenth.

Then the sidecar of one tenant and that of all answer the same kind of request, in turns: a token of the
tenant that owns the host, let in by a role rule to one of four resources. The workers have one core, the
client the other. Goal: with each request for a tenant drawn by chance, the p99 of a decision is at most 1.2
times that of one tenant. There are two peers in that tenant: a single caller again and again, for whom
everything stays in the processor's caches, and as many callers as there are tenants. And there are three
views: what the client sees has gRPC in it, the scheduler and whatever else runs on the machine; what the
worker logs is the decision alone; its CPU is all that it does for an answer.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.demo.process_tree import descendants
from extauthz.demo.rest import RestApi
from extauthz.storage.pool import DatabaseAddress, open_pool
from tests.benchmarks.database import add_rules_of, address_of, started_postgres
from tests.benchmarks.measuring import keep, percentile, spread
from tests.benchmarks.workers import Asker, cpu_s, only_worker, pin, resident_bytes, running_ns
from tests.builders import check_request
from tests.integration.serving import ADMIN_KEY, Serving, serving
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey

TENANTS: Final = 1_000
RULES: Final = 1_000
STARTS: Final = 3
ROUNDS: Final = 20
ASKED: Final = 2_000
WORKER_CORE, CLIENT_CORE = 0, 1
GOAL: Final = 1.2

_ALONE: Final = ("one_caller", "many_callers")
_KINDS: Final = (*_ALONE, "many_tenants")
"""The checks: of one tenant at its own sidecar, of all tenants at the shared one."""
_NOUNS: Final = ("invoice", "order", "parcel", "refund")
_RESOURCES: Final = [
    {
        "name": f"{noun}:read",
        "displayName": f"Read one {noun}",
        "serviceName": "billing",
        "defaultRoles": ["finance"],
        "routes": [{"methods": ["GET"], "path": f"/{noun}s/{{number}}"}],
    }
    for noun in _NOUNS
]


@dataclass(frozen=True)
class Firm:
    """A tenant, and what its alice asks for."""

    slug: str
    requests: list[bytes]


def found_firms(rest: RestApi, provider: KeyServer, key: SigningKey, count: int) -> list[Firm]:
    """Make tenants over REST. One server is the provider of all, under an issuer for each."""
    return [_founded(rest, provider, key, f"firm-{number}") for number in range(count)]


def _founded(rest: RestApi, provider: KeyServer, key: SigningKey, slug: str) -> Firm:
    issuer = f"{provider.issuer}/{slug}"
    created = rest.create("/admin/tenants", {"name": slug, "slug": slug})
    rest.put(f"/admin/tenants/{slug}/hosts", {"hosts": [_host(slug)]})
    rest.create(
        f"/admin/tenants/{slug}/identity-providers",
        {"issuer_url": issuer, "jwks_uri": f"{issuer}/jwks", "audience": AUDIENCE},
    )
    rest.with_service_key(created.document["bootstrapKey"]).create("/api/v1/resources/list", _RESOURCES)
    return Firm(slug, requests_of(provider, key, slug, "alice"))


def _host(slug: str) -> str:
    return f"{slug}.example"


def requests_of(provider: KeyServer, key: SigningKey, slug: str, subject: str) -> list[bytes]:
    """Return what a tenant's proxy asks when this person reads one of each thing that there is."""
    now = int(time.time())
    token = key.sign(
        {
            "iss": f"{provider.issuer}/{slug}",
            "sub": subject,
            "aud": AUDIENCE,
            "iat": now - 5,
            "exp": now + 3600,
            "realm_access": {"roles": ["finance"]},
        }
    )
    headers = {"authorization": f"Bearer {token}"}
    return [check_request(f"/{noun}s/17", host=_host(slug), headers=headers) for noun in _NOUNS]


async def add_rules(address: DatabaseAddress, firms: Sequence[Firm], count: int) -> None:
    async with open_pool(address) as pool:
        for firm in firms:
            await add_rules_of(pool, firm.slug, range(count))


def get_to_know(asker: Asker, requests: Sequence[bytes], within_s: float = 300.0) -> None:
    """Ask until all keys are fetched and all tokens verified."""
    deadline = time.monotonic() + within_s
    waiting = list(requests)
    while waiting := [request for request in waiting if not asker.allowed(request)]:
        assert time.monotonic() < deadline, f"{len(waiting)} callers are still denied"


@dataclass(frozen=True)
class Start:
    """What it took a sidecar to be ready: by the clock, of its worker's CPU and memory."""

    seconds: float
    cpu_s: float
    held: int


def start(found: Serving) -> Start:
    """Start a sidecar; return what it took until it was ready, policies and all."""
    began = time.perf_counter()
    found.start("sidecar", ready=False)
    port = found.sidecar_port
    found.process.wait_ready(
        lambda: RestApi(port, "").ask("GET", "/healthz/ready").status == 200, timeout_s=300
    )
    seconds = time.perf_counter() - began
    worker = only_worker(found)
    return Start(seconds, cpu_s(worker), resident_bytes(worker))


def loading(starts: dict[int, list[Start]], rules: int) -> dict[str, object]:
    """Say what a rule costs, from the medians of the starts with each number of tenants."""
    one, tenth, every = sorted(starts)

    def middle(count: int, of: str) -> float:
        return statistics.median(float(getattr(start, of)) for start in starts[count])

    def each_rule(count: int, of: str) -> float:
        # Each of a tenant's resources has a role rule by its default role.
        return (middle(count, of) - middle(one, of)) / ((count - one) * (rules + len(_RESOURCES)))

    return {
        "tenants": {
            str(count): {
                "ready_s": round(middle(count, "seconds"), 2),
                "fastest_s": round(min(start.seconds for start in starts[count]), 2),
                "worker_cpu_s": round(middle(count, "cpu_s"), 2),
            }
            for count in (one, tenth, every)
        },
        "us_per_rule": round(each_rule(every, "seconds") * 1e6, 1),
        "cpu_us_per_rule": round(each_rule(every, "cpu_s") * 1e6, 1),
        "growth": round(each_rule(every, "cpu_s") / each_rule(tenth, "cpu_s"), 2),
        "bytes_per_rule": round(each_rule(every, "held")),
    }


@dataclass(frozen=True)
class Turn:
    """Decisions of one kind, asked one after the other."""

    client_us: list[float]
    cpu_us: float
    """Of the worker, for each."""


def asked(every: Serving, single: Serving, requests: Mapping[str, Sequence[bytes]]) -> dict[str, list[Turn]]:
    """Ask both sidecars in turns; the order changes from round to round."""
    chosen = random.Random(1)
    whom = {kind: single if kind in _ALONE else every for kind in _KINDS}
    askers = {kind: Asker(found.grpc_port) for kind, found in whom.items()}
    workers = {kind: only_worker(found) for kind, found in whom.items()}
    for kind in _KINDS:
        get_to_know(askers[kind], requests[kind])
    turns: dict[str, list[Turn]] = {kind: [] for kind in _KINDS}
    for number in range(ROUNDS):
        for kind in _in_round(number, _KINDS):
            drawn = chosen.choices(requests[kind], k=ASKED)
            before = running_ns(workers[kind])
            taken = askers[kind].taken_us(drawn)
            turns[kind].append(Turn(taken, (running_ns(workers[kind]) - before) / ASKED / 1000))
    for asker in askers.values():
        asker.close()
    return turns


def _in_round(number: int, kinds: Sequence[str]) -> Sequence[str]:
    return kinds if number % 2 else kinds[::-1]


def logged_us(every: Path, single: Path) -> dict[str, list[list[float]]]:
    """Return the same turns from the logs of the workers."""
    turns: dict[str, list[list[float]]] = {kind: [] for kind in _KINDS}
    for log, kinds in ((single, _ALONE), (every, ("many_tenants",))):
        durations = _last_durations(log, len(kinds) * ROUNDS)
        for number in range(ROUNDS):
            for kind in _in_round(number, kinds):
                turns[kind].append(next(durations))
    return turns


def _last_durations(log: Path, turns: int) -> Iterator[list[float]]:
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    durations = [line["duration_us"] for line in lines if line["event"] == "decision"][-turns * ASKED :]
    assert len(durations) == turns * ASKED
    assert lines[-1]["decisions_lost"] == 0, "turns cannot be told apart"
    for turn in range(turns):
        yield durations[turn * ASKED : (turn + 1) * ASKED]


def compared(turns: dict[str, list[list[float]]]) -> dict[str, object]:
    """Say how long decisions took, and how many times longer among many tenants than of either peer."""
    numbers: dict[str, object] = {
        kind: spread([one for taken in each for one in taken]) for kind, each in turns.items()
    }
    for peer in _ALONE:
        for share in (0.5, 0.99):
            # Of each round, because the machine changes from one to the next.
            ratios = [
                percentile(many, share) / percentile(one, share)
                for many, one in zip(turns["many_tenants"], turns[peer], strict=True)
            ]
            numbers[f"p{share * 100:.0f}_to_{peer}"] = round(statistics.median(ratios), 2)
    return numbers


def measured(folder: Path, count: int, rules: int) -> dict[str, object]:
    """Make the tenants, start sidecars for some and all of them, compare their answers and costs."""
    key = SigningKey.es256()
    with started_postgres() as server, identity_provider(key) as provider:

        @contextmanager
        def saas(name: str, some: int = count) -> Iterator[Serving]:
            (folder / name).mkdir()
            with serving(
                folder / name,
                server.environment,
                MODE="saas",
                OIDC_ENABLED="true",
                JWKS_ALLOW_HOSTS=f"127.0.0.1:{provider.port}",
                MIGRATE_ON_START="true",
                POLICY_POLL_INTERVAL="5",  # what ships
                # Left empty it means all that there are.
                TENANTS="" if some == count else ",".join(f"firm-{number}" for number in range(some)),
            ) as found:
                yield found

        with saas("plane") as plane:
            plane.start("control-plane")
            firms = found_firms(RestApi(plane.rest_port, ADMIN_KEY), provider, key, count)
        asyncio.run(add_rules(address_of(server), firms, rules))
        starts: dict[int, list[Start]] = {1: [], max(2, count // 10): [], count: []}
        for number in range(STARTS - 1):
            for some in starts:
                with saas(f"start-{number}-of-{some}", some) as found:
                    starts[some].append(start(found))
        with ExitStack() as running:
            last = {some: running.enter_context(saas(f"last-of-{some}", some)) for some in starts}
            for some, found in last.items():
                starts[some].append(start(found))
            every, single = last[count], last[1]
            for found in (every, single):
                for pid in (found.process.pid, *(one.pid for one in descendants(found.process.pid))):
                    pin(pid, WORKER_CORE)
            os.sched_setaffinity(0, {CLIENT_CORE})
            callers = [
                requests_of(provider, key, firms[0].slug, f"caller-{number}") for number in range(count)
            ]
            requests = {
                "one_caller": callers[0],
                "many_callers": [request for each in callers for request in each],
                "many_tenants": [request for firm in firms for request in firm.requests],
            }
            turns = asked(every, single, requests)
        return {
            "rules_each": rules,
            "load": loading(starts, rules),
            "decisions": {
                "goal_p99_ratio": GOAL,
                "client_us": compared(
                    {kind: [one.client_us for one in each] for kind, each in turns.items()}
                ),
                "logged_us": compared(logged_us(every.log, single.log)),
                "worker_cpu_us": {
                    kind: round(statistics.median(one.cpu_us for one in each), 1)
                    for kind, each in turns.items()
                },
            },
        }


def main() -> None:
    """Measure, and keep the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--rules", type=int, default=RULES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep("tenants", measured(Path(folder), options.tenants, options.rules))


if __name__ == "__main__":
    main()

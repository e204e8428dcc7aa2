"""What a thousand tenants of a thousand rules each cost a sidecar: its start, its memory, its decisions.

Real parts: the embedded PostgreSQL; tenants with hosts, identity providers and a resource made over REST by
`extauthz control-plane`, their rules through the storage layer; then two `extauthz sidecar` on that database,
one that serves every tenant and one that serves a single one (`TENANTS`). Both answer the same kind of
request, in turns: a token of the tenant that owns the host, let in by a role rule. The workers have one core,
the client the other. Goal: with each request for a tenant drawn by chance, the p99 of a decision is at most
1.2 times that of one tenant alone.
"""

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from extauthz.demo.process_tree import descendants
from extauthz.demo.rest import RestApi
from extauthz.storage.pool import DatabaseAddress, open_pool
from tests.benchmarks.database import add_rules_of, address_of, started_postgres
from tests.benchmarks.measuring import keep, percentile, spread
from tests.builders import check_request
from tests.integration.serving import ADMIN_KEY, Serving, serving
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey

TENANTS: Final = 1_000
RULES: Final = 1_000
ROUNDS: Final = 15
ASKED: Final = 2_000
WORKER_CORE, CLIENT_CORE = 0, 1
GOAL: Final = 1.2

_CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_RESOURCE: Final = {
    "name": "invoice:read",
    "displayName": "Read an invoice",
    "serviceName": "billing",
    "defaultRoles": ["finance"],
    "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
}


@dataclass(frozen=True)
class Firm:
    """A tenant, and the request that its alice sends."""

    slug: str
    request: bytes


def found_firms(rest: RestApi, provider: KeyServer, key: SigningKey, count: int) -> list[Firm]:
    """Make tenants over REST. One server is everybody's provider, under an issuer for each."""
    return [_founded(rest, provider, key, f"firm-{number}") for number in range(count)]


def _founded(rest: RestApi, provider: KeyServer, key: SigningKey, slug: str) -> Firm:
    host, issuer = f"{slug}.example", f"{provider.issuer}/{slug}"
    created = rest.create("/admin/tenants", {"name": slug, "slug": slug})
    rest.put(f"/admin/tenants/{slug}/hosts", {"hosts": [host]})
    rest.create(
        f"/admin/tenants/{slug}/identity-providers",
        {"issuer_url": issuer, "jwks_uri": f"{issuer}/jwks", "audience": AUDIENCE},
    )
    rest.with_service_key(created.document["bootstrapKey"]).create("/api/v1/resources", _RESOURCE)
    now = int(time.time())
    token = key.sign(
        {
            "iss": issuer,
            "sub": "alice",
            "aud": AUDIENCE,
            "iat": now - 5,
            "exp": now + 3600,
            "realm_access": {"roles": ["finance"]},
        }
    )
    headers = {"authorization": f"Bearer {token}"}
    return Firm(slug, check_request("/invoices/17", host=host, headers=headers))


async def add_rules(address: DatabaseAddress, firms: Sequence[Firm], count: int) -> None:
    async with open_pool(address) as pool:
        for firm in firms:
            await add_rules_of(pool, firm.slug, range(count))


class Asker:
    """A client of one worker, over one connection as Envoy has it."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary(_CHECK, request_serializer=None, response_deserializer=None)

    def allowed(self, firm: Firm) -> bool:
        raw: bytes = self._call(firm.request, timeout=5)
        # `status.code` 0, which proto3 leaves out: the message begins with an empty field 1.
        return raw.startswith(b"\x0a\x00")

    def taken_us(self, firms: Sequence[Firm]) -> list[float]:
        """Return how long each decision took; every one has to be an allow."""
        taken = []
        for firm in firms:
            before = time.perf_counter()
            assert self.allowed(firm), firm.slug
            taken.append((time.perf_counter() - before) * 1e6)
        return taken

    def get_to_know(self, firms: Sequence[Firm], within_s: float = 300.0) -> None:
        """Ask for everybody until all keys are fetched and all tokens verified."""
        deadline = time.monotonic() + within_s
        waiting = list(firms)
        while waiting := [firm for firm in waiting if not self.allowed(firm)]:
            assert time.monotonic() < deadline, f"{len(waiting)} tenants, such as {waiting[0].slug}"

    def close(self) -> None:
        self._channel.close()


def started_s(found: Serving) -> float:
    """Start a sidecar; return the seconds until it is ready, policies and all."""
    began = time.perf_counter()
    found.start("sidecar", ready=False)
    port = found.sidecar_port
    found.process.wait_ready(
        lambda: RestApi(port, "").ask("GET", "/healthz/ready").status == 200, timeout_s=300
    )
    return time.perf_counter() - began


def resident_bytes(found: Serving) -> int:
    """Return the memory of the worker, without what it shares with others."""
    (worker,) = [one.pid for one in descendants(found.process.pid) if _is_worker(one.pid)]
    for line in Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


def _is_worker(pid: int) -> bool:
    """Whether the process holds what a worker holds: the others of a sidecar stay small."""
    return not any(True for _ in descendants(pid))


def compared(every: Asker, single: Asker, firms: Sequence[Firm]) -> dict[str, object]:
    """Ask both in turns; `one_of_many` asks the large sidecar about one tenant only."""
    chosen = random.Random(1)
    kinds: dict[str, Callable[[], list[float]]] = {
        "one_tenant": lambda: single.taken_us([firms[0]] * ASKED),
        "many_tenants": lambda: every.taken_us(chosen.choices(firms, k=ASKED)),
        "one_of_many": lambda: every.taken_us([firms[0]] * ASKED),
    }
    rounds: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, ask in kinds.items():
            rounds[kind].append(ask())
    numbers: dict[str, object] = {
        kind: spread([one for taken in each for one in taken]) for kind, each in rounds.items()
    }
    for share in (0.5, 0.99):
        # Of each turn, because the machine changes from one to the next.
        ratios = [
            percentile(many, share) / percentile(one, share)
            for many, one in zip(rounds["many_tenants"], rounds["one_tenant"], strict=True)
        ]
        numbers[f"p{share * 100:.0f}_ratio"] = round(statistics.median(ratios), 2)
    return numbers | {"goal": GOAL}


def pin(found: Serving, core: int) -> None:
    for pid in (found.process.pid, *(one.pid for one in descendants(found.process.pid))):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})


def measured(folder: Path, count: int, rules: int) -> dict[str, object]:
    """Make the tenants, start both sidecars, compare them."""
    key = SigningKey.es256()
    with started_postgres() as server, identity_provider(key) as provider:

        def saas(name: str, *, tenants: str = "") -> AbstractContextManager[Serving]:
            (folder / name).mkdir()
            return serving(
                folder / name,
                server.environment,
                MODE="saas",
                OIDC_ENABLED="true",
                JWKS_ALLOW_HOSTS=f"127.0.0.1:{provider.port}",
                MIGRATE_ON_START="true",
                POLICY_POLL_INTERVAL="5",  # what ships
                TENANTS=tenants,
            )

        with saas("plane") as plane:
            plane.start("control-plane")
            firms = found_firms(RestApi(plane.rest_port, ADMIN_KEY), provider, key, count)
        asyncio.run(add_rules(address_of(server), firms, rules))
        with saas("every") as every, saas("single", tenants=firms[0].slug) as single:
            single_s, every_s = started_s(single), started_s(every)
            askers = Asker(every.grpc_port), Asker(single.grpc_port)
            held = resident_bytes(every) - resident_bytes(single)
            began = time.perf_counter()
            askers[0].get_to_know(firms)
            askers[1].get_to_know(firms[:1])
            known_s = time.perf_counter() - began
            for sidecar in (every, single):
                pin(sidecar, WORKER_CORE)
            os.sched_setaffinity(0, {CLIENT_CORE})
            decisions = compared(*askers, firms)
            for asker in askers:
                asker.close()
    others = (count - 1) * (rules + 1)
    return {
        "tenants": count,
        "rules_each": rules,
        "ready_s": {"one_tenant": round(single_s, 2), "many_tenants": round(every_s, 2)},
        "load_us_per_rule": round((every_s - single_s) / others * 1e6, 1),
        "bytes_per_rule": round(held / others),
        "keys_of_all_providers_s": round(known_s, 2),
        "decisions_us": decisions,
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

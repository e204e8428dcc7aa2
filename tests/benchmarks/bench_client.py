"""The Python client: what a check call costs beyond its HTTP library, and the registration of 500 endpoints.

Real parts: for checks, a small HTTP server in another process, which answers every request alike, and the
same request by httpcore2 alone in turns; the difference is the client's own (credential, steps, JSON, the
answer's members). For registrations, the embedded PostgreSQL, durable, `extauthz control-plane` as a process,
and applications of each framework with 500 endpoints: from the call of `protect` until all are registered.
Goals: at most 50 us a check, at most 1 s a registration.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import django
import httpcore2
from django.conf import settings
from django.urls import path
from fastapi import FastAPI
from flask import Flask

from extauthz_client import ExtauthzClient, ServiceKey, SyncExtauthzClient, protect
from extauthz_client.django import protect as protect_django
from extauthz_client.flask import protect as protect_flask
from tests.benchmarks.database import started_postgres
from tests.benchmarks.measuring import MachineLoad, keep, quiet_us
from tests.client.views import view
from tests.integration.lifespans import started
from tests.integration.serving import ADMIN_KEY, Serving, serving

ENDPOINTS: Final = 500
ROUNDS: Final = 5
CALLS: Final = 20
ANSWER: Final = json.dumps(
    {
        "decision": "allow", "reason": "rule_matched", "matched_rule_id": "1", "decision_id": "2",
        "policy_revision": 3, "message": "a rule allows it",
    }
)  # fmt: skip
SERVER: Final = """
import asyncio, sys
BODY = sys.argv[1].encode()
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY)

class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""
    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\\r\\n\\r\\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0]
        if end and len(body) >= int(length or 0):
            self.received = b""
            self.transport.write(HEAD + BODY)

async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
QUESTION: Final = {"resource": "bill:read", "action": "read", "subject": "alice"}


@contextmanager
def answering() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, ANSWER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def checks(url: str) -> dict[str, object]:
    """Measure a check by the client and the same request by its library, blocking and asynchronous."""
    key = "sak_live_0123456789"
    content = json.dumps(QUESTION).encode()
    headers: dict[bytes | str, bytes | str] = {
        "accept": "application/json", "user-agent": "extauthz-client", "x-service-api-key": key,
        "content-type": "application/json",
    }  # fmt: skip
    address = f"{url}/api/v1/check"

    def per_call(work: Callable[[], object]) -> Callable[[], int]:
        def calls() -> int:
            for _ in range(CALLS):
                work()
            return CALLS

        return calls

    with SyncExtauthzClient(url, ServiceKey(key)) as client, httpcore2.ConnectionPool() as pool:
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 10.0)}
        blocking = compared(
            per_call(lambda: client.check(**QUESTION)),  # type: ignore[arg-type]  # of strings
            per_call(
                lambda: pool.request("POST", address, headers=headers, content=content, extensions=limits)
            ),
        )
    with asyncio.Runner() as runner:
        return {"blocking": blocking, "asynchronous": runner.run(_asynchronous(url, key, headers, content))}


def compared(client: Callable[[], int], library: Callable[[], int]) -> dict[str, float]:
    """Measure both in turns; the difference of the cheapest windows is the client's own cost."""
    return _costs([(quiet_us(client, groups=1), quiet_us(library, groups=1)) for _ in range(ROUNDS * 4)])


def _costs(pairs: list[tuple[float, float]]) -> dict[str, float]:
    check, library = (min(each) for each in zip(*pairs, strict=True))
    return {
        "check_us": round(check, 1),
        "library_us": round(library, 1),
        "own_us": round(check - library, 1),
    }


async def _asynchronous(
    url: str, key: str, headers: dict[bytes | str, bytes | str], content: bytes
) -> dict[str, float]:
    async def timed(call: Callable[[], Any]) -> float:
        costs = []
        for _ in range(40):
            before = time.process_time_ns()
            for _ in range(CALLS):
                await call()
            costs.append((time.process_time_ns() - before) / CALLS / 1000)
        return min(costs)

    limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 10.0)}
    async with ExtauthzClient(url, ServiceKey(key)) as client, httpcore2.AsyncConnectionPool() as pool:
        pairs = []
        for _ in range(ROUNDS * 4):
            first = await timed(lambda: client.check(**QUESTION))  # type: ignore[arg-type]
            second = await timed(
                lambda: pool.request(
                    "POST", f"{url}/api/v1/check", headers=headers, content=content, extensions=limits
                )
            )
            pairs.append((first, second))
    return _costs(pairs)


class AdminKey:
    """The operator's key as credentials of the client: it needs no row in the database."""

    def at_hand(self) -> dict[str, str]:
        return {"x-admin-api-key": ADMIN_KEY}

    def headers(self) -> Any:
        yield from ()
        return self.at_hand()

    def refused(self, headers: object) -> bool:
        return False


def registrations(found: Serving) -> dict[str, object]:
    """Measure from `protect` until 500 new endpoints are registered, and again when they are there."""
    url = f"http://127.0.0.1:{found.rest_port}"
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="benchmark", ROOT_URLCONF="none")
    django.setup()
    measured: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number in range(ROUNDS):
        for framework, register in (("fastapi", fastapi), ("flask", flask), ("django", django_project)):
            kinds = measured.setdefault(framework, {"first": [], "again": []})
            for taken in kinds.values():
                before = time.process_time()
                seconds = register(url, f"{framework}-{number}")
                taken.append((seconds, time.process_time() - before))
    return {
        framework: {
            f"{kind}_{what}": round(min(each[place] for each in taken), 3)
            for kind, taken in kinds.items()
            for place, what in enumerate(("s", "client_cpu_s"))
        }
        for framework, kinds in measured.items()
    }


def fastapi(url: str, name: str) -> float:
    app = FastAPI()
    for number in range(ENDPOINTS):
        app.get(f"/{name}/things-{number}/{{id}}")(view(f"{name}-{number}:read", default_roles=["staff"]))

    async def registered() -> float:
        began = time.perf_counter()
        registration = protect(app, ExtauthzClient(url, AdminKey()), service_name=name)
        async with started(app):
            while registration.state.status == "pending":  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(0.001)
            assert registration.state.status == "registered", registration.state
            return time.perf_counter() - began

    return asyncio.run(registered())


def flask(url: str, name: str) -> float:
    app = Flask(name)
    for number in range(ENDPOINTS):
        app.add_url_rule(
            f"/{name}/things-{number}/<id>",
            endpoint=str(number),
            view_func=view(f"{name}-{number}:read", default_roles=["staff"]),
        )
    began = time.perf_counter()
    registration = protect_flask(app, SyncExtauthzClient(url, AdminKey()), service_name=name)
    registration.wait()
    taken = time.perf_counter() - began
    assert registration.state.status == "registered", registration.state
    registration.stop()
    return taken


def django_project(url: str, name: str) -> float:
    module = ModuleType(f"urls_{name.replace('-', '_')}_{time.monotonic_ns()}")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path(f"{name}/things-{number}/<id>", view(f"{name}-{number}:read", default_roles=["staff"]))
        for number in range(ENDPOINTS)
    ]
    sys.modules[module.__name__] = module
    began = time.perf_counter()
    client = SyncExtauthzClient(url, AdminKey())
    registration = protect_django(client, service_name=name, urlconf=module.__name__)
    registration.wait()
    taken = time.perf_counter() - began
    assert registration.state.status == "registered", registration.state
    registration.stop()
    return taken


def main() -> None:
    """Measure, and keep the numbers."""
    load = MachineLoad()
    with answering() as url:
        numbers: dict[str, object] = {"check": checks(url)}
    with started_postgres() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
            found.start("control-plane")
            numbers["registration_of_500_endpoints"] = registrations(found)
            measured = load.document()
    keep("client", numbers, measured)


if __name__ == "__main__":
    main()

"""Hostile input is cheaper than good input: what each kind costs us, and what it costs those beside it.

The first half is CPU of one pinned core: the whole check, log line included, less decoding the message. The
second half is latency in one run: a client's honest requests alone, beside a connection that floods with
honest requests, and beside connections that flood with each kind of hostile ones.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.check.grpcio_server import GrpcioServer
from extauthz.runtime.supervisor import ALLOCATOR
from tests.benchmarks.measuring import keep, percentile, pin, quiet_us
from tests.builders import check_request, read_answer
from tests.real_service import RealService, real_service, token

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LIMIT_US = 1_000.0
CALLS = 10
ROUNDS = 3
REQUESTS = 1_500
POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
    # The worst for hostile requests: a condition that reads the query of each of them.
    "attribute_policies": [
        {
            "id": "reads-the-request",
            "name": "reads what an attacker writes",
            "resource": "invoice:read",
            "effect": "deny",
            "rule_data": {
                "type": "CONDITION",
                "attribute": "request.query.blocked",
                "operator": "eq",
                "value": "yes",
            },
        }
    ],
}


def honest() -> bytes:
    """What everybody sends."""
    headers = {
        "authorization": f"Bearer {token()}",
        "accept": "application/json",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-request-id": "6f1c2a8e-3f7b-4a8f-9a64-0d1f6c6a7c11",
    }
    return check_request("/invoices/4711?verbose=1", headers=headers)


def requests() -> dict[str, bytes]:
    """What everybody sends, and what somebody sends who wants us busy.

    With a good token where that makes us work longer.
    """
    good = {"authorization": f"Bearer {token()}"}
    header, _, signature = token().split(".")
    query = "&".join(f"name{number}=%41{number}" for number in range(10_000))
    path = "/invoices/" + "/".join("%41bc%20d" for _ in range(7_300))
    named = {f"x-custom-{number}": "value" for number in range(1_000)}
    spoofed = {f"x-auth-{number}": "value" for number in range(1_000)}
    return {
        "honest": honest(),
        "token_1_mb": check_request("/invoices/1", headers={"authorization": "Bearer " + "A" * 1_000_000}),
        "token_of_dots_1_mb": check_request(
            "/invoices/1", headers={"authorization": "Bearer " + "." * 1_000_000}
        ),
        "token_16_kb": check_request(
            "/invoices/1", headers={"authorization": f"Bearer {header}.{'e30' * 5_300}.{signature}"}
        ),
        "query_10000_parameters": check_request(f"/invoices/1?{query}", headers=good),
        "query_10000_times_blocked": check_request(f"/invoices/1?{'blocked=%41&' * 10_000}", headers=good),
        "path_64_kib": check_request(path[: 64 * 1024], headers=good),
        "path_8_kib_of_escapes": check_request("/invoices/" + "%41" * 2_700, headers=good),
        "headers_1000": check_request("/invoices/1", headers=good | named),
        "headers_1000_identities": check_request("/invoices/1", headers=good | spoofed),
    }


def cost(running: RealService, raw: bytes) -> dict[str, object]:
    """Measure one request: decoding it, and everything that comes after."""

    def checks() -> int:
        for _ in range(CALLS):
            running.service.answer(raw, 0.2)
        assert running.log.flush(30)
        return CALLS

    def decodings() -> int:
        for _ in range(CALLS):
            CheckRequest.FromString(raw)
        return CALLS

    whole, decode = quiet_us(checks, groups=5), quiet_us(decodings, groups=5)
    answer = read_answer(running.service.answer(raw, 0.2))
    return {
        "request_bytes": len(raw),
        "decode_us": decode,
        "check_after_decoding_us": round(whole - decode, 1),
        "answer": "allow" if answer.allowed else str(answer.metadata["reason"]),
    }


def serve(folder: Path) -> None:
    """Be the server, on a core of its own, until standard input ends; write requests that it accepts."""
    pin(0)
    with real_service(folder, POLICIES) as running:
        for name, raw in requests().items():
            (folder / name).write_bytes(raw)
        server = GrpcioServer(running.service.answer, ["127.0.0.1:0"])
        (folder / "port.new").write_text(str(server.start()))
        (folder / "port.new").rename(folder / "port")
        sys.stdin.read()
        server.drain(0.5)


def flood(port: int, raw: bytes) -> None:
    """Send one request after the other on one connection until killed; say when it has begun."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
        call(raw, timeout=10)
        print(flush=True)
        while True:
            call(raw, timeout=10)


def latencies(port: int, raw: bytes) -> list[float]:
    """Return the milliseconds that each honest request took."""
    taken: list[float] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
        for _ in range(100):
            call(raw, timeout=10)
        for _ in range(REQUESTS):
            before = time.perf_counter()
            call(raw, timeout=10)
            taken.append((time.perf_counter() - before) * 1000)
    return taken


@contextmanager
def _child(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_hostile", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def beside(folder: Path, port: int, flooding: str | None) -> list[float]:
    """Measure honest requests while another process floods with requests of that kind (None: nobody does)."""
    request = (folder / "honest").read_bytes()
    if flooding is None:
        return latencies(port, request)
    with _child("--flood", str(port), str(folder / flooding)) as flooder:
        assert flooder.stdout is not None
        assert flooder.stdout.readline(), "the flood did not begin"
        return latencies(port, request)


def measured_latencies(floods: list[str | None]) -> dict[str, dict[str, float]]:
    """Measure every flood `ROUNDS` times in turn; the medians of the rounds count."""
    found: dict[str, list[list[float]]] = {str(flooding): [] for flooding in floods}
    with tempfile.TemporaryDirectory() as name, _child("--serve", name):
        port_file = Path(name) / "port"
        while not port_file.exists():
            time.sleep(0.02)
        port = int(port_file.read_text())
        for _ in range(ROUNDS):
            for flooding in floods:
                found[str(flooding)].append(beside(Path(name), port, flooding))
    return {
        flooding: {
            f"p{share}_ms": round(statistics.median(percentile(each, share / 100) for each in rounds), 3)
            for share in (50, 99)
        }
        for flooding, rounds in found.items()
    }


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path)
    parser.add_argument("--flood", nargs=2)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    pin(1)
    if options.flood:
        flood(int(options.flood[0]), Path(options.flood[1]).read_bytes())
        return
    if not ALLOCATOR.keys() <= os.environ.keys():
        # The allocator reads its settings when a process begins.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.benchmarks.bench_hostile"],
            {**ALLOCATOR, **os.environ},
        )
    everything = requests()
    with tempfile.TemporaryDirectory() as folder, real_service(Path(folder), POLICIES) as running:
        costs = {name: cost(running, raw) for name, raw in everything.items()}
    found = measured_latencies([None, *everything])
    alone = found["None"]["p99_ms"]
    numbers = {
        "limit_us": LIMIT_US,
        "costs": costs,
        "load_average": round(os.getloadavg()[0], 2),
        "honest_requests_beside_a_flood_of": {
            "nobody" if name == "None" else name: each | {"p99_ratio": round(each["p99_ms"] / alone, 2)}
            for name, each in found.items()
        },
    }
    keep("hostile", numbers)


if __name__ == "__main__":
    main()

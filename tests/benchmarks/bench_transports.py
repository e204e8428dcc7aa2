"""CPU and time of one check over gRPC: native, grpcio, empty servers, and a lean Go server where there is Go.

Servers share one core, the load generator (h2load, package nghttp2-client) has another. Every server is asked
for one check before it is measured: h2load counts an RPC error as success.
"""

import contextlib
import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from cryptography.hazmat.primitives import serialization
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

from extauthz.check.grpcio_server import CHECK_SERVICE, DEFAULT_THREADS, GrpcioServer
from extauthz.check.native_server import NativeServer
from extauthz.check.service import CheckService
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.runtime.reporting import spare_collector
from extauthz.telemetry.counts import Counts
from tests.benchmarks.bench_check import ISSUER, Keys, Policies, as_a_worker, directory, request_bytes, ring
from tests.benchmarks.measuring import keep, pin
from tests.tokens import AUDIENCE, SigningKey, claims

ROUNDS: Final = 5
SHAPES: Final = ((4, 1), (8, 16))
"""Connections, and calls at once on each."""

CALLS: Final = 8000
CHECK: Final = f"/{CHECK_SERVICE}/Check"
PEER: Final = Path(__file__).parent / "peer_go"
_TICK_US: Final = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """One server: where it answers, how much CPU it has used (microseconds), what each round found."""

    port: int
    cpu_us: Callable[[], float]
    rounds: dict[tuple[int, int], list[tuple[float, float, float]]] = field(default_factory=dict)

    def numbers(self) -> dict[str, object]:
        """Return the medians of the rounds."""
        found: dict[str, object] = {}
        for (connections, calls), rounds in self.rounds.items():
            cpu, rate, mean = (round(statistics.median(column), 1) for column in zip(*rounds, strict=True))
            shape = f"{connections}x{calls}"
            found[shape] = {"cpu_us": cpu, "requests_per_s": rate, "mean_us": mean}
        return found


def answers(port: int, raw: bytes) -> None:
    """Refuse to measure what does not answer as it has to."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = channel.unary_unary(CHECK, None, None)(raw, timeout=10.0)
    found = CheckResponse.parse(answer)
    assert found.status is None or found.status.code == 0, "the check is denied"
    assert found.ok_response is not None, "the answer is empty"


def measure(server: Measured, body: Path, core: int, connections: int, calls: int) -> None:
    """Put one round of calls on a server."""
    command = [
        *("taskset", "-c", str(core), "h2load", "-n", str(CALLS), "-c", str(connections), "-m", str(calls)),
        *("-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"),
        *("-H", "grpc-timeout: 5S", f"http://127.0.0.1:{server.port}{CHECK}"),
    ]
    before = server.cpu_us()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = (server.cpu_us() - before) / CALLS
    assert f"{CALLS} succeeded" in said, said
    rate = re.search(r"([\d.]+) req/s", said)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b", said)
    assert rate is not None
    assert mean is not None
    scale = {"us": 1.0, "ms": 1e3, "s": 1e6}[mean[2]]
    server.rounds.setdefault((connections, calls), []).append((cpu, float(rate[1]), float(mean[1]) * scale))


def own_cpu_us() -> float:
    return time.process_time_ns() / 1000


@contextlib.contextmanager
def plain_grpcio(answer: bytes) -> Iterator[Measured]:
    """Grpcio as its documentation shows it, with as many threads as ours."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _raw, _context: answer)
    server = grpc.server(
        ThreadPoolExecutor(DEFAULT_THREADS),
        handlers=[grpc.method_handlers_generic_handler(CHECK_SERVICE, {"Check": handler})],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Measured(port, own_cpu_us)
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def ours(server: GrpcioServer | NativeServer) -> Iterator[Measured]:
    try:
        yield Measured(server.start(), own_cpu_us)
    finally:
        server.drain(0.0)


@contextlib.contextmanager
def go_peer(binary: Path, folder: Path, public_key: bytes, *words: str) -> Iterator[Measured]:
    key = folder / "key.pem"
    key.write_bytes(public_key)
    log = folder / f"peer{len(words)}.jsonl"
    command = [str(binary), "-key", str(key), "-issuer", ISSUER, "-audience", AUDIENCE, "-log", str(log)]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode()
        port = int(said.rpartition(":")[2])

        def cpu_us() -> float:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) * _TICK_US

        yield Measured(port, cpu_us)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def built_peer(folder: Path) -> Path | None:
    """Return the Go server, None without Go."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None or not PEER.is_dir():
        return None
    subprocess.run([go, "build", "-o", str(folder / "peer"), "."], cwd=PEER, check=True)
    return folder / "peer"


def main() -> None:
    if shutil.which("h2load") is None:
        print("bench_transports is skipped: it needs h2load, of the package nghttp2-client", file=sys.stderr)
        return
    as_a_worker()
    cores = sorted(os.sched_getaffinity(0))
    pin(cores[-1])
    key, began = SigningKey.rs256("bench"), int(time.time())
    roles = {"roles": ["finance"]}
    said = claims(
        iss=ISSUER, exp=began + 36000, iat=began, nbf=began, realm_access=roles, department="finance"
    )
    raw = request_bytes(key.sign(said), 1)
    where, keys = directory(), ring(key)
    spare_collector()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        body = folder / "body"
        body.write_bytes(struct.pack(">BI", 0, len(raw)) + raw)
        log = DecisionLog(str(folder / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
        log.start()
        running.callback(log.close, 5.0)
        service = CheckService(
            policies=Policies(where),
            keys=Keys(keys),
            policy=CheckPolicy(),
            recorder=Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes),
        )
        answer = service.answer(raw, 1.0)
        any_port = ["127.0.0.1:0"]
        servers: dict[str, contextlib.AbstractContextManager[Measured]] = {
            "native": ours(NativeServer(service.begin, any_port)),
            "grpcio": ours(GrpcioServer(service.answer, any_port)),
            "native_empty": ours(NativeServer(lambda _raw, _left: answer, any_port)),
            "grpcio_empty": ours(GrpcioServer(lambda _raw, _left: answer, any_port)),
            "plain_grpcio_empty": plain_grpcio(answer),
        }
        peer = built_peer(folder)
        public_key = key.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if peer is not None:
            servers["go_peer"] = go_peer(peer, folder, public_key)
            servers["go_peer_empty"] = go_peer(peer, folder, public_key, "-empty")
        measured = {name: running.enter_context(server) for name, server in servers.items()}
        for server in measured.values():
            answers(server.port, raw)
        for _ in range(ROUNDS):
            for connections, calls in SHAPES:
                for server in measured.values():
                    measure(server, body, cores[0], connections, calls)
    keep(
        "transports",
        {
            "request_bytes": len(raw),
            "calls": CALLS,
            "rounds": ROUNDS,
            **{name: server.numbers() for name, server in measured.items()},
        },
    )


if __name__ == "__main__":
    main()

"""What one check costs: each stage, the whole check with its log line, and the gRPC server around it.

One run, one pinned core. The peer of the whole check is decoding the message alone; the peer of the server is
the same server doing nothing, loaded by a process of its own.

Requests differ as a client's do: its token and its header names stay, path, request id and trace id are new
each time, so that nothing is answered from a cache that a real client would miss. Costs are CPU time of this
process: the median of nine minima over forty windows of a few milliseconds (`measuring.quiet_us`). The stages
are measured by themselves, one call after the other, which flatters them: between other work each costs about
a quarter more. The whole check is measured as it runs, with the log's own thread writing to a file meanwhile.
"""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc

from extauthz.check import envoy_response
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import CheckRequest, HeaderValue
from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.service import CheckService
from extauthz.compile.directory import DEFAULT_TENANT, Directory, TenancyMode
from extauthz.compile.documents import Reading, parse_policy_set
from extauthz.compile.model import RoleModel
from extauthz.compile.snapshot import Snapshot, build
from extauthz.decide.identity import Keys as IdentityKeys
from extauthz.decide.identity import TokenPolicy, identify
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.jwks import KeySet, parse_jwks
from extauthz.decide.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.verified_tokens import VerifiedTokens
from extauthz.decisionlog.lines import Lines
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.policy import PolicySet
from extauthz.domain.principal import Principal
from extauthz.domain.request import CheckedRequest
from extauthz.domain.verdict import Allowed
from extauthz.runtime.reporting import spare_collector
from extauthz.runtime.supervisor import ALLOCATOR
from extauthz.telemetry.counts import Counts
from tests.benchmarks.measuring import keep, percentile, pin, quiet_us
from tests.tokens import SigningKey, claims, jwks

if TYPE_CHECKING:
    from concurrent.futures import Future

Value = TypeVar("Value")

DIFFERENT_REQUESTS = 2000
CHECKS_A_WINDOW = 256
LOAD_FLAG = "--load"
ISSUER = "https://idp.example"
POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {
            "id": f"rule-{role}",
            "sub": role,
            "dom": "*",
            "obj": "invoice:read",
            "act": "read",
            "effect": "allow",
        }
        for role in ("finance", "audit", "board", "support", "sales")
    ],
    "attribute_policies": [
        {
            "id": "office-hours",
            "name": "not from outside, not by contractors",
            "resource": "invoice:read",
            "effect": "deny",
            "priority": 10,
            "rule_data": {
                "type": "AND",
                "conditions": [
                    {"type": "CONDITION", "attribute": "user.kind", "operator": "eq", "value": "user"},
                    {
                        "type": "OR",
                        "conditions": [
                            {
                                "type": "CONDITION",
                                "attribute": "user.department",
                                "operator": "in",
                                "value": ["contractors", "interns"],
                            },
                            {
                                "type": "CONDITION",
                                "attribute": "resource.number",
                                "operator": "startsWith",
                                "value": "X",
                            },
                        ],
                    },
                ],
            },
        }
    ],
}


class Keys:
    """A ring that never changes."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def current(self) -> KeyRing:
        return self._ring

    def ensure(self, issuer: str, kid: str | None) -> "Future[None]":
        raise AssertionError("the benchmark's keys are all there")


class Policies:
    """Policies that never change."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def current(self) -> Directory:
        return self._directory


def request_bytes(token: str, number: int, *, raw: bool = False) -> bytes:
    """Return a CheckRequest as Envoy sends it: 15 headers, peer; `raw` with `encode_raw_headers`."""
    entropy = random.Random(number)
    path = f"/invoices/{number + 4711}?verbose=1"
    headers = {
        ":authority": "shop.example",
        ":method": "GET",
        ":path": path,
        ":scheme": "https",
        "accept": "application/json",
        "accept-encoding": "gzip, br",
        "authorization": f"Bearer {token}",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-forwarded-for": "10.0.0.7",
        "x-forwarded-proto": "https",
        "x-envoy-internal": "true",
        "x-request-id": str(uuid.UUID(bytes=entropy.randbytes(16), version=4)),
        "traceparent": f"00-{entropy.randbytes(16).hex()}-{entropy.randbytes(8).hex()}-01",
        "cookie": "session=0123456789abcdef0123456789abcdef",
        "accept-language": "en-GB,en;q=0.9",
    }
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.path, http.host = b"GET", path.encode(), b"shop.example"
    for name, value in headers.items():
        if raw:
            entry = HeaderValue(key=name, raw_value=value.encode())
            http.header_map.headers.append(entry.SerializeToString())
        else:
            http.headers[name] = value.encode()
    request.attributes.source.address.socket_address.address = "10.0.0.7"
    return request.SerializeToString()


def directory() -> Directory:
    """Compile the policies."""
    policies = parse_policy_set(POLICIES, Reading())
    assert isinstance(policies, PolicySet)
    snapshot = build(DEFAULT_TENANT, 1, policies, RoleModel())
    assert isinstance(snapshot, Snapshot)
    return Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot}, confirmed_at=time.time() + 10**9)


def ring(key: SigningKey) -> KeyRing:
    """Register the issuer with its key."""
    config = IssuerConfig(ISSUER, DEFAULT_TENANT, None, "realm_access.roles", "dom", "adm", frozenset())
    keys = parse_jwks(jwks(key))
    assert isinstance(keys, KeySet)
    return KeyRing.of([IssuerKeys(config, keys, fetched_at=time.time())])


def stages(
    raws: list[bytes], with_raw_headers: list[bytes], where: Directory, keys: KeyRing
) -> dict[str, float]:
    """Measure each stage by itself, with the token already verified once."""
    now, verified, requests = time.time(), VerifiedTokens(), EnvoyRequests()

    def identified(request: CheckedRequest) -> Principal:
        found = identify(
            request.credentials, request.peer, IdentityKeys(keys, {}, verified), now, TokenPolicy()
        )
        assert isinstance(found, Principal), found
        return found

    def judged(request: CheckedRequest) -> Allowed:
        decision_id = "01890a5d-ac96-774b-bcce-b302099a8057"
        verdict = judge(request, where, IdentityKeys(keys, {}, verified), CheckPolicy(), decision_id, now)
        assert isinstance(verdict, Allowed)
        return verdict

    def read(raw: bytes) -> CheckedRequest:
        found = requests.read(raw)
        assert isinstance(found, CheckedRequest)
        return found

    checked = [read(raw) for raw in raws]
    verdicts = [judged(each) for each in checked]
    lines = Lines(uuid.uuid4(), 0)
    return {
        "decode_alone_us": each_us(CheckRequest.FromString, raws),
        "wire_read_us": each_us(read, raws),
        "wire_read_raw_headers_us": each_us(read, with_raw_headers),
        "identify_cached_us": each_us(identified, checked),
        "judge_us": each_us(judged, checked),
        "wire_write_us": each_us(envoy_response.write, verdicts),
        "log_line_us": each_us(lambda verdict: lines.decision((verdict, now, "grpc", 20)), verdicts),
    }


def each_us(work: Callable[[Value], object], values: list[Value]) -> float:
    """Measure one function over many values, a window of them at a time."""
    return quiet_us(over(work, values))


def over(work: Callable[[Value], object], values: list[Value]) -> Callable[[], int]:
    """Return a window of calls, which goes on where the last one ended."""
    waiting: Iterator[Value] = cycle(values)

    def window() -> int:
        for _, value in zip(range(CHECKS_A_WINDOW), waiting, strict=False):
            work(value)
        return CHECKS_A_WINDOW

    return window


def whole(service: CheckService, log: DecisionLog, raws: list[bytes]) -> float:
    """Measure the whole check, the writing of its log line included: the writer's thread is on our core."""
    some = over(lambda raw: service.answer(raw, 0.2), raws)

    def window() -> int:
        checks = some()
        assert log.flush(30)
        return checks

    return quiet_us(window)


def served(server: GrpcioServer, raw: bytes) -> Callable[[], float]:
    """Start the server; the answer measures its CPU per request in microseconds, under load from outside."""
    address = f"127.0.0.1:{server.start()}"

    def measure(requests: int = 4000) -> float:
        command = [sys.executable, "-m", "tests.benchmarks.bench_check", LOAD_FLAG, address, str(requests)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(raw)
            client.stdin.close()
            assert client.stdout.readline() == b"ready\n"
            before = time.process_time_ns()
            assert client.stdout.readline() == b"done\n"
            return (time.process_time_ns() - before) / requests / 1000

    return measure


def load(address: str, requests: int, *, clients: int = 4) -> None:
    """Send the request on standard input over one connection: what stands opposite the server in `served`."""
    raw = sys.stdin.buffer.read()
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check", request_serializer=None, response_deserializer=None
        )

        def some(number: int) -> None:
            for _ in range(number):
                call(raw, timeout=10)

        some(200)
        print("ready", flush=True)
        threads = [threading.Thread(target=some, args=(requests // clients,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("done", flush=True)


def as_a_worker() -> None:
    """Begin again in the environment that the supervisor gives its workers, unless this is it."""
    if not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ALLOCATOR, **os.environ})


def main() -> None:
    as_a_worker()
    pin(max(os.sched_getaffinity(0)))
    key, began = SigningKey.rs256("bench"), int(time.time())
    said = claims(
        iss=ISSUER,
        exp=began + 36000,
        iat=began,
        nbf=began,
        realm_access={"roles": ["finance"]},
        department="finance",
    )
    token = key.sign(said)
    raws = [request_bytes(token, number) for number in range(DIFFERENT_REQUESTS)]
    where, keys = directory(), ring(key)
    spare_collector()
    with_raw_headers = [request_bytes(token, number, raw=True) for number in range(DIFFERENT_REQUESTS)]
    costs = stages(raws, with_raw_headers, where, keys)
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(str(Path(folder) / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
        log.start()
        service = CheckService(
            policies=Policies(where),
            keys=Keys(keys),
            policy=CheckPolicy(),
            recorder=Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes),
        )
        check = whole(service, log, raws)
        check_raw_headers = whole(service, log, with_raw_headers)
        answer = service.answer(raws[0], 0.2)
        servers = [
            GrpcioServer(lambda _raw, _left: answer, ["127.0.0.1:0"]),
            GrpcioServer(service.answer, ["127.0.0.1:0"]),
        ]
        measures = [served(server, raws[0]) for server in servers]
        rounds = [[measure() for measure in measures] for _ in range(7)]
        for server in servers:
            server.drain(1.0)
        log.close(5)
    nothing, checking = (round(min(column), 2) for column in zip(*rounds, strict=True))
    numbers: dict[str, object] = {
        "request_bytes": len(raws[0]),
        **costs,
        "check_with_log_line_us": check,
        # As the shipped configurations of Envoy ask.
        "check_raw_headers_with_log_line_us": check_raw_headers,
        "check_to_decode_ratio": round(check / costs["decode_alone_us"], 2),
        "server_doing_nothing_us": nothing,
        "server_checking_us": checking,
        # Of neighbouring runs, because the machine's mood changes slowly.
        "server_ratio": round(percentile([full / empty for empty, full in rounds], 0.5), 3),
    }
    keep("check", numbers)


if __name__ == "__main__":
    if sys.argv[1:2] == [LOAD_FLAG]:
        load(sys.argv[2], int(sys.argv[3]))
    else:
        main()

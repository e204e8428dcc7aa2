"""The time of one check in the process: each part by itself, and the whole check with its log line.

One run, one pinned core, the requests of `check_requests`.

Costs are CPU time of this process: the median of minima over windows of a few milliseconds
(`measuring.quiet_us`). The parts are measured by themselves, one call after the other, which flatters them:
between other work each costs about a quarter more. The whole check is measured as it runs, with the log's own
thread writing to a file meanwhile. `bench_requests` measures the servers around it.
"""

import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from extauthz.check import envoy_response
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.decide import authorize, routes
from extauthz.decide.identity import Keys as IdentityKeys
from extauthz.decide.identity import TokenPolicy, identify
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decisionlog.lines import Lines
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.policy import PolicySet
from extauthz.domain.principal import Principal
from extauthz.domain.request import CheckedRequest
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, UnmappedPolicy
from extauthz.domain.verdict import Allowed, Target
from extauthz.runtime.reporting import spare_collector
from extauthz.runtime.supervisor import ALLOCATOR
from extauthz.telemetry.counts import Counts
from tests.benchmarks.check_requests import POLICIES, RULE, Caller, message
from tests.benchmarks.measuring import MachineLoad, keep, pin, quiet_us, result_name
from tests.benchmarks.workers import prefer
from tests.builders import read_answer
from tests.tokens import AUDIENCE, SigningKey, jwks

if TYPE_CHECKING:
    from concurrent.futures import Future

Value = TypeVar("Value")

DIFFERENT_REQUESTS = 2000
DIFFERENT_TOKENS = 128
CHECKS_A_WINDOW = 256
ISSUER = "https://idp.example"
_DECISION_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


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


def compiled() -> Snapshot:
    """Compile the policies."""
    policies = parse_policy_set(POLICIES, Reading())
    assert isinstance(policies, PolicySet)
    snapshot = build(DEFAULT_TENANT, 1, policies, RoleModel())
    assert isinstance(snapshot, Snapshot)
    return snapshot


def ring(key: SigningKey) -> KeyRing:
    """Register the issuer with its key."""
    config = IssuerConfig.usual(
        ISSUER, DEFAULT_TENANT, (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset({"offline_access"})
    )
    keys = parse_jwks(jwks(key))
    assert isinstance(keys, KeySet)
    return KeyRing.of([IssuerKeys(config, keys, fetched_at=time.time())])


class Parts:
    """The parts of a check, each as a function from what the part before returned."""

    def __init__(self, snapshot: Snapshot, where: Directory, keys: KeyRing) -> None:
        """Take policies and keys."""
        self._snapshot, self._where, self._ring = snapshot, where, keys
        self._verified = VerifiedTokens()
        self._requests = EnvoyRequests()
        self._now = time.time()
        self._lines = Lines(uuid.uuid4(), 0)

    def read(self, raw: bytes) -> CheckedRequest:
        found = self._requests.read(raw)
        assert isinstance(found, CheckedRequest)
        return found

    def identify(self, request: CheckedRequest) -> Principal:
        keys = IdentityKeys(self._ring, {}, self._verified)
        found = identify(request.credentials, request.peer, keys, self._now, TokenPolicy())
        assert isinstance(found, Principal), found
        return found

    def forget(self) -> None:
        """Forget the tokens that were verified."""
        self._verified = VerifiedTokens()

    def route(self, request: CheckedRequest) -> Target:
        found = routes.resolve(self._snapshot, request.facts, "GET", UnmappedPolicy.DENY)
        assert isinstance(found, Target)
        return found

    def decide(self, given: tuple[CheckedRequest, Principal, Target]) -> object:
        request, principal, target = given
        return authorize.decide(self._snapshot, principal, target, request.facts, "GET", self._now)

    def judge(self, request: CheckedRequest) -> Allowed:
        keys = IdentityKeys(self._ring, {}, self._verified)
        verdict = judge(request, self._where, keys, CheckPolicy(), _DECISION_ID, self._now)
        assert isinstance(verdict, Allowed)
        return verdict

    def line(self, verdict: Allowed) -> object:
        return self._lines.decision((verdict, self._now, "grpc", 20))

    def measured(
        self, raws: list[bytes], with_raw_headers: list[bytes], new: list[bytes]
    ) -> dict[str, float]:
        """Measure each part; `new` are requests with as many tokens."""
        checked = [self.read(raw) for raw in raws]
        facts = [(each, self.identify(each), self.route(each)) for each in checked]
        verdicts = [self.judge(each) for each in checked]
        first_seen = [self.read(raw) for raw in new]

        def identify_new() -> int:
            self.forget()
            for request in first_seen:
                self.identify(request)
            return len(first_seen)

        return {
            "decode_alone_us": each_us(CheckRequest.FromString, raws),
            "wire_read_us": each_us(self.read, raws),
            "wire_read_raw_headers_us": each_us(self.read, with_raw_headers),
            "identify_cached_us": each_us(self.identify, checked),
            "route_us": each_us(self.route, checked),
            "decide_us": each_us(self.decide, facts),
            "judge_us": each_us(self.judge, checked),
            "wire_write_us": each_us(envoy_response.write, verdicts),
            "log_line_us": each_us(self.line, verdicts),
            "identify_first_seen_us": quiet_us(identify_new, windows=20, groups=5),
        }


def each_us(work: Callable[[Value], object], values: list[Value]) -> float:
    """Measure one function over many values, a window of them at a time."""
    return quiet_us(over(work, values))


def over(work: Callable[[Value], object], values: list[Value]) -> Callable[[], int]:
    """Return a window of calls, which goes on where the last one ended."""
    waiting: Iterator[Value] = cycle(values)

    def window() -> int:
        for value in islice(waiting, CHECKS_A_WINDOW):
            work(value)
        return CHECKS_A_WINDOW

    return window


def whole(serve: Callable[[], CheckService], log: DecisionLog, raws: list[bytes]) -> float:
    """Measure the whole check, the writing of its log line included: the writer's thread is on our core."""
    service = serve()
    some = over(lambda raw: service.answer(raw, 0.2), raws)

    def window() -> int:
        checks = some()
        assert log.flush(30)
        return checks

    return quiet_us(window)


def whole_first_seen(serve: Callable[[], CheckService], log: DecisionLog, raws: list[bytes]) -> float:
    """Measure the whole check of tokens that the service has not seen."""

    def window() -> int:
        service = serve()
        for raw in raws:
            service.answer(raw, 0.2)
        assert log.flush(30)
        return len(raws)

    return quiet_us(window, windows=20, groups=5)


def as_a_worker() -> None:
    """Begin again in the environment that the supervisor gives its workers, unless this is it."""
    if not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ALLOCATOR, **os.environ})


def main() -> None:
    as_a_worker()
    machine = MachineLoad()
    prefer(os.getpid())
    pin(max(os.sched_getaffinity(0)))
    caller = Caller(SigningKey.rs256("bench"), ISSUER)
    token = caller.token()
    raws = [message(token, number) for number in range(DIFFERENT_REQUESTS)]
    with_raw_headers = [message(token, number, raw=True) for number in range(DIFFERENT_REQUESTS)]
    new = [message(caller.token(number=number), number) for number in range(1, 1 + DIFFERENT_TOKENS)]
    snapshot, keys = compiled(), ring(caller.key)
    where = Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot}, confirmed_at=time.time() + 10**9)
    spare_collector()
    costs = Parts(snapshot, where, keys).measured(raws, with_raw_headers, new)
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(str(Path(folder) / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
        log.start()
        recorder = Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes)

        def serve() -> CheckService:
            return CheckService(
                policies=Policies(where), keys=Keys(keys), policy=CheckPolicy(), recorder=recorder
            )

        for raw in (*raws, *with_raw_headers, *new):
            answer = read_answer(serve().answer(raw, 0.2))
            assert answer.allowed, answer
            assert answer.metadata["matched_rule_id"] == RULE, answer
        wholes = {
            "check_with_log_line_us": whole(serve, log, raws),
            "check_raw_headers_with_log_line_us": whole(serve, log, with_raw_headers),
            "check_first_seen_us": whole_first_seen(serve, log, new),
        }
        log.close(5)
    keep(result_name("check"), {"request_bytes": len(raws[0]), **costs, **wholes}, machine.document())


if __name__ == "__main__":
    main()

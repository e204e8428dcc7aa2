"""Recording on and off give the same decisions: the same answers, octet for octet, to the same checks."""

import os
import random
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.cases.decision_cases import CaseRunner
from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.recording.counter import ShapeCounter
from extauthz.recording.documents import Counted
from extauthz.telemetry.counts import Counts
from tests.builders import check_request
from tests.property.generators import random_policy_set, random_request
from tests.shipped_model import MODEL

if TYPE_CHECKING:
    from concurrent.futures import Future

EXAMPLES = 300 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 15
NOW = time.time()


class Policies:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def current(self) -> Directory:
        return self._directory


class NoKeys:
    def current(self) -> KeyRing:
        return KeyRing.of([])

    def ensure(self, issuer: str, kid: str | None) -> "Future[None]":
        raise AssertionError((issuer, kid))


class Failing(ShapeCounter):
    """A counter with a defect."""

    def count(self, *_: object) -> None:
        raise RuntimeError("a defect of the recorder")


def answered(
    runner: CaseRunner, requests: list[bytes], folder: Path, kind: type[ShapeCounter] | None
) -> tuple[list[bytes], list[Counted]]:
    """Answer checks with a recorder of a kind, and return the answers and what was counted."""
    directory, policy = runner._directory, runner._policy
    counter = None
    if kind is not None:
        counter = kind(
            lambda: directory,
            unmapped=policy.unmapped,
            binding=policy.binding,
            attributes=("user.level", "request.query.q"),
            max_shapes=200,
            max_octets=1 << 20,
            on_loss=lambda _count: None,
        )
    name = str(folder / f"{uuid.uuid4()}.log")
    log = DecisionLog(name, worker=0, instance=uuid.uuid4(), observer=counter, heartbeat_s=0)
    log.start()
    recorder = Recorder(log, Counts("test"), random_bytes=random.Random(7).randbytes, clock=lambda: NOW)
    service = CheckService(
        policies=Policies(directory),
        keys=NoKeys(),
        policy=policy,
        recorder=recorder,
        condition_headers=frozenset({"x-region"}),
    )
    answers = [service.answer(raw, None) for raw in requests]
    assert log.flush(30)
    log.close(10)
    lines = Path(name).read_text("utf-8").splitlines()
    assert sum('"event":"decision"' in line for line in lines) == len(requests)
    counted: list[Counted] = []
    while counter is not None and (some := counter.take()) is not None:
        counted += some
    return answers, counted


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_recording_on_and_off_and_broken_give_the_same_answers(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    runner = CaseRunner.of(policy_set, MODEL)
    requests = [raw for _ in range(20) if (raw := raw_request(rng, policy_set)) is not None]
    with tempfile.TemporaryDirectory() as folder:
        off, _ = answered(runner, requests, Path(folder), None)
        on, counted = answered(runner, requests, Path(folder), ShapeCounter)
        broken, nothing = answered(runner, requests, Path(folder), Failing)
    assert on == off
    assert broken == off
    assert nothing == []
    assert sum(one.requests for one in counted) <= len(requests)


def raw_request(rng: random.Random, policy_set: dict[str, object]) -> bytes | None:
    """Return the check of a random request, as Envoy sends it."""
    asked = random_request(rng, policy_set)["request"]
    path = asked.get("path")
    if not isinstance(path, str):
        return None
    source = asked.get("source") or {}
    headers = {name: value for name, value in (asked.get("headers") or {}).items() if isinstance(value, str)}
    if rng.random() < 0.2:
        headers["authorization"] = "Bearer not.a.token"
    return check_request(
        path,
        method=str(asked.get("method", "GET")),
        host=str(asked.get("host", "api.example.com")),
        headers=headers,
        context_extensions={
            name: str(value) for name, value in (asked.get("context_extensions") or {}).items()
        },
        source_address=source.get("address"),
        source_principal=source.get("principal") or "",
    )

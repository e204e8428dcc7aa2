"""The time that bodies take: reading one, and the whole check of a tool call with and without its body.

One run, one pinned core. Costs are CPU time of this process (`measuring.quiet_us`); the whole checks that are
compared take turns, each with its log line. Calls are of two kinds: most of their text is one argument, or a
list of records, which has 60 names and values a KiB. Each is written with blanks, as Python's `json.dumps`
does, and without, as the official SDKs of MCP do. Goals: a check that reads no body costs nothing more than
where bodies are off; reading takes at most 2 us a KiB; with a call of 4 KiB the whole check takes at most 1.3
times one without.
"""

import json
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from extauthz.check.service import CheckService
from extauthz.compile.conditions.request_body import read_body
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.content_type import BodyForm
from extauthz.domain.policy import PolicySet
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.runtime.reporting import spare_collector
from extauthz.telemetry.counts import Counts
from tests.benchmarks.bench_check import ISSUER, Keys, Policies, as_a_worker, over, ring
from tests.benchmarks.check_requests import HOST, Caller, headers
from tests.benchmarks.measuring import MachineLoad, keep, pin, quiet_us, result_name
from tests.benchmarks.workers import prefer
from tests.builders import check_request, read_answer
from tests.tokens import SigningKey

LONGEST: Final = 65_536
REQUESTS: Final = 256
SIZES: Final = {"1_kib": 1024, "4_kib": 4096, "64_kib": 65_536}
ROUNDS: Final = 5
GOAL_US_A_KIB: Final = 2.0
GOAL_RATIO: Final = 1.3

_TOOL: Final = {"methods": ["POST"], "path": "/mcp", "mcp": {"method": "tools/call", "tool": "search"}}
_PLAIN: Final = {"methods": ["POST"], "path": "/mcp"}


def policies(*, reads: bool) -> Snapshot:
    """Compile rules for the tool; with `reads` its route is one of MCP, and a deny reads an argument."""
    route = _TOOL if reads else _PLAIN
    resource = {"name": "search:call", "serviceName": "tools", "routes": [route]}
    rule = {"id": "agents", "sub": "finance", "dom": "*", "obj": "search:call", "act": "call"}
    # Without a body the deny has something else to compare.
    condition = (
        {"attribute": "request.body.params.arguments.limit", "operator": "gt", "value": 100}
        if reads
        else {"attribute": "user.department", "operator": "eq", "value": "contractors"}
    )
    deny = {
        "id": "few",
        "name": "few results",
        "resource": "search:call",
        "effect": "deny",
        "priority": 10,
        "rule_data": {"type": "CONDITION", **condition},
    }
    documents = {
        "resources": [resource],
        "role_rules": [{**rule, "effect": "allow"}],
        "attribute_policies": [deny],
    }
    read = parse_policy_set(documents, Reading())
    assert isinstance(read, PolicySet), read
    snapshot = build(DEFAULT_TENANT, 1, read, RoleModel())
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


def text_call(number: int, octets: int) -> bytes:
    """Return a call with some arguments, one of which is a text of several lines."""
    return _call(number, octets, [], "Some lines of a file that is written.\n")


def records_call(number: int, octets: int) -> bytes:
    """Return a call with a list of records."""
    entropy = random.Random(number)
    records: list[dict[str, object]] = []
    while len(json.dumps(records)) < octets - 450:
        records.append(
            {
                "id": entropy.randrange(10**9),
                "customer": f"customer-{entropy.randrange(10**6)}",
                "amount": entropy.randrange(10**6) / 100,
                "paid": entropy.random() < 0.5,
                "tags": ["invoice", "2026"],
            }
        )
    return _call(number, octets, records, "x")


def _call(number: int, octets: int, records: list[dict[str, object]], text: str) -> bytes:
    arguments: dict[str, object] = {"query": "open", "limit": 20, "records": records, "text": ""}
    params = {"name": "search", "arguments": arguments}
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    written = len(json.dumps(text)) - 2
    arguments["text"] = text * ((octets - len(json.dumps(call))) // written)
    return json.dumps(call).encode()


def _compact(made: Callable[[int, int], bytes], number: int, octets: int) -> bytes:
    """Return a call without blanks; it is a little shorter."""
    return json.dumps(json.loads(made(number, octets)), separators=(",", ":")).encode()


KINDS: Final[dict[str, Callable[[int, int], bytes]]] = {
    "text": text_call,
    "records": records_call,
    "text_compact": partial(_compact, text_call),
    "records_compact": partial(_compact, records_call),
}


def message(token: str, number: int, body: bytes | None) -> bytes:
    """Return a CheckRequest of a POST, as the printed configuration sends it."""
    found = headers(token, number) | {"content-type": "application/json"}
    if body is not None:
        found["x-envoy-auth-partial-body"] = "false"
    named = {":authority": HOST, ":method": "POST", ":path": "/mcp", **found}
    raw = [(name, value.encode()) for name, value in named.items()]
    return check_request("/mcp", host=HOST, method="POST", raw_headers=raw, raw_body=body or b"")


def reading() -> dict[str, object]:
    """Measure the reader alone: a call read, its message and one argument."""
    found: dict[str, object] = {}
    for (kind, made), (size, octets) in product(KINDS.items(), SIZES.items()):
        name = f"{kind}_{size}"
        calls = [made(number, octets) for number in range(64)]

        def read(content: bytes) -> None:
            body = read_body(content, BodyForm.JSON)
            assert body is not None
            assert body.message() is not None
            assert body.value("params.arguments.limit") == 20

        taken = quiet_us(_few(read, calls), windows=20, groups=5)
        found[f"read_{name}_us"] = taken
        found[f"read_{name}_us_a_kib"] = round(taken / (statistics.mean(map(len, calls)) / 1024), 3)
    return found


def _few(work: Callable[[bytes], None], values: list[bytes]) -> Callable[[], int]:
    def window() -> int:
        for value in values:
            work(value)
        return len(values)

    return window


def _answered(service: CheckService, raw: bytes) -> object:
    return service.answer(raw, 0.2)


def wholes(services: dict[str, tuple[CheckService, list[bytes]]], log: DecisionLog) -> dict[str, float]:
    """Measure whole checks, each service in turn, and return the median of its rounds."""
    windows = {name: over(partial(_answered, service), raws) for name, (service, raws) in services.items()}
    taken: dict[str, list[float]] = {name: [] for name in services}
    for number in range(ROUNDS):
        for name in list(services) if number % 2 else reversed(services):

            def window(name: str = name) -> int:
                checks = windows[name]()
                assert log.flush(30)
                return checks

            taken[name].append(quiet_us(window, windows=20, groups=1))
    return {f"{name}_us": round(statistics.median(values), 3) for name, values in taken.items()}


def main() -> None:
    """Measure, and keep the numbers."""
    as_a_worker()
    machine = MachineLoad()
    prefer(os.getpid())
    pin(max(os.sched_getaffinity(0)))
    caller = Caller(SigningKey.rs256("bench"), ISSUER)
    token = caller.token()
    keys = ring(caller.key)
    without = [message(token, number, None) for number in range(REQUESTS)]
    calls = {
        kind: [message(token, number, made(number, 4096)) for number in range(REQUESTS)]
        for kind, made in KINDS.items()
    }
    spare_collector()
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(str(Path(folder) / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
        log.start()
        recorder = Recorder(log, Counts("bench"), random_bytes=random.Random(0).randbytes)

        def service(*, reads: bool, longest: int) -> CheckService:
            confirmed = time.time() + 10**9
            where = Directory(
                TenancyMode.SELFHOST, {DEFAULT_TENANT: policies(reads=reads)}, confirmed_at=confirmed
            )
            return CheckService(
                policies=Policies(where),
                keys=Keys(keys),
                policy=CheckPolicy(),
                recorder=recorder,
                longest_body=longest,
            )

        services = {
            "check_bodies_off": (service(reads=False, longest=0), without),
            "check_without_body": (service(reads=False, longest=LONGEST), without),
            "check_bodies_off_4_kib": (service(reads=False, longest=0), calls["text"]),
            "check_unread_4_kib": (service(reads=False, longest=LONGEST), calls["text"]),
        }
        services |= {
            f"check_{kind}_4_kib": (service(reads=True, longest=LONGEST), raws)
            for kind, raws in calls.items()
        }
        for asked, _ in services.values():
            # As long as no body has come, each check looks whether one is announced.
            asked.answer(calls["text"][0], 0.2)
        for name, (asked, raws) in services.items():
            for raw in raws:
                answer = read_answer(asked.answer(raw, 0.2))
                assert answer.allowed, (name, answer)
                assert answer.metadata["matched_rule_id"] == "agents", (name, answer)
        costs = wholes(services, log)
        log.close(5)
    without_us = costs["check_without_body_us"]
    numbers: dict[str, object] = {
        **reading(),
        **costs,
        **{
            f"{kind}_to_without_body": round(costs[f"check_{kind}_4_kib_us"] / without_us, 3)
            for kind in KINDS
        },
        "without_body_to_bodies_off": round(without_us / costs["check_bodies_off_us"], 3),
        "unread_to_bodies_off": round(costs["check_unread_4_kib_us"] / costs["check_bodies_off_4_kib_us"], 3),
        "goals": {"read_us_a_kib": GOAL_US_A_KIB, "check_to_without_body": GOAL_RATIO},
    }
    keep(result_name("bodies"), numbers, machine.document())


if __name__ == "__main__":
    main()

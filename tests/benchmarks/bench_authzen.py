"""What AuthZEN's evaluations cost next to `POST /api/v1/check`: CPU of the process that answers, in turns.

Real parts: the embedded PostgreSQL; `extauthz control-plane` as a process; a client with one connection that
it keeps. Each question is allowed by an attribute policy that reads the subject and the resource. Goals: an
evaluation costs at most 1.1 times a check, and a batch of 50 at most 10 times an evaluation.
"""

import http.client
import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.bench_control_plane import Client
from tests.benchmarks.database import started_postgres
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep
from tests.integration.serving import ADMIN_KEY, serving

ROUNDS: Final = 60
REQUESTS: Final = 48
BATCH: Final = 50
GOAL: Final = 1.1
BATCH_GOAL: Final = 10.0

_ROLES: Final = ["finance", "reader"]
_CHECK: Final = {
    "subject": "alice", "resource": "invoice:read", "action": "read",
    "attributes": {
        "user": {"roles": _ROLES, "department": "sales"},
        "resource": {"id": "4711", "owner": "alice", "status": "open"},
    },
}  # fmt: skip
_SUBJECT: Final = {"type": "user", "id": "alice", "properties": {"roles": _ROLES, "department": "sales"}}
_RESOURCE: Final = {"type": "invoice", "id": "4711", "properties": {"owner": "alice", "status": "open"}}
_EVALUATION: Final = {"subject": _SUBJECT, "action": {"name": "read"}, "resource": _RESOURCE}
_BATCH: Final = {
    "subject": _SUBJECT, "action": {"name": "read"},
    "evaluations": [{"resource": _RESOURCE | {"id": str(number)}} for number in range(BATCH)],
}  # fmt: skip
_WHOLE: Final = {"evaluations": [_EVALUATION] * BATCH}
_QUESTIONS: Final[dict[str, tuple[str, object]]] = {
    "check": ("/api/v1/check", _CHECK),
    "evaluation": ("/access/v1/evaluation", _EVALUATION),
    "batch_of_50": ("/access/v1/evaluations", _BATCH),
    "batch_of_50_without_defaults": ("/access/v1/evaluations", _WHOLE),
}
_POLICY: Final = {
    "name": "own invoices", "resource": "invoice:read", "effect": "allow",
    "rule_data": {
        "type": "AND",
        "conditions": [
            {
                "type": "CONDITION", "attribute": "resource.owner", "operator": "eq",
                "value": {"attribute": "user.id"},
            },
            {"type": "CONDITION", "attribute": "user.roles", "operator": "has", "value": "finance"},
        ],
    },
}  # fmt: skip


class Caller:
    """One caller with one connection that it keeps; its requests are made before they are measured."""

    def __init__(self, port: int, credential: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {**credential, "Content-Type": "application/json"}
        self._bodies = {name: json.dumps(asked) for name, (_, asked) in _QUESTIONS.items()}

    def ask(self, name: str) -> bytes:
        """Ask one of the questions, and return the answer."""
        self._connection.request("POST", _QUESTIONS[name][0], self._bodies[name], self._headers)
        response = self._connection.getresponse()
        received = response.read()
        assert response.status == 200, received
        return received


def measured(caller: Caller, pid: int) -> dict[str, float]:
    """Return the CPU of each request in microseconds, all questions in turns: of the quieter half of rounds.

    What neighbours do to caches and clock only adds to a round, and a round is the same work each time.
    """
    for name in _QUESTIONS:
        found = json.loads(caller.ask(name))
        allowed = found.get("evaluations", [found])
        assert all(each["decision"] in {True, "allow"} for each in allowed), found
    taken: dict[str, list[float]] = {name: [] for name in _QUESTIONS}
    for number in range(ROUNDS):
        for name in _QUESTIONS if number % 2 else reversed(_QUESTIONS):
            requests = REQUESTS if "batch" not in name else REQUESTS // 6
            before = cpu_us([pid])
            for _ in range(requests):
                caller.ask(name)
            taken[name].append((cpu_us([pid]) - before) / requests)
    return {
        name: round(statistics.median(sorted(values)[: ROUNDS // 2]), 1) for name, values in taken.items()
    }


def compared(cpu: Mapping[str, float]) -> dict[str, Any]:
    """Return the numbers with their ratios."""
    return {
        "cpu_us": dict(cpu),
        "evaluation_to_check": round(cpu["evaluation"] / cpu["check"], 2),
        "batch_to_evaluation": round(cpu["batch_of_50"] / cpu["evaluation"], 2),
        "batch_without_defaults_to_evaluation": round(
            cpu["batch_of_50_without_defaults"] / cpu["evaluation"], 2
        ),
    }


def main() -> None:
    """Measure, and keep the numbers."""
    load = MachineLoad()
    with started_postgres() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The server, under its own user, and this process write here.
        folder.chmod(0o777)
        with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
            found.start("control-plane")
            assert found.child is not None
            client = Client(found.rest_port)
            client.ask("POST", "/api/v1/abac/policies", _POLICY)
            key = client.ask("POST", "/api/v1/service-api-keys", {"name": "pep", "scopes": ["check"]})["key"]
            numbers = {
                "goal": GOAL,
                "batch_goal": BATCH_GOAL,
                "requests": ROUNDS * REQUESTS,
                "callers": {
                    caller: compared(measured(Caller(found.rest_port, credential), found.child.pid))
                    for caller, credential in (
                        ("admin_key", {"X-Admin-Api-Key": ADMIN_KEY}),
                        ("service_key", {"X-Service-Api-Key": key}),
                    )
                },
            }
    keep("authzen", numbers, load.document())


if __name__ == "__main__":
    main()

"""How long `extauthz sidecar` with 10,000 role rules takes from its start to ready, and to its first answer.

Each start is a new process, after the files have been read once (the page cache is warm, as on a restart).
"""

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from extauthz.demo.processes import http_answers
from tests.benchmarks.check_requests import POLICIES, RULE, Caller, assert_allowed, message
from tests.benchmarks.http2_client import GrpcConnection
from tests.benchmarks.load import answers_to
from tests.benchmarks.measuring import MachineLoad, keep, result_name
from tests.benchmarks.workers import prefer
from tests.integration.serving import serving
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey

STARTS: Final = 7
RULES: Final = 10_000
READY_WITHIN_S: Final = 60.0


def policies(rules: int) -> dict[str, object]:
    """Return the policies of the other benchmarks with more role rules."""
    given: list[dict[str, str]] = POLICIES["role_rules"]  # type: ignore[assignment]
    more = [
        {
            "id": f"more-{n}",
            "sub": f"role-{n}",
            "dom": "*",
            "obj": "invoice:read",
            "act": "read",
            "effect": "allow",
        }
        for n in range(rules - len(given))
    ]
    return {**POLICIES, "role_rules": [*given, *more]}


def start_s(folder: Path, policy_folder: Path, caller: Caller, provider_port: int) -> tuple[float, float]:
    """Start a sidecar; return the seconds until it was ready, and until it had answered a check rightly."""
    folder.mkdir()
    with serving(
        folder,
        {"POLICY_SOURCE": f"files:{policy_folder}"},
        GRPC_SERVER="native",
        OIDC_ENABLED="true",
        AUTH_SERVER_URL=caller.issuer,
        OIDC_AUDIENCE=AUDIENCE,
        JWKS_ALLOW_HOSTS=f"127.0.0.1:{provider_port}",
    ) as found:
        began = time.perf_counter()
        found.start("sidecar", ready=False)
        prefer(found.process.pid)
        while not http_answers(found.sidecar_port, "/healthz/ready"):
            assert time.perf_counter() - began < READY_WITHIN_S, found.process.last_lines()
            time.sleep(0.002)
        ready = time.perf_counter() - began
        (answer,) = answers_to(partial(GrpcConnection, found.grpc_port), [message(caller.token(), 1)])
        assert_allowed(answer, rule=RULE, subject=True)
        return ready, time.perf_counter() - began


def main() -> None:
    machine = MachineLoad()
    key = SigningKey.rs256("bench")
    with tempfile.TemporaryDirectory() as name, identity_provider(key) as provider:
        folder = Path(name)
        caller = Caller(key, provider.issuer)
        policy_folder = folder / "policies"
        policy_folder.mkdir()
        (policy_folder / "policies.json").write_text(json.dumps(policies(RULES)))
        starts = []
        for number in range(STARTS):
            starts.append(start_s(folder / str(number), policy_folder, caller, provider.port))
            print(f"start {number + 1}/{STARTS}: ready after {starts[-1][0]:.2f} s", file=sys.stderr)
    ready, answered = (list(column) for column in zip(*starts, strict=True))
    keep(
        result_name("start"),
        {
            "rules": RULES,
            "cores": len(os.sched_getaffinity(0)),
            "ready_s": round(statistics.median(ready), 3),
            "ready_s_starts": [round(each, 3) for each in ready],
            "answered_s": round(statistics.median(answered), 3),
        },
        machine.document(),
    )


if __name__ == "__main__":
    main()

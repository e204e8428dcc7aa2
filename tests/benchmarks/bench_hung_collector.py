"""What callers wait for an answer while every check is traced and the collector is away, hangs or drips.

Real sidecars with one worker each, one connection, one check at a time, in turns within each round: without
tracing, with a collector that answers, with one that accepts requests and never answers, with one that
answers octet by octet, and with none at all. Percentiles are of all rounds together. The collectors run in
this process: what they read is time that its calls lack, which only the one that answers shows.
"""

import contextlib
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from tests.benchmarks.measuring import MachineLoad, keep, spread
from tests.benchmarks.workers import Asker, prefer
from tests.builders import check_request
from tests.faults.denials_rise import POLICIES
from tests.light_processes import LIGHT
from tests.otlp_collector import Collector, http_collector

ROUNDS: Final = 20
CHECKS_A_TURN: Final = 500
KINDS: Final = ("off", "answers", "hangs", "drips", "away")


def started(folder: Path, ports: ReservedPorts, collector: int | None) -> tuple[Child, int]:
    """Start a sidecar that traces every check, or none; return it and its gRPC port."""
    grpc, health = ports.take(2)
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.json").write_text(json.dumps(POLICIES))
    environment = {
        **LIGHT,
        "PATH": os.defpath,
        "OIDC_ENABLED": "false",
        "POLICY_SOURCE": f"files:{folder / 'policies'}",
        "DECISION_LOG": str(folder / "decisions.jsonl"),
        "GRPC_PORT": str(grpc),
        "SIDECAR_PORT": str(health),
    }
    if collector is not None:
        environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{collector}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_TRACES_SAMPLER": "always_on",
        }
    child = spawn(
        "sidecar",
        [sys.executable, "-m", "extauthz", "sidecar"],
        output=folder / "log",
        environment=environment,
    )
    child.wait_ready(lambda: http_answers(health, "/healthz/ready"), timeout_s=60)
    return child, grpc


def main() -> None:
    """Measure, and keep the result."""
    machine = MachineLoad()
    prefer(os.getpid())
    ports = ReservedPorts()
    requests = [check_request("/open") for _ in range(CHECKS_A_TURN)]
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with contextlib.ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory()))
        owned.callback(ports.release)
        away = owned.enter_context(socket.socket())
        away.bind((LOOPBACK, 0))
        hangs, drips = Collector(), Collector(drips=True)
        hangs.held.set()
        drips.held.set()
        collectors: dict[str, int | None] = {
            "off": None,
            "answers": owned.enter_context(http_collector()).port,
            "hangs": owned.enter_context(http_collector(hangs)).port,
            "drips": owned.enter_context(http_collector(drips)).port,
            "away": away.getsockname()[1],
        }
        askers = {}
        for kind, port in collectors.items():
            child, grpc = started(folder / kind, ports, port)
            owned.callback(child.stop, grace_s=9)
            askers[kind] = Asker(grpc)
            owned.callback(askers[kind].close)
            askers[kind].taken_us(requests)
        for _ in range(ROUNDS):
            for kind, asker in askers.items():
                found[kind] += asker.taken_us(requests)
    result = {f"{kind}_us": spread(taken) for kind, taken in found.items()}
    keep("hung_collector", {**result, "checks_of_each": ROUNDS * CHECKS_A_TURN}, machine.document())


if __name__ == "__main__":
    main()

"""A rise of 403 fires its alert in a real Prometheus that scrapes real workers. Run by hand: two minutes.

    python -m tests.faults.denials_rise

The rules are those of deploy/monitoring/alerts.yaml, with every duration divided by 60, so that five minutes
are five seconds. The workers first answer one check in twenty with 403, a share that fires nothing however
long it lasts, and then three in ten.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
import yaml

from extauthz.demo.processes import LOOPBACK, ReservedPorts, http_answers, spawn
from tests.builders import check_request, read_answer
from tests.light_processes import LIGHT

ROOT: Final = Path(__file__).resolve().parents[2]
ALERT: Final = "ExtauthzDenialsRise"
SCALE: Final = 60
USUAL_S: Final = 60.0
RISE_S: Final = 60.0
CHECKS_A_SECOND: Final = 50
WORKERS: Final = 2
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"\b([0-9]+)([smhd])\b")
POLICIES: Final = {
    "resources": [
        {
            "name": f"{name}:read",
            "serviceName": "shop",
            "routes": [{"methods": ["GET"], "path": f"/{name}", "authentication": "optional"}],
        }
        for name in ("open", "closed")
    ],
    "role_rules": [
        {"id": "r1", "sub": "anonymous", "dom": "*", "obj": "open:read", "act": "read", "effect": "allow"}
    ],
}


def scaled(text: str) -> str:
    """Return an expression with every duration divided by `SCALE`."""
    return _DURATION.sub(lambda found: f"{int(found[1]) * _SECONDS[found[2]] // SCALE}s", text)


def rules() -> dict[str, Any]:
    """Return the shipped rules with every duration divided."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yaml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = scaled(rule["expr"])
            rule["for"] = scaled(rule.get("for", "0s"))
    return document


def firing(port: int) -> dict[str, str]:
    """Return the state of each alert that is pending or firing, by name."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/api/v1/alerts", timeout=5) as answer:
        found = json.loads(answer.read())["data"]["alerts"]
    return {each["labels"]["alertname"]: each["state"] for each in found}


def ask(call: Callable[..., bytes], number: int, denied_in_20: int) -> None:
    """Ask about a request that the policies allow, or deny."""
    denied = number % 20 < denied_in_20
    answer = read_answer(call(check_request("/closed" if denied else "/open"), timeout=5))
    assert answer.allowed is not denied, answer


def main() -> int:
    """Run; the status is 0 where the alert fired after the rise and nothing fired before."""
    program = shutil.which("prometheus")
    if program is None:
        print("prometheus is not on PATH (Debian: package prometheus)", file=sys.stderr)
        return 2
    ports = ReservedPorts()
    health, listen = ports.take(2)
    first = ports.take(WORKERS)[0]
    children = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        (folder / "policies" / "all.json").write_text(json.dumps(POLICIES))
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules(), width=1000))
        target = {"targets": [f"{LOOPBACK}:{health}"], "labels": {"namespace": "shop", "pod": "orders-0"}}
        (folder / "prometheus.yaml").write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": ["rules.yaml"],
                    "scrape_configs": [{"job_name": "extauthz", "static_configs": [target]}],
                }
            )
        )
        environment = {
            **LIGHT,
            "PATH": os.defpath,
            "OIDC_ENABLED": "false",
            "POLICY_SOURCE": f"files:{folder / 'policies'}",
            "DECISION_LOG": str(folder / "decisions.jsonl"),
            "WORKERS": str(WORKERS),
            "GRPC_PORT": str(first),
            "SIDECAR_PORT": str(health),
        }
        try:
            sidecar = spawn(
                "sidecar",
                [sys.executable, "-m", "extauthz", "sidecar"],
                output=folder / "sidecar.log",
                environment=environment,
            )
            children.append(sidecar)
            sidecar.wait_ready(lambda: http_answers(health, "/healthz/ready"), timeout_s=60)
            prometheus = spawn(
                "prometheus",
                [
                    program,
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={LOOPBACK}:{listen}",
                ],
                output=folder / "prometheus.log",
            )
            children.append(prometheus)
            prometheus.wait_ready(lambda: http_answers(listen, "/-/ready"), timeout_s=60)
            return watched(first, listen)
        finally:
            for child in reversed(children):
                child.stop(grace_s=8)
            ports.release()


def watched(first: int, prometheus: int) -> int:
    """Send checks, print the states of alerts as they change, and judge them."""
    channels = [grpc.insecure_channel(f"{LOOPBACK}:{first + worker}") for worker in range(WORKERS)]
    calls = [
        channel.unary_unary(
            "/envoy.service.auth.v3.Authorization/Check", request_serializer=None, response_deserializer=None
        )
        for channel in channels
    ]
    began, number, before, early, fired_s = time.monotonic(), 0, "nothing", False, None
    while (now_s := time.monotonic() - began) < USUAL_S + RISE_S and fired_s is None:
        rises = now_s >= USUAL_S
        for _ in range(CHECKS_A_SECOND):
            ask(calls[number % WORKERS], number // WORKERS, 6 if rises else 1)
            number += 1
        state = (
            ", ".join(f"{name} is {each}" for name, each in sorted(firing(prometheus).items())) or "nothing"
        )
        if state != before:
            print(f"{now_s:5.1f} s  {'30 %' if rises else ' 5 %'} of checks are 403: {state}")
            before = state
        if "firing" in state:
            early |= not rises
            fired_s = now_s - USUAL_S if rises and f"{ALERT} is firing" in state else None
        time.sleep(max(0.0, began + now_s + 1 - time.monotonic()))
    for channel in channels:
        channel.close()
    when = "never" if fired_s is None else f"{fired_s:.0f} s after the rise"
    print(f"{number} checks; fired {'too early' if early else when}")
    return int(early or fired_s is None)


if __name__ == "__main__":
    sys.exit(main())

"""What a folder of 10,000 objects takes to apply, to compare without a difference, and to export.

Real parts: the embedded PostgreSQL, durable; `extauthz control-plane` as a process; each command is a
process, from its start to its end. Goal: `policy apply` of 10,000 objects takes at most 10 s.
"""

import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from extauthz.demo.process_tree import descendants
from tests.benchmarks.database import started_postgres
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep
from tests.integration.serving import ADMIN_KEY, command, environment, serving

RESOURCES: Final = 2_000
OBJECTS: Final = 10_000
CHANGED: Final = 100
ROUNDS: Final = 3
GOAL_S: Final = 10.0


def folder_of(root: Path) -> Path:
    """Write a folder: of ten objects two are resources, five rules, one a binding, two attribute policies."""
    services = 20
    root.mkdir()
    for service in range(services):
        numbers = range(service, RESOURCES, services)
        document: dict[str, list[dict[str, Any]]] = {
            "resources": [
                {
                    "name": f"thing-{number}:read", "serviceName": f"service-{service}",
                    "routes": [{"methods": ["GET"], "path": f"/things/{number}/{{id}}"}],
                }
                for number in numbers
            ],
            "role_rules": [
                {"id": f"r{number}-{role}", "sub": f"role-{role}", "dom": "*", "obj": f"thing-{number}:read",
                 "act": "read", "effect": "allow"}
                for number in numbers for role in range(2 if number % 2 else 3)
            ],
            "role_bindings": [
                {"id": f"b{number}", "user": f"user-{number}", "user_kind": "user",
                 "role": f"role-{number % 3}", "dom": "*"}
                for number in numbers if number % 2
            ],
            "attribute_policies": [
                {"id": f"p{number}", "name": f"Owners only {number}", "resource": f"thing-{number}:read",
                 "effect": "deny", "rule_data": {"type": "NOT", "condition": {
                     "type": "CONDITION", "attribute": "resource.id", "operator": "eq",
                     "value": {"attribute": "user.id"}}}}
                for number in numbers
            ],
        }  # fmt: skip
        (root / f"service-{service}.json").write_text(json.dumps(document, indent=1))
    return root


def objects(root: Path) -> int:
    """Return how many objects a folder has."""
    return sum(len(entries) for file in root.iterdir() for entries in json.loads(file.read_text()).values())


class Measured:
    """Runs commands against one server, and measures their time and CPU and the server's CPU."""

    def __init__(self, url: str, environ: dict[str, str], server: int) -> None:
        self._environ = environ | {"EXTAUTHZ_URL": url, "ADMIN_API_KEY": ADMIN_KEY}
        self._server = server

    def run(self, *arguments: str | Path, status: int = 0) -> dict[str, float]:
        """Run a command once."""
        pids = [self._server, *(one.pid for one in descendants(self._server))]
        served, children = cpu_us(pids), _children_s()
        began = time.perf_counter()
        ended = subprocess.run(
            command("policy", *map(str, arguments)), env=self._environ, capture_output=True, check=False
        )
        seconds = time.perf_counter() - began
        assert ended.returncode == status, ended.stderr
        return {
            "seconds": round(seconds, 2),
            "command_cpu_s": round(_children_s() - children, 2),
            "server_cpu_s": round((cpu_us(pids) - served) / 1e6, 2),
        }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and keep the numbers."""
    load = MachineLoad()
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(ROUNDS):
        with started_postgres() as server, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # The server, under its own user, and this process write here.
            folder.chmod(0o777)
            with serving(folder, server.environment, MIGRATE_ON_START="true") as found:
                found.start("control-plane")
                measured = Measured(f"http://127.0.0.1:{found.rest_port}", environment({}), found.process.pid)
                root = folder_of(folder / "policies")
                count = objects(root)
                assert count == OBJECTS, count
                numbers = {
                    "dry_run": measured.run("apply", root, "--dry-run", status=1),
                    "apply": measured.run("apply", root),
                    "no_difference": measured.run("apply", root),
                    "export": measured.run("export", folder / "exported"),
                }
                _change(root)
                numbers["apply_of_100_changes"] = measured.run("apply", root)
                rounds.append(numbers)
    slowest = max(each["apply"]["seconds"] for each in rounds)
    keep(
        "apply",
        {"objects": OBJECTS, "rounds": rounds, "slowest_apply_s": slowest, "goal_s": GOAL_S},
        load.document(),
    )


def _change(root: Path) -> None:
    """Change a few policies of the folder."""
    left = CHANGED
    for file in sorted(root.iterdir()):
        document = json.loads(file.read_text())
        for policy in document["attribute_policies"][:left]:
            policy["priority"] = 7
        left -= min(left, len(document["attribute_policies"]))
        file.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()

"""Folders of 10,000 objects: what `extauthz policy validate` and `policy fmt --check` cost.

Each command is a process of its own, on a folder in memory: 1,000 resources, 6,000 role rules, 2,000 bindings
and 1,000 attribute policies, once in 100 files, once in a file each. Goal: validation takes at most 3 s.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.measuring import MachineLoad, keep

OBJECTS: Final = 10_000
ROUNDS: Final = 3
GOAL_S: Final = 3.0


def objects() -> list[tuple[str, str]]:
    """Return each object: the member that it belongs to, and its text."""
    resources = OBJECTS // 10
    found = [
        (
            "resources",
            (
                f"  - name: service-{n}:read\n    serviceName: service-{n % 20}\n"
                f'    routes:\n      - {{methods: [GET], path: "/service/{n}/{{id}}"}}\n'
            ),
        )
        for n in range(resources)
    ]
    found += [
        (
            "role_rules",
            (
                f'  - {{id: rule-{n}, sub: role-{n % 50}, dom: "*", obj: service-{n % resources}:read, '
                f"act: read-{n}, effect: allow}}\n"
            ),
        )
        for n in range(OBJECTS * 6 // 10)
    ]
    found += [
        (
            "role_bindings",
            f'  - {{id: binding-{n}, user: user-{n}, user_kind: user, role: role-{n % 50}, dom: "*"}}\n',
        )
        for n in range(OBJECTS * 2 // 10)
    ]
    found += [
        (
            "attribute_policies",
            (
                f"  - id: policy-{n}\n    name: Policy {n}\n    resource: service-{n % resources}:read\n"
                f"    effect: allow\n    rule_data:\n      type: AND\n      conditions:\n"
                f"        - {{type: CONDITION, attribute: user.department, operator: eq, value: d-{n}}}\n"
                f"        - {{type: CONDITION, attribute: resource.id, operator: eq, value: "
                f"{{attribute: user.id}}}}\n"
            ),
        )
        for n in range(OBJECTS - len(found))
    ]
    return found


def write(folder: Path, per_file: int) -> None:
    """Write the objects into files of `per_file` each."""
    everything = objects()
    for number in range(0, len(everything), per_file):
        text, before = "", ""
        for table, entry in everything[number : number + per_file]:
            text += f"{table}:\n" if table != before else ""
            text += entry
            before = table
        (folder / f"{number:06}.yaml").write_text(text)


def measured(*arguments: str) -> dict[str, float]:
    """Run a command several times; return the medians of its times and the largest of its memory."""
    seconds, cpu = [], []
    for _ in range(ROUNDS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "extauthz", "policy", *arguments], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "s": round(statistics.median(seconds), 2),
        "cpu_s": round(statistics.median(cpu), 2),
        "peak_mib_so_far": round(peak / 1024),
    }


def main() -> None:
    """Measure and keep the numbers."""
    load = MachineLoad()
    numbers: dict[str, object] = {"objects": OBJECTS, "goal_s": GOAL_S}
    for files, per_file in ((100, OBJECTS // 100), (OBJECTS, 1)):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), per_file)
            numbers[f"validate_{files}_files"] = measured("validate", folder)
            numbers[f"fmt_{files}_files"] = measured("fmt", "--check", folder)
    keep("folders", numbers, load.document())


if __name__ == "__main__":
    main()

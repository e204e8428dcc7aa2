"""What the benchmarks share: pinning, timing, and one JSON file of numbers each."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def pin(core: int) -> None:
    """Run on one core from here on."""
    os.sched_setaffinity(0, {core})


def median_us(work: Callable[[], object], *, rounds: int = 31, calls: int = 2000) -> float:
    """Return the median cost of one call in microseconds of this process's CPU."""
    for _ in range(calls):
        work()
    costs: list[float] = []
    for _ in range(rounds):
        before = time.process_time_ns()
        for _ in range(calls):
            work()
        costs.append((time.process_time_ns() - before) / calls / 1000)
    return round(statistics.median(costs), 3)


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def keep(name: str, numbers: Mapping[str, object]) -> None:
    """Print the numbers and keep them beside the scripts, with commit and machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    document = {
        "benchmark": name,
        "commit": commit,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "numbers": numbers,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

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


def quiet_us(work: Callable[[], int], *, windows: int = 40, groups: int = 9) -> float:
    """Return the cost of one call in microseconds of this process's CPU, all its threads together.

    `work` makes some calls, a few milliseconds' worth, and returns how many. The cheapest of `windows` such
    windows is the cost without what neighbours do to caches and clock; the median over `groups` of these
    minima is robust against one lucky window. Kernel time is in it, waiting is not.
    """
    work()
    minima: list[float] = []
    for _ in range(groups):
        costs: list[float] = []
        for _ in range(windows):
            before = time.process_time_ns()
            calls = work()
            costs.append((time.process_time_ns() - before) / calls / 1000)
        minima.append(min(costs))
    return round(statistics.median(minima), 3)


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: list[float]) -> dict[str, float]:
    """Return the middle, and what one in ten and one in a hundred exceed."""
    return {
        name: round(percentile(values, share), 1)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


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

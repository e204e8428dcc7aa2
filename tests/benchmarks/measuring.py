"""Shared code of the benchmarks: pinning, timing, and one JSON file of numbers each."""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from extauthz.demo.process_tree import descendants

_CPUCLOCK_SCHED: Final = 2
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


def cpu_us(pids: Sequence[int]) -> float:
    """Return the CPU of processes in microseconds, threads that ended included (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime_ns(~pid << 3 | _CPUCLOCK_SCHED) for pid in pids) / 1000


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


class MachineLoad:
    """What ran on the machine during a benchmark, apart from the benchmark itself."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.perf_counter()
        self._busy, self._stolen = _machine_s()
        self._own = _own_s()
        self._average = os.getloadavg()[0]

    def document(self) -> dict[str, object]:
        """Return the load since the beginning; children that have not ended must still run."""
        seconds = time.perf_counter() - self._began
        busy, stolen = _machine_s()
        others = (busy - self._busy) - (_own_s() - self._own)
        return {
            "seconds": round(seconds, 1),
            "load_average_before": round(self._average, 2),
            "load_average_after": round(os.getloadavg()[0], 2),
            "cores_that_others_took": round(max(0.0, others) / seconds, 3),
            "cores_that_the_host_took": round((stolen - self._stolen) / seconds, 3),
        }


def interpreter() -> dict[str, object]:
    """Return which interpreter runs this, and whether it was built with PGO.

    Debian's and Ubuntu's own is (`debian/rules` builds it with `profile-opt` and LTO); the configuration that
    it shows is that of its shared library.
    """
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    of_debian = Path("/etc/debian_version").exists() and sys.base_prefix == "/usr"
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": "of Debian" if of_debian else "of its own",
        "optimised": of_debian or "--enable-optimizations" in arguments,
        "enable_optimizations": "--enable-optimizations" in arguments,
        "with_lto": "--with-lto" in arguments,
        "compiler": platform.python_compiler(),
    }


def result_name(name: str) -> str:
    """Return the name of a result that depends on how the interpreter was built."""
    return f"{name}-{'optimised' if interpreter()['optimised'] else 'unoptimised'}"


def keep(
    name: str,
    numbers: Mapping[str, object],
    load: Mapping[str, object] | None = None,
    *,
    place: str | None = None,
) -> None:
    """Print the numbers and keep them, with commit, machine, interpreter and load.

    `place` is a file in place of the one next to the scripts.
    """
    document = {
        "benchmark": name,
        "commit": _commit(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "interpreter": interpreter(),
        **({} if load is None else {"load": load}),
        "numbers": numbers,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=2)
    file = Path(place) if place else RESULTS / f"{name}.json"
    file.write_text(text + "\n")
    print(text)


def _commit() -> str:
    """Return the commit that was measured; `+` after it: with changes to the code that are not committed."""
    commit, changed = (
        subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (
            ("rev-parse", "--short", "HEAD"),
            ("status", "--porcelain", "extauthz", "tests/benchmarks/*.py"),
        )
    )
    return f"{commit}+" if changed else commit


def _machine_s() -> tuple[float, float]:
    """Return the seconds that all cores were busy, and that the host gave to others instead."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _wait, interrupt, soft, stolen = (int(word) for word in words[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + interrupt + soft) / tick, stolen / tick


def _own_s() -> float:
    """Return the CPU of this process, of its descendants, and of children that have ended."""
    spent = os.times()
    running = 0.0
    for each in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            running += cpu_us([each.pid]) / 1e6
    return spent.user + spent.system + spent.children_user + spent.children_system + running


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

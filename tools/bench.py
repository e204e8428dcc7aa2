"""Measure the request path, and write docs/performance.md from what was measured.

python tools/bench.py                              with the interpreter of this environment
python tools/bench.py --python /usr/bin/python3    with another interpreter, in an environment of its own

About eight minutes on two cores; results go to tests/benchmarks/results/. The exit code is 1 when a server
answered wrongly or a measurement failed.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.test_pythons import ROOT, prepare, probed

BENCHMARKS: Final = (
    "tests.benchmarks.bench_start",
    "tests.benchmarks.bench_check",
    "tests.benchmarks.bench_requests",
)


def environment(wanted: str | None) -> Path | None:
    """Return the interpreter to measure with; None when there is none, or nothing can be installed for it."""
    if wanted is None:
        return Path(sys.executable)
    interpreter = probed(wanted)
    if interpreter is None:
        print(f"{wanted} is not a CPython that runs; name its path", file=sys.stderr)
        return None
    return prepare(interpreter)


def main() -> int:
    """Run the benchmarks one after the other."""
    parser = argparse.ArgumentParser(description="Measure the request path.")
    parser.add_argument("--python", help="the interpreter to measure with")
    python = environment(parser.parse_args().python)
    if python is None:
        return 1
    for number, name in enumerate(BENCHMARKS, 1):
        print(f"\n== {number}/{len(BENCHMARKS)} {name}, {python}", file=sys.stderr, flush=True)
        if subprocess.run([python, "-m", name], cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
            return 1
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_performance.py"], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())

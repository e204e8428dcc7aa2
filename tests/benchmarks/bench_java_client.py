"""What a check costs in the Java client, over the same exchange by `java.net.http` alone.

python tests/benchmarks/bench_java_client.py; needs a JDK and Maven, as `make test-java` does.

Two JVMs: a server that answers at once, and one thread that asks it in turns of 500 calls, first by both in
each order. `added_us` is the difference of the two medians in each of the 60 rounds, `added_cpu_us` the
difference in CPU time of the whole process. The reach is 50 microseconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.benchmarks.measuring import MachineLoad, keep
from tools.test_java import Missing, class_path, found_tools, java_command

_MAIN = "io.extauthz.client.CheckBenchmark"


def main() -> int:
    """Measure, and keep the numbers."""
    try:
        _, maven = found_tools(os.environ)
    except Missing as problem:
        print(problem, file=sys.stderr)
        return 2
    command = [java_command(os.environ), "-cp", class_path(maven), _MAIN]
    with subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            load = MachineLoad()
            measured = subprocess.run(
                [*command, "measure", address], stdout=subprocess.PIPE, text=True, check=True, timeout=600
            )
            keep("java_client", json.loads(measured.stdout), load.document())
        finally:
            server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
